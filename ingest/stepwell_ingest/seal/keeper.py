"""The sealing loop: looks for work, seals, merges, turns the ring; stops between two passes.

Above the stations of `seal`. Promises: it keeps up with what comes in, and leaves half of its time to others as long as
it does; whatever fails is tried again, and nothing is lost by that, since a pass is one transaction.
"""

from __future__ import annotations

import asyncio
import logging
import time

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.errors import caused_by_rows, postgres_errors
from stepwell_ingest.seal.chunks import Epoch
from stepwell_ingest.seal.merger import Merger
from stepwell_ingest.seal.ring import Ring
from stepwell_ingest.seal.sealer import Sealer

log = logging.getLogger(__name__)

_RETRY_S = 5.0
_MERGE_EVERY_S = 30.0


class Keeper:
    """Runs the sealing of one server. Others may run beside it, on the same Postgres.

    Args:
        pool: connections to Postgres; it uses one at a time.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._settings = settings
        self._sealer = Sealer(pool, settings)
        self._merger = Merger(pool, settings)
        self._ring = Ring(pool, settings)
        self._merged_at = time.monotonic()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause_s = self._settings.every_s
            try:
                with postgres_errors("seal"):
                    await self.look()
            except Error as error:
                log.warning("%s", error)
                pause_s = _RETRY_S
            await asyncio.sleep(pause_s)

    async def look(self) -> int:
        """Seals what is worth it now; returns how many points.

        Raises:
            asyncpg.PostgresError, UnavailableError: Postgres is away; what was under way is undone.
        """
        sealed = 0
        calm = await self._ring.unsealed_bytes() <= self._settings.calm_bytes / 2
        for epoch, whole in await self._sealer.candidates():
            try:
                sealed += await self._seal(epoch, whole, calm)
            except asyncpg.PostgresError as error:
                if not caused_by_rows(error):
                    raise
                log.error("the history of %s could not be sealed and stays hot: %s", epoch, error)
        await self._ring.turn()
        if time.monotonic() - self._merged_at > _MERGE_EVERY_S:
            for epoch, level in await self._merger.candidates():
                began = time.monotonic()
                await self._merger.merge(epoch, level)
                await asyncio.sleep(time.monotonic() - began)
            self._merged_at = time.monotonic()
        return sealed

    async def _seal(self, epoch: Epoch, whole: bool, calm: bool) -> int:
        sealed = 0
        while True:
            began = time.monotonic()
            done = await self._sealer.seal(epoch, whole)
            if done is None:
                return sealed
            sealed += done.points
            if not done.more:
                return sealed
            await self._ring.turn()
            if calm:
                await asyncio.sleep(time.monotonic() - began)
