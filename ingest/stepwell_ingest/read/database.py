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
from stepwell_ingest.room import Room
from stepwell_schema import queries

_CLOSE_S = 2.0
_RETRY_AFTER_S = 1.0


class Held:
    """The memory that one answer holds in the room for reads. Made by `Database.room` and `Database.reserve`."""

    def __init__(self, room: Room, size: int) -> None:
        self._room = room
        self._size = size

    def resize(self, size: int) -> None:
        """Changes the number of held bytes to `size`."""
        more, self._size = size - self._size, size
        if more > 0:
            self._room.add(more)
        elif more:
            self._room.give_back(-more)


class Database:
    """Postgres for reads.

    Args:
        pool: connections for reads only (`db.connect.read_pool`).
        limits: how long a read may wait for a connection, and how long it may use it.

    Attributes:
        sql: the named queries.
        memory: the room for all answers of this worker together.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Reads) -> None:
        self.limits = limits
        self.sql = queries("read")
        self.memory = Room(limits.memory_bytes, _RETRY_AFTER_S)
        self._pool = pool
        self._costly = asyncio.Semaphore(limits.costly)

    async def close(self) -> None:
        """Closes the connections; reads in progress have a moment to end normally."""
        try:
            await asyncio.wait_for(self._pool.close(), _CLOSE_S)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def costly_snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """Like `snapshot`, for statements whose cost the client determines: at most `Reads.costly` snapshots at the
        same time, and at most `Reads.costly_s` for each statement.

        Raises:
            OverloadedError, UsageError, UnavailableError: as `snapshot`.
        """
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await self._costly.acquire()
        except TimeoutError:
            raise OverloadedError(
                "$regex filter limit reached",
                retry_after_s=_RETRY_AFTER_S,
                detail=f"{self.limits.costly} lists with such a filter at a time",
            ) from None
        try:
            async with self.snapshot(self.limits.costly_s) as connection:
                yield connection
        finally:
            self._costly.release()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncIterator[Held]:
        """Room for an answer in the memory that all reads of a worker share.

        Args:
            size: about how many bytes reading may take; `Held.resize` then sets what is held while the answer is sent.

        Raises:
            OverloadedError: other answers hold the room for `wait_s`.
        """
        held = await self.reserve(size)
        try:
            yield held
        finally:
            held.resize(0)

    async def reserve(self, size: int) -> Held:
        """Like `room`, but not a context manager: the caller must resize the result to 0 at the end.

        Raises:
            OverloadedError: as `room`.
        """
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await self.memory.reserve(size)
        except TimeoutError:
            raise OverloadedError(
                "memory limit for reads reached",
                retry_after_s=_RETRY_AFTER_S,
                detail=f"{self.memory.held_bytes:,} of {self.memory.limit_bytes:,} bytes are held",
                hint="ask again after a pause, or for less in one request",
            ) from None
        return Held(self.memory, size)

    @asynccontextmanager
    async def snapshot(self, statement_s: float | None = None) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction in which all statements see the same state.

        Args:
            statement_s: the longest that one statement may take; None: `Reads.statement_s`.

        Raises:
            OverloadedError: no connection became free within `wait_s`.
            UsageError: a statement took longer than `statement_s`.
            UnavailableError: Postgres cannot be reached.
        """
        with _read_errors(statement_s or self.limits.statement_s):
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
                    if statement_s is not None:
                        await connection.execute(f"SET LOCAL statement_timeout = {round(statement_s * 1000)}")
                    yield connection
            finally:
                await self._pool.release(connection)


@contextmanager
def _read_errors(statement_s: float) -> Iterator[None]:
    try:
        yield
    except Error:
        raise
    except asyncpg.QueryCanceledError as error:
        raise UsageError(
            f"the read took longer than {statement_s:g} s",
            hint="ask for fewer keys or a narrower range of steps, or leave $regex out of the filter",
        ) from error
    except asyncpg.DataError as error:  # an invalid regular expression, a date beyond Postgres' calendar
        raise UsageError("Postgres rejected a value of this request", detail=str(error)[:500]) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        raise UnavailableError(
            "Postgres could not answer the request",
            detail=f"{type(error).__name__}: {str(error)[:500]}",
            hint=hint_for(error),
        ) from error
