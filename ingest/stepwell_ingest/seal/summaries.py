"""Stored summaries: the summaries of runs that do not change are kept as rows, so lists of runs need not compute them.

Works beside the sealer. Receives runs whose ledger rows have moved since their summary was stored; writes rows of
`stored_value`, and the positions of the ledger rows for which they are valid. Promises that values and positions come
from one snapshot. Readers use the values only while the ledger rows have these positions
(`functions/095_stored_summaries.sql`).
So storing may be late, fail or be killed: readers see the current summary in any case. If one summary cannot be stored,
the others still are.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Sequence

import asyncpg

from stepwell.errors import Error, UnavailableError
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

log = logging.getLogger(__name__)

#: The most runs that one search finds. Each search reads the ledger rows of all runs.
_AT_ONCE = 2000
#: The longest time of one turn; sealing continues after it.
_TURN_S = 1.0
#: The pause before the summary of a run is tried again after a failure.
_FAILED_REST_S = 300.0


class Summaries:
    """Stores summaries over one connection at a time. Other processes may do the same on the same Postgres.

    Args:
        pool: connections to Postgres.
        settings: how long runs must not have changed, and the share of time for summaries.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = queries("seal")
        self._waiting: list[tuple[int, int]] = []  # run ids from the last search, with their numbers of names
        self._look_at = self._turn_at = 0.0
        self._resting: dict[int, float] = {}  # runs that failed, and the times until which they rest

    async def turn(self) -> int:
        """Stores some summaries, unless the pause after the last turn is still on; returns their number.

        Raises:
            UnavailableError: Postgres is unreachable.
        """
        began = time.monotonic()
        if began < self._turn_at:
            return 0
        if not self._waiting and began >= self._look_at:
            await self._look()
        stored = 0
        while self._waiting and time.monotonic() < began + _TURN_S:
            stored += await self._store_all(self._next_batch())
        self._turn_at = time.monotonic() + (time.monotonic() - began) * (1 / self._settings.summary_share - 1)
        return stored

    async def store(self, run_ids: Sequence[int]) -> int:
        """Stores the summaries of runs in one transaction; returns their number (0 if another process has the locks).

        Raises:
            asyncpg.PostgresError, OSError: nothing is stored.
        """
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                # Summaries that are lost in a crash are stored again later.
                await connection.execute("SET LOCAL synchronous_commit = off")
                if not await connection.fetchval(self._sql["claim_summaries"]):
                    return 0
                tag = await connection.execute(self._sql["store_summaries"], run_ids)
        except asyncpg.LockNotAvailableError as error:
            log.debug("stored summaries are locked: %s", error)
            self._waiting.clear()  # the next search finds these runs again
            return 0
        return int(tag.rpartition(" ")[2])

    async def _look(self) -> None:
        settings, began = self._settings, time.monotonic()
        self._resting = {run_id: until for run_id, until in self._resting.items() if until > began}
        with postgres_errors("look for summaries"):
            rows = await self._pool.fetch(
                self._sql["summary_candidates"],
                datetime.timedelta(seconds=settings.summary_rest_s),
                datetime.timedelta(seconds=settings.summary_rest_per_name_s),
                datetime.timedelta(seconds=settings.summary_retry_s),
                _AT_ONCE,
                list(self._resting),
            )
        self._waiting = [(row["run_id"], row["names"]) for row in reversed(rows)]  # taken from the end
        ended = time.monotonic()
        self._look_at = ended + max(settings.every_s, (ended - began) / settings.summary_look_share)

    def _next_batch(self) -> list[int]:
        batch: list[int] = []
        names = 0
        while self._waiting and (not batch or names + self._waiting[-1][1] <= self._settings.summary_names):
            run_id, more = self._waiting.pop()
            batch.append(run_id)
            names += more
        return batch

    async def _store_all(self, run_ids: Sequence[int]) -> int:
        """Stores the summaries of runs together or, if that fails, one by one."""
        try:
            with postgres_errors("store summaries"):
                return await self.store(run_ids)
        except UnavailableError:
            raise
        except Exception as error:  # no error may keep the other summaries from being stored
            if len(run_ids) > 1:
                return sum([await self._store_all([run_id]) for run_id in run_ids])
            expected = isinstance(error, asyncpg.PostgresError | Error)
            log.error("the summary of run %d cannot be stored: %s", run_ids[0], error, exc_info=not expected)
            self._resting[run_ids[0]] = time.monotonic() + _FAILED_REST_S
            return 0
