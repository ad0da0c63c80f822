"""Reads lists of what belongs to a run besides its values: writers, rejections, alerts, files, metadata and console.

Each function receives a run and returns an object that is ready for JSON. A cursor is a position in the data and not a
count of rows, so rows that are added or removed between two pages do not make others appear twice or not at all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.cursor import decode_cursor, encode_cursor
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.shown import shown, shown_bytes

_POSITION = ("time_us", "writer_id", "epoch", "seq", "ord")


async def read_list(database: Database, run: RunRow, name: str, limit: int) -> dict[str, Any]:
    """Returns {name: rows, "more": whether there are more}.

    Args:
        name: the name of the query: "writers", "rejections" or "alerts".
    """
    query = f"SELECT to_jsonb(l)::text AS value FROM ({database.sql[name].strip().removesuffix(';')}) l"
    async with database.snapshot() as connection:
        found = await fetch_bounded(connection, query, (), run.run_id, limit, room=database.limits.answer_bytes)
    return {name: [shown(value or "null") for _, value in found.rows], "more": found.more}


async def read_files(database: Database, run: RunRow, limit: int, after: str | None) -> dict[str, Any]:
    """Returns {"files": [{"name", "sha256", "size", "time", "writer"}, …], "next": cursor or None}; a cursor is a
    name."""
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["files"], run.run_id, after, limit + 1)
    files = [{key: _plain(value) for key, value in row.items()} for row in rows[:limit]]
    return {"files": files, "next": files[-1]["name"] if len(rows) > limit else None}


async def read_metadata(database: Database, run: RunRow, limit: int) -> dict[str, Any]:
    """Returns {"metadata": {writer: its metadata, such as host and program}, "more": whether there are more}."""
    async with database.snapshot() as connection:
        query, room = database.sql["metadata"], database.limits.answer_bytes
        found = await fetch_bounded(connection, query, ("writer",), run.run_id, limit, room=room)
    return {"metadata": {row["writer"]: shown(value or "null") for row, value in found.rows}, "more": found.more}


async def read_console(database: Database, run: RunRow, limit: int, cursor: str | None) -> dict[str, Any]:
    """The last console lines, or those before a cursor.

    Args:
        limit: the most parts to return; a part is a few consecutive lines of one process.
        cursor: "earlier" of a previous answer.

    Returns:
        {"parts": [{"writer", "epoch", "stream", "number", "lines": […], "times": […]}, …], "earlier": cursor or None};
        parts are in the order of arrival. `number` counts the lines of a process; times are Unix seconds.

    Raises:
        UsageError: the cursor is invalid.
    """
    before = [None] * len(_POSITION) if cursor is None else decode_cursor(cursor, [int] * len(_POSITION))
    async with database.snapshot() as connection:
        query, room, columns = database.sql["console"], database.limits.answer_bytes, ("writer", "stream", *_POSITION)
        found = await fetch_bounded(connection, query, columns, run.run_id, *before, limit + 1, room=room)
    kept = found.rows[:limit]
    parts = [
        {
            "writer": row["writer"],
            "epoch": row["epoch"],
            "stream": row["stream"],
            **_part(value),
        }
        for row, value in reversed(kept)
    ]
    earlier = None
    if found.more or len(found.rows) > limit:
        earlier = encode_cursor(kept[-1].columns[name] for name in _POSITION)
    return {"parts": parts, "earlier": earlier}


def _part(value: str | None) -> dict[str, Any]:
    found = orjson.loads(shown_bytes(value or "null"))
    return found if isinstance(found, dict) else {"number": None, "lines": [found], "times": []}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
