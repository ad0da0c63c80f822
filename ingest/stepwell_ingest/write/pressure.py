"""Pressure: how long copiers rest between batches because sealing is behind.

Reads every two seconds how much hot history waits to be sealed, and derives a pause from it. Without pauses, two cores
take in 5 million points/s and seal 2 million/s at the same time, so hot history would grow for as long as the load
lasts. With pauses, both settle at the same rate (docs/architecture.md). Promises: the pause is at most three times the
duration of the batch, so a stuck sealer slows ingest down but never stops it; and while no sealer is connected, there
are no pauses.
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
    """The pressure on one worker.

    Args:
        pool: connections to Postgres.
        settings: contains the amount of hot history above which copiers pause (`calm_bytes`).
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._calm_bytes = settings.calm_bytes
        self._sql = queries("write")
        self.unsealed_bytes = 0

    async def run(self) -> None:
        """Reads the amount of hot history every two seconds, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                with postgres_errors("read how much waits to be sealed"):
                    async with self._pool.acquire(timeout=10) as connection:
                        self.unsealed_bytes = await connection.fetchval(self._sql["unsealed_bytes"], timeout=10)
            except (Error, asyncpg.PostgresError) as error:
                log.debug("%s", error)  # the copiers will report it, too

    def pause_s(self, batch_s: float) -> float:
        """The pause in seconds after a batch that took `batch_s`."""
        behind = self.unsealed_bytes / self._calm_bytes - 1
        return batch_s * min(_MOST, max(0.0, 2 * behind))
