"""The projects of the server."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from stepwell_ingest.read.database import Database

_MAX_PROJECTS = 10_000


async def list_projects(database: Database) -> dict[str, Any]:
    """{"projects": [{"entity", "project", "runs", "running", "newest_run_at"}, …]}, the newest run's project first."""
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["projects"], _MAX_PROJECTS)
    return {"projects": [{key: _plain(value) for key, value in row.items()} for row in rows]}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
