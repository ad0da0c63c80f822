"""Which runs have as many points or bytes as one run may have. Asked by the intake for each frame; costs a look-up.

Beside the catalog. In comes, every few seconds, what the ledger says of the runs that this worker knows; out goes the
error with which frames of a full run are refused. Promises no exact limit: a run may go beyond it by what arrives
between two looks, at all workers together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import asyncpg

from stepwell.errors import Error, RunFullError
from stepwell_ingest.config import Limits
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.write.ledger import Cursor
from stepwell_schema import queries

log = logging.getLogger(__name__)

_EVERY_S = 5.0


class Quota:
    """The limits of runs, as one worker applies them.

    Args:
        pool: connections to Postgres.
        known: the cursors of this worker, as of now.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Limits, known: Callable[[], Iterable[Cursor]]) -> None:
        self._pool = pool
        self._points = limits.points_per_run
        self._bytes = limits.bytes_per_run
        self._known = known
        self._full: dict[int, RunFullError] = {}
        self._sql = queries("sizes")

    def refusal(self, run_id: int) -> RunFullError | None:
        """Why nothing more of the run is stored; None: it is."""
        return self._full.get(run_id)

    @property
    def limited(self) -> bool:
        """Whether there is a limit, so that `run` has something to do."""
        return self._points is not None or self._bytes is not None

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                await self.look()
            except (Error, asyncpg.PostgresError) as error:
                log.warning("%s", error)
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Asks the ledger.

        Raises:
            UnavailableError: Postgres is away; what was found before stays.
        """
        run_ids = list({cursor.run_id for cursor in self._known()})
        with postgres_errors("look up what runs have used"):
            rows = await self._pool.fetch(self._sql["usage"], run_ids)
        found = {row["run_id"]: self._judge(row["points"], row["bytes"]) for row in rows}
        self._full = {run_id: error for run_id, error in found.items() if error is not None}

    def _judge(self, points: int, size: int) -> RunFullError | None:
        hint = "log to another run, or have the server started with a higher --{}"
        if self._points is not None and points >= self._points:
            return RunFullError(
                "the run has as many points as one may have on this server",
                detail=f"{points:,} points; the limit is {self._points:,}",
                hint=hint.format("points-per-run"),
            )
        if self._bytes is not None and size >= self._bytes:
            return RunFullError(
                "the run has as many bytes as one may have on this server",
                detail=f"{size:,} bytes of frames; the limit is {self._bytes:,}",
                hint=hint.format("bytes-per-run"),
            )
        return None
