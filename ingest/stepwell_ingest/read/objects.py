"""Objects, the logged values that are not numbers: the keys that have any, and the values of one key in order.

A cursor is a position (step and writer), so a page neither repeats nor skips a value that existed throughout. The
cursor also contains the run's number, and a mark that changes when values of the run are hidden.
"""

from __future__ import annotations

from typing import Any

from stepwell.errors import RewoundError
from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.cursor import decode_cursor, encode_cursor
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.shown import shown
from stepwell_ingest.read.standing import Standing


async def object_keys(database: Database, run: RunRow) -> dict[str, Any]:
    """Returns {"keys": [{"key", "count", "first_step", "last_step"}, …]}."""
    async with Standing(database, run.run_id).snapshot() as connection:
        return {"keys": [dict(row) for row in await connection.fetch(database.sql["object_keys"], run.run_id)]}


async def read_objects(
    database: Database, run: RunRow, key: str, min_step: int, max_step: int, limit: int, cursor: str | None
) -> dict[str, Any]:
    """Returns {"key", "values": [{"step", "writer", "time", "value"}, …], "next": cursor or None}.

    A page ends with `limit` values, or earlier if they are large (`Reads.answer_bytes`).

    Raises:
        UsageError: the cursor is invalid.
        RewoundError: values were hidden since the cursor was given, or another run has the name now.
    """
    after: tuple[int, str | None] = (min_step, None)
    known = None
    if cursor is not None:
        step, writer, *known = decode_cursor(cursor, [int, str, int, int])
        after = step, writer
    standing = Standing(database, run.run_id)
    async with standing.snapshot() as connection:
        if known not in (None, [run.run_id, standing.mark]):
            raise RewoundError(
                "the run has been rewound, restarted or deleted since the server returned this cursor",
                hint="start again without a cursor",
            )
        query, columns = database.sql["objects_of_key"], ("writer", "step", "time")
        arguments = (run.run_id, key, *after, max_step, limit + 1)
        found = await fetch_bounded(connection, query, columns, *arguments, room=database.limits.answer_bytes)
    kept = [row for row, _ in found.rows[:limit]]
    values = [
        {
            "step": row["step"],
            "writer": row["writer"],
            "time": row["time"].isoformat(),
            "value": shown(value or "null"),  # as it was logged: integers of any size
        }
        for row, value in found.rows[:limit]
    ]
    more = None
    if found.more or len(found.rows) > limit:
        more = encode_cursor([kept[-1]["step"], kept[-1]["writer"], run.run_id, standing.mark])
    return {"key": key, "values": values, "next": more}
