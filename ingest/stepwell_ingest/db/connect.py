"""Opens connections to Postgres; no other module of the server does.

One function for each kind of connection, with the session settings that its users rely on. They raise asyncpg's
exceptions; callers wrap them in `postgres_errors`, which names the failed action.
"""

from __future__ import annotations

import asyncio

import asyncpg

from stepwell.errors import UnavailableError
from stepwell_ingest.config import Limits, Reads, Sql, Timeouts
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

#: A sealing pass moves megabytes in one statement.
_SEAL_STATEMENT_S = 600.0
_SEAL_LOCK_S = 5.0
_ANSWER_S = 5.0
_ATTACHING = 4
#: The role of the sessions of `POST /v1/sql`: a session that logged in as this role has no other role to return to.
_READER = "stepwell_reader"
#: Rows read after waiting for a lock must be current, whatever the role's or the database's default is: under
#: "repeatable read", a delete would not see a fork that was created while it waited for the run.
_CURRENT = {"default_transaction_isolation": "read committed"}
#: Limits that are set for the database or the role must not interrupt our work.
_NO_LIMITS = {"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}

#: Statements of the write path look rows up by their keys, so one plan that uses indexes serves any number of rows, and
#: is made once for each connection. Without these settings, Postgres would plan `move_ledger` for every batch (0.8 of
#: about 15 ms), because it expects one row for the array of a small batch and finds such a plan cheaper than one for
#: any batch. A plan that is made while tables are empty would scan them, and stay in use until they have been analyzed.
_PLAN_ONCE = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}


async def write_pool(dsn: str, limits: Limits, timeouts: Timeouts) -> asyncpg.Pool:
    """Opens the connections of the write path: one for each copier, and some for heartbeats and the like."""
    return await asyncpg.create_pool(
        dsn,
        min_size=limits.copiers,
        max_size=limits.copiers + 4,
        timeout=timeouts.connect_s,
        command_timeout=timeouts.statement_s,
        reset=_keep,
        server_settings=_writing("stepwell", timeouts, timeouts.lock_s) | _PLAN_ONCE,
    )


