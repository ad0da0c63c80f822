"""The amount of stored history, by run, and the progress of sealing, for `GET /v1/status`.

Reads Postgres' catalog and the ledger, from which sizes by run are estimated (`run_sizes_v1`). Promises that an answer
of Postgres is kept for `_KEEP_S`, and that each query takes at most `_PATIENCE_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

log = logging.getLogger(__name__)

_KEEP_S = 10.0
_PATIENCE_S = 3.0
_RUNS = 50
_PROJECTS = 50


class Sizes:
    """Sizes, kept for `_KEEP_S`.

    Args:
        pool: connections to Postgres.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._sql = queries("sizes")
        self._lock = asyncio.Lock()
        self._storage: dict[str, Any] = {}
        self._largest: dict[str, Any] = {}
        self._asked_at = {"storage": -_KEEP_S, "largest": -_KEEP_S}

    async def storage(self) -> dict[str, Any] | None:
        """The sizes of the database; None: Postgres does not answer in time."""
        async with self._lock:
            if self._is_old("storage"):
                try:
                    with postgres_errors("read the size of history"):
                        row = await self._pool.fetchrow(self._sql["storage"], timeout=_PATIENCE_S)
                except Error as error:
                    log.debug("%s", error)
                    return None
                self._storage = dict(row)
                self._asked_at["storage"] = time.monotonic()
            return self._storage

    async def largest(self) -> dict[str, Any] | None:
        """The largest runs and projects, with estimated bytes; None: Postgres does not answer in time."""
        async with self._lock:
            if self._is_old("largest"):
                try:
                    with postgres_errors("read the sizes of runs"):
                        rows = await self._pool.fetch(self._sql["largest"], _RUNS, _PROJECTS, timeout=_PATIENCE_S)
                except Error as error:
                    log.debug("%s", error)
                    return None
                self._largest = {
                    "largest_runs": [_entry(row, "run") for row in rows if row["run"] is not None],
                    "largest_projects": [_entry(row, "project", "runs") for row in rows if row["run"] is None],
                }
                self._asked_at["largest"] = time.monotonic()
            return self._largest

    def _is_old(self, what: str) -> bool:
        return time.monotonic() - self._asked_at[what] >= _KEEP_S


def _entry(row: asyncpg.Record, *names: str) -> dict[str, Any]:
    return {name: row[name] for name in (*names, "points", "objects", "bytes", "files", "file_bytes")}
