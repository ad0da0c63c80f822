"""Quotas: finds runs that have reached the limit of points or bytes. The intake asks for each frame, which costs a dict
look-up.

Reads the ledger every few seconds for the runs that this worker knows; provides the error with which frames of a full
run are refused. The limit is not exact: a run may exceed it by everything that arrives at all workers between two
readings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

import asyncpg

from stepwell.errors import Error, RunFullError
from stepwell_ingest.config import Limits
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_schema import queries

log = logging.getLogger(__name__)

_EVERY_S = 5.0


class Quota:
    """The limits of runs, as one worker applies them.

    Args:
        pool: connections to Postgres.
        limits: the most points and bytes of a run.
        known: returns the current cursors of this worker.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Limits, known: Callable[[], Iterable[LedgerCursor]]) -> None:
        self._pool = pool
        self._points = limits.points_per_run
        self._bytes = limits.bytes_per_run
        self._known = known
        self._full: dict[int, RunFullError] = {}
        self._sql = queries("sizes")

    def refusal(self, run_id: int) -> RunFullError | None:
        """The error with which frames of the run are refused; None: they are stored."""
        return self._full.get(run_id)

    @property
    def limited(self) -> bool:
        """Whether there is a limit; without one, `run` is not needed."""
        return self._points is not None or self._bytes is not None

    async def run(self) -> None:
        """Reads the ledger every few seconds until cancelled."""
        while True:
            try:
                await self.look()
            except (Error, asyncpg.PostgresError) as error:
                log.warning("%s", error)
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> None:
        """Reads the ledger.

        Raises:
            UnavailableError: Postgres cannot be reached; earlier results stay.
        """
        run_ids = list({cursor.run_id for cursor in self._known()})
        with postgres_errors("look up the usage of runs"):
            rows = await self._pool.fetch(self._sql["usage"], run_ids)
        found = {row["run_id"]: self._judge(row["points"], row["bytes"]) for row in rows}
        self._full = {run_id: error for run_id, error in found.items() if error is not None}

    def _judge(self, points: int, size: int) -> RunFullError | None:
        hint = "log to another run, or start the server with a higher --{}"
        if self._points is not None and points >= self._points:
            return RunFullError(
                "the run has reached the server's limit of points",
                detail=f"{points:,} points; the limit is {self._points:,}",
                hint=hint.format("points-per-run"),
            )
        if self._bytes is not None and size >= self._bytes:
            return RunFullError(
                "the run has reached the server's limit of bytes",
                detail=f"{size:,} bytes of frames; the limit is {self._bytes:,}",
                hint=hint.format("bytes-per-run"),
            )
        return None
