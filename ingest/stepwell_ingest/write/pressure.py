"""How far sealing is behind, and how long a copier rests for it between two batches.

Beside the copiers. In comes, every two seconds, how much hot history waits to be sealed; out goes a pause. Two cores
take 5 million points/s in and seal 2 million/s at the same time, when nobody holds back: hot history would grow for
as long as the load lasts. With pauses both settle at the same rate (docs/architecture.md). Promises: the pause is
never more than three times as long as the batch took, so what is stuck in sealing slows ingest down and never stops
it; and where no sealer is connected, nobody waits for one.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 2.0
_MOST = 3.0


class Pressure:
    """Of one worker.

    Args:
        pool: connections to Postgres.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._calm_bytes = settings.calm_bytes
        self._sql = queries("write")
        self.unsealed_bytes = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                with postgres_errors("say how much waits to be sealed"):
                    async with self._pool.acquire(timeout=10) as connection:
                        self.unsealed_bytes = await connection.fetchval(self._sql["unsealed_bytes"], timeout=10)
            except (Error, asyncpg.PostgresError) as error:
                log.debug("%s", error)  # the copiers will say so, too

    def pause_s(self, batch_s: float) -> float:
        """How long to rest after a batch that took `batch_s`."""
        behind = self.unsealed_bytes / self._calm_bytes - 1
        return batch_s * min(_MOST, max(0.0, 2 * behind))
