"""Folded notes: the config and names that result from a run's notes are kept with the run, for lists of runs.

Works beside the sealer. Receives runs with notes that are not folded yet; sets `run.folded_config`, `run.folded_meta`
and `note.folded` in one statement, so every snapshot has all of them or none. Readers use the columns only while the
run has no other note (`views/010_runs.sql`). So folding may be late, fail or be killed: readers see the current config
in any case.
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

#: The most runs that one search finds. Each search reads all notes that are not folded.
_FOUND = 2000
#: The most runs that one transaction folds; it takes about 0.1 ms for each.
_AT_ONCE = 200
#: The longest time of one turn; sealing continues after it.
_TURN_S = 0.5
#: The pause before the notes of a run are tried again after a failure.
_FAILED_REST_S = 300.0


class Notes:
    """Folds notes over one connection at a time. Other processes may do the same on the same Postgres.

    Args:
        pool: connections to Postgres.
        settings: how old notes must be before they are folded, and the share of time for it.
    """

    def __init__(self, pool: asyncpg.Pool, settings: SealSettings) -> None:
        self._pool = pool
        self._settings = settings
        self._sql = queries("seal")
        self._turn_at = 0.0
        self._resting: dict[int, float] = {}  # runs that failed, and the times until which they rest

    async def turn(self) -> int:
        """Folds the notes of some runs, unless the pause after the last turn is still on; returns the number of runs.

        Raises:
            UnavailableError: Postgres is unreachable.
        """
        began = time.monotonic()
        if began < self._turn_at:
            return 0
        self._resting = {run_id: until for run_id, until in self._resting.items() if until > began}
        with postgres_errors("look for notes"):
            rows = await self._pool.fetch(
                self._sql["unfolded_runs"],
                datetime.timedelta(seconds=self._settings.notes_rest_s),
                datetime.timedelta(seconds=self._settings.notes_rest_per_note_s),
                *(_FOUND, list(self._resting)),
            )
        run_ids, folded = [row["run_id"] for row in rows], 0
        for start in range(0, len(run_ids), _AT_ONCE):
            folded += await self._fold_all(run_ids[start : start + _AT_ONCE])
            if time.monotonic() > began + _TURN_S:
                break
        self._turn_at = time.monotonic() + (time.monotonic() - began) * (1 / self._settings.summary_share - 1)
        return folded

    async def fold(self, run_ids: Sequence[int]) -> int:
        """Folds the notes of runs in one transaction; returns their number (0 if another process has the lock).

        Raises:
            asyncpg.PostgresError, OSError: nothing is folded.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            # Notes whose folding is lost in a crash are folded again later.
            await connection.execute("SET LOCAL synchronous_commit = off")
            if not await connection.fetchval(self._sql["claim_summaries"]):
                return 0
            tag = await connection.execute(self._sql["fold_notes"], run_ids)
        return int(tag.rpartition(" ")[2])

    async def _fold_all(self, run_ids: Sequence[int]) -> int:
        """Folds the notes of runs together or, if that fails, one by one."""
        try:
            with postgres_errors("fold notes"):
                return await self.fold(run_ids)
        except UnavailableError:
            raise
        except Exception as error:  # no error may keep the notes of other runs from being folded
            if len(run_ids) > 1:
                return sum([await self._fold_all([run_id]) for run_id in run_ids])
            expected = isinstance(error, asyncpg.PostgresError | Error)
            log.error("the notes of run %d cannot be folded: %s", run_ids[0], error, exc_info=not expected)
            self._resting[run_ids[0]] = time.monotonic() + _FAILED_REST_S
            return 0