async def attach_pool(dsn: str, timeouts: Timeouts) -> asyncpg.Pool:
    """Opens the connections for attaches, ends and disconnections of writers, apart from those that store frames. No
    statement holds one of them for long while it waits for a locked run."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=_ATTACHING,
        timeout=timeouts.connect_s,
        command_timeout=timeouts.statement_s,
        reset=_keep,
        server_settings=_writing("stepwell attach", timeouts, timeouts.attach_lock_s),
    )


def _writing(name: str, timeouts: Timeouts, lock_s: float) -> dict[str, str]:
    """The session settings of connections that write."""
    return {
        "application_name": name,
        "TimeZone": "UTC",
        # Acknowledged frames must survive a crash, whatever the database's default is.
        "synchronous_commit": "on",
        **_CURRENT,
        # When a worker's host disappears during a statement, Postgres must notice: until then the rows stay locked, and
        # no other worker can move them. (The default is two hours.)
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        # These end the statements of a worker that has stalled: its own time-outs require a running process.
        "statement_timeout": f"{2 * timeouts.statement_s:.0f}s",
        "lock_timeout": f"{lock_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{2 * timeouts.statement_s:.0f}s",
    }


async def _keep(_: asyncpg.Connection) -> None:
    """Replaces asyncpg's reset of a connection that returns to its pool, which costs a statement each time: the write
    path leaves no session state behind (settings, listeners, cursors, session locks)."""


async def read_pool(dsn: str, limits: Reads, connect_s: float) -> asyncpg.Pool:
    """Opens read-only connections with a statement timeout, on demand: a server without readers has none."""
    statement_ms = round(limits.statement_s * 1000)
    return await asyncpg.create_pool(
        dsn,
        min_size=0,
        max_size=limits.connections,
        timeout=connect_s,
        server_settings={
            "application_name": "stepwell reads",
            "TimeZone": "UTC",
            "default_transaction_read_only": "on",
            "statement_timeout": str(statement_ms),
            "idle_in_transaction_session_timeout": str(2 * statement_ms),
            # JIT compilation costs 100 ms and more, while these statements take 5 ms.
            "jit": "off",
        },
    )


async def sql_pool(dsn: str, limits: Sql, connect_s: float) -> asyncpg.Pool:
    """Opens connections for users' queries, on demand. Each is logged in as a role that can only read: `SET ROLE` would
    not suffice, because the query could undo it.

    Args:
        dsn: the server's own DSN; `limits.dsn` takes precedence.
    """
    statement_ms = round(limits.statement_s * 1000)
    return await asyncpg.create_pool(
        limits.dsn or dsn,
        **({} if limits.dsn else {"user": _READER}),
        min_size=0,
        max_size=limits.connections,
        timeout=connect_s,
        statement_cache_size=0,  # queries rarely repeat
        init=_check_reader,
        server_settings={
            "application_name": "stepwell sql over http",
            "TimeZone": "UTC",
            "search_path": "stepwell, public",
            "default_transaction_read_only": "on",
            "statement_timeout": str(statement_ms),
            "idle_in_transaction_session_timeout": str(round(limits.answer_s * 1000)),
            "jit": "off",
        },
    )


async def _check_reader(connection: asyncpg.Connection) -> None:
    """Refuses a login that could do more than read.

    Raises:
        UnavailableError: the login owns the schema, is a member of a role other than stepwell_reader, or cannot use the
            schema.
    """
    who, only_reads = await connection.fetchrow(queries("sql")["only_reads"])
    if not only_reads:
        raise UnavailableError(
            "SQL over HTTP is off: its login must be able to read, and to do nothing else",
            detail=f"{who} owns the schema stepwell, cannot use it, or is a member of roles other than stepwell_reader",
            hint="give `stepwell up --sql-dsn` a login that is only a member of stepwell_reader: docs/sql.md",
        )


async def seal_pool(dsn: str, connect_s: float) -> asyncpg.Pool:
    """Opens the connections of the sealing process, which uses at most three at the same time."""
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=3,
        timeout=connect_s,
        command_timeout=_SEAL_STATEMENT_S,
        server_settings={
            "application_name": "stepwell seal",
            "TimeZone": "UTC",
            "synchronous_commit": "on",  # the sealed rows soon become the only copy
            **_NO_LIMITS,
            "lock_timeout": f"{_SEAL_LOCK_S:.0f}s",
            **_CURRENT,
        },
    )


async def maintenance_connection(
    dsn: str, purpose: str, connect_s: float, statement_s: float | None = None
) -> asyncpg.Connection:
    """Opens a single connection for work outside the pools, which may take long or hold session locks.

    Args:
        purpose: what `pg_stat_activity` shows after "stepwell" as the application name.
        connect_s: the longest wait for the connection.
        statement_s: the longest that a statement may take; None: no limit.
    """
    return await asyncpg.connect(
        dsn,
        timeout=connect_s,
        command_timeout=statement_s,
        server_settings={"application_name": f"stepwell {purpose}", **_NO_LIMITS, **_CURRENT},
    )


async def command_connection(
    dsn: str, connect_s: float, user: str | None, settings: dict[str, str]
) -> asyncpg.Connection:
    """Opens the connection of a command.

    Args:
        connect_s: the longest wait for the connection.
        user: the role to log in as; None: the DSN's.
        settings: session settings of Postgres by name.
    """
    return await asyncpg.connect(dsn, user=user, timeout=connect_s, server_settings={**_CURRENT, **settings})


async def check_answers(pool: asyncpg.Pool) -> None:
    """Checks that Postgres answers over a connection of `pool`.

    Raises:
        UnavailableError: Postgres does not answer within a few seconds.
    """
    with postgres_errors("answer"):
        async with asyncio.timeout(_ANSWER_S), pool.acquire() as connection:
            await connection.execute("SELECT 1")
