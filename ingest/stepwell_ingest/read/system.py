"""System metrics: the measurements on the hosts of a run, one row each, in the order of time.

They belong to no step, so they are not rows of its history. Receives a run; returns rows that are ready for JSON, with
the numbers of the view `system`. A cursor is a position, so a page neither repeats nor skips a measurement that existed
throughout. A measurement that arrives late (from a spool that was delivered later) is placed by its time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from stepwell_ingest.read.bounded import Row, fetch_bounded
from stepwell_ingest.read.cursor import decode_cursor, encode_cursor
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.standing import Standing

_POSITION = ("time_us", "writer_id", "epoch", "seq", "ord")


async def read_system(database: Database, run: RunRow, limit: int, cursor: str | None) -> dict[str, Any]:
    """Returns {"rows": [{"_writer", "_timestamp", metric: number…}, …], "next": cursor or None, "sampled": None}.

    `_timestamp` is in Unix seconds.

    Raises:
        UsageError: the cursor is invalid.
    """
    after = [None] * len(_POSITION) if cursor is None else decode_cursor(cursor, [int] * len(_POSITION))
    async with Standing(database, run.run_id).snapshot() as connection:
        query, columns, room = database.sql["system"], ("writer", *_POSITION), database.limits.answer_bytes
        found = await fetch_bounded(connection, query, columns, run.run_id, *after, limit + 1, room=room)
    more, kept = None, found.rows[:limit]
    if found.more or len(found.rows) > limit:
        more = encode_cursor(kept[-1].columns[name] for name in _POSITION)
    return {"rows": _rows(kept), "next": more, "sampled": None}


async def sample_system(database: Database, run: RunRow, samples: int) -> dict[str, Any]:
    """Returns about `samples` of all rows: every n-th of each writer, and its last one; "sampled" describes it."""
    async with Standing(database, run.run_id).snapshot() as connection:
        query, columns, room = database.sql["system_sample"], ("writer", "time_us", "total"), database.limits.page_bytes
        found = (await fetch_bounded(connection, query, columns, run.run_id, samples, room=room)).rows
    sampled = None
    if found and len(found) < found[0].columns["total"]:
        sampled = {"from_rows": found[0].columns["total"], "rows": len(found), "by": "order"}
    return {"rows": _rows(found), "next": None, "sampled": sampled}


def _rows(found: Iterable[Row]) -> list[dict[str, Any]]:
    rows = []
    for row, value in found:
        metrics = orjson.loads(value or "null")  # null: nothing in it was a number
        if isinstance(metrics, dict):
            rows.append({**metrics, "_writer": row["writer"], "_timestamp": row["time_us"] / 1e6})
    return rows
