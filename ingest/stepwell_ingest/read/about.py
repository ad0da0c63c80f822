"""What a run says of itself beside values: its files.

Each function receives a run and returns an object that is ready for JSON. Cursors are positions, so a page neither
repeats nor skips what was there all along.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import RunRow


async def read_files(database: Database, run: RunRow, limit: int, after: str | None) -> dict[str, Any]:
    """{"files": [{"name", "sha256", "size", "time", "writer"}, …], "next": cursor or None}; a cursor is a name."""
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["files"], run.run_id, after, limit + 1)
    files = [{key: _plain(value) for key, value in row.items()} for row in rows[:limit]]
    return {"files": files, "next": files[-1]["name"] if len(rows) > limit else None}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
