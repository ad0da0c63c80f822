"""The connections of those who read: a pool of its own, read-only, every statement bounded in time.

In come named queries of `queries/read.sql`; out go rows. Promises that reads can neither change anything nor take a
connection from the write path, and that one transaction sees one state of the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from stepwell.errors import Error, OverloadedError, UnavailableError, UsageError
from stepwell_ingest.config import Reads
from stepwell_ingest.db.errors import hint_for
from stepwell_schema import queries

_CLOSE_S = 2.0


class Database:
    """Postgres for reads.

    Args:
        dsn: where it is.
        limits: how many connections, and how long they may be waited for and used.
        connect_s: the longest wait for a connection to be made.

    Attributes:
        sql: the named queries.
    """

    def __init__(self, dsn: str, limits: Reads, connect_s: float) -> None:
        self.limits = limits
        self.sql = queries("read")
        self._dsn = dsn
        self._connect_s = connect_s
        self._pool: asyncpg.Pool | None = None

    async def open(self) -> None:
        """Makes the pool. Connections are made when they are needed: a server that nobody reads from has none."""
        statement_ms = round(self.limits.statement_s * 1000)
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self.limits.connections,
            timeout=self._connect_s,
            server_settings={
                "application_name": "stepwell reads",
                "default_transaction_read_only": "on",
                "statement_timeout": str(statement_ms),
                "idle_in_transaction_session_timeout": str(2 * statement_ms),
                "TimeZone": "UTC",
                # Its compiler costs 100 ms and more where these statements take 5.
                "jit": "off",
            },
        )

    async def close(self) -> None:
        """Ends the connections; what is under way has a moment to end by itself."""
        if self._pool is not None:
            try:
                await asyncio.wait_for(self._pool.close(), _CLOSE_S)
            except TimeoutError:
                self._pool.terminate()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction in which all statements see the same state.

        Raises:
            OverloadedError: all connections are in use for `wait_s`.
            UsageError: a statement took longer than `statement_s`.
            UnavailableError: Postgres is away.
        """
        if self._pool is None:
            raise UnavailableError("the server has not started yet")
        with _read_errors(self.limits):
            try:
                connection = await self._pool.acquire(timeout=self.limits.wait_s)
            except TimeoutError:
                raise OverloadedError(
                    "as many reads are under way as the server takes",
                    retry_after_s=1.0,
                    detail=f"{self.limits.connections} at a time",
                ) from None
            try:
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    yield connection
            finally:
                await self._pool.release(connection)


@contextmanager
def _read_errors(limits: Reads) -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except asyncpg.QueryCanceledError as error:
        raise UsageError(
            f"the read took longer than {limits.statement_s:g} s",
            hint="ask for fewer keys or a narrower range of steps",
        ) from error
    except asyncpg.DataError as error:  # an invalid regular expression, a date beyond Postgres' calendar
        raise UsageError("Postgres cannot use a value of this request", detail=str(error)[:500]) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise UnavailableError(
            "Postgres could not read",
            detail=f"{type(error).__name__}: {str(error)[:500]}",
            hint=hint_for(error),
        ) from error
