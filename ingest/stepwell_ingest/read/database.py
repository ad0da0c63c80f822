"""Read-only access to the database, over a pool of its own and with a time-out for every statement.

Runs the named queries of `queries/read.sql` and returns rows. Promises that reads neither change anything nor take a
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
        pool: connections for reads only (`db.connect.read_pool`).
        limits: how long a read may wait for a connection, and how long it may use it.

    Attributes:
        sql: the named queries.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Reads) -> None:
        self.limits = limits
        self.sql = queries("read")
        self._pool = pool

    async def close(self) -> None:
        """Closes the connections; reads in progress have a moment to end normally."""
        try:
            await asyncio.wait_for(self._pool.close(), _CLOSE_S)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction in which all statements see the same state.

        Raises:
            OverloadedError: no connection became free within `wait_s`.
            UsageError: a statement took longer than `statement_s`.
            UnavailableError: Postgres cannot be reached.
        """
        with _read_errors(self.limits):
            try:
                connection = await self._pool.acquire(timeout=self.limits.wait_s)
            except TimeoutError:
                raise OverloadedError(
                    "read limit reached",
                    retry_after_s=1.0,
                    detail=f"{self.limits.connections} reads at a time",
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
        raise UsageError("Postgres rejected a value of this request", detail=str(error)[:500]) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise UnavailableError(
            "Postgres could not read",
            detail=f"{type(error).__name__}: {str(error)[:500]}",
            hint=hint_for(error),
        ) from error
