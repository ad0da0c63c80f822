"""The hot ring: turns to the next slot, and empties slots that are sealed for all readers.

Runs beside the sealer. The rules are in `functions/160_hot_ring.sql`; this module decides when to apply them, and makes
sure that others do not wait long.
"""

from __future__ import annotations

import datetime
import logging

import asyncpg

from stepwell_ingest.config import SealSettings
from stepwell_schema import queries

log = logging.getLogger(__name__)


class Ring:
    """Turns and empties the ring; any number of servers may do so.

    Args:
        pool: connections to Postgres.
        settings: when a slot counts as full or old, and the longest wait for a lock.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = queries("seal")
        self._warned = False

    async def turn(self) -> None:
        """Empties all slots that may be emptied; turns to the next one when the current one is full or old; records
        sealed ones."""
        settings = self._settings
        if await self._allowed():
            while await self._ask("empty_slot") is not None:
                pass
        await self._ask("rotate", settings.slot_bytes, datetime.timedelta(seconds=settings.slot_age_s))
        await self._ask("mark_sealed")

    async def unsealed_bytes(self) -> int:
        """The amount of data in slots that are not known to be sealed."""
        return int(await self._pool.fetchval(self._sql["unsealed_bytes"]))

    async def _ask(self, name: str, *arguments: object) -> object:
        """Runs a query on the ring; returns its result, or None if a lock was not available."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {self._settings.lock_ms}")
                return await connection.fetchval(self._sql[name], *arguments)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.debug("the hot ring is in use: %s", error)  # tried again in the next round
            return None

    async def _allowed(self) -> bool:
        """Returns whether the role of these connections sees every snapshot. Asked each time, since the warning tells
        people to change this."""
        allowed = bool(await self._pool.fetchval(self._sql["may_see_snapshots"]))
        if not allowed and not self._warned:
            log.warning(
                "the space of sealed history is not freed: the role that the server connects as cannot see which "
                "snapshots readers hold. As a superuser, run: GRANT pg_read_all_stats TO <that role>"
            )
        self._warned = not allowed
        return allowed
