"""Removes runs from the catalog and the ledger, in one short transaction for each run, after which the run is
invisible.

Stands between a plan and the sweep. Receives run ids; returns the number of deleted runs. Promises: every reader sees a
run whole or not at all, even if this process is killed; rows left in the tables of history are invisible from then on,
and the next sweep finds them; no other transaction waits for a removal for longer than `_LOCK_MS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg

from stepwell.errors import UnavailableError, UsageError
from stepwell_schema import queries

log = logging.getLogger(__name__)

#: The longest wait of other transactions for the locks of one try; commits in progress take milliseconds.
_LOCK_MS = 1000
_TRIES = 20
_PAUSE_S = 0.2


async def remove(
    connection: asyncpg.Connection,
    run_ids: Sequence[int],
    on_removed: Callable[[int], None] = lambda _: None,
    actor: str = "stepwell",
) -> int:
    """Deletes the runs, forks before their parents; returns the number of runs that existed.

    Args:
        run_ids: the runs to delete.
        on_removed: called with the run_id of each run that is gone, after COMMIT.
        actor: who deletes the runs, for the audit log.

    Raises:
        UsageError: one of the runs was forked meanwhile; those before it are deleted.
        UnavailableError: a run stayed locked; those before it are deleted.
    """
    sql = queries("delete")
    removed = 0
    for row in await connection.fetch(sql["forks_first"], list(run_ids)):
        if await _remove_one(connection, row["run_id"], actor):
            removed += 1
        on_removed(row["run_id"])
    return removed


async def _remove_one(connection: asyncpg.Connection, run_id: int, actor: str) -> bool:
    sql = queries("delete")
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                deleted = bool(await connection.fetchval(sql["delete_run"], run_id))
                if deleted:
                    await connection.execute(sql["audit_deletion"], run_id, actor)
                return deleted
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.debug("run %d is in use: %s", run_id, error)
            await asyncio.sleep(_PAUSE_S)
        except asyncpg.PostgresError as error:
            if error.sqlstate != "ST021":
                raise
            raise UsageError("a run was forked during the deletion, so it is kept", detail=f"forks: {error}") from error
    raise UnavailableError(
        "a run is locked by another transaction, so it is kept",
        detail=f"run_id {run_id}, {_TRIES} tries of {_LOCK_MS} ms",
        hint="look for long transactions in pg_stat_activity, then delete again",
    )
