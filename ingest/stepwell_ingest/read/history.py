"""The rows of a run, page by page: chooses how much to read at a time, and where the next page begins.

Receives a run and a range of steps; yields pages in the order of steps, each from one state of the database. No
connection is held between pages, so a slow client costs only the memory of its page; when rows are hidden in between,
the read ends with an error (`standing`). A page has about `page_points` points. The width of the next range follows
from the density of the last one, since steps may be a thousand apart, or have ten thousand metrics each.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from stepwell.errors import UsageError
from stepwell.wire import MAX_STEP
from stepwell_ingest.read.arrays import TooMuch, fetch
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.rows import ObjectValue, Page, assemble
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.shown import shown_bytes
from stepwell_ingest.read.standing import Standing

#: The columns that identify a row; they are not names of metrics.
STEP, TIMESTAMP, RUNTIME = "_step", "_timestamp", "_runtime"
RESERVED = frozenset((STEP, TIMESTAMP, RUNTIME))
#: A page may be this many times wider than the last one: the following steps may be denser.
_GROWTH = 16
#: Every step is below this one.
ALL_STEPS = MAX_STEP + 1
_FETCH_OBJECTS = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows to read.

    Attributes:
        keys: the keys of the rows; None: all keys, whole rows.
        every_key: whether rows must have all of `keys`, or at least one of them.
        min_step, max_step: bounds of the steps, min ≤ step < max.
        with_times: whether to read the times of the rows.
    """

    keys: tuple[str, ...] | None = None
    every_key: bool = True
    min_step: int = 0
    max_step: int | None = None
    with_times: bool = True

    @property
    def limit(self) -> int:
        """The step below which all wanted rows of any run lie."""
        return ALL_STEPS if self.max_step is None else self.max_step

    def end_of_points(self, run: RunRow) -> int:
        """The step below which all wanted points of this run lie."""
        return min(self.limit, run.end_step)

    def end(self, run: RunRow) -> int:
        """The step below which all wanted rows of this run lie. Media may be stored before the step that they belong
        to."""
        return self.limit if run.may_have_objects else self.end_of_points(run)


async def read_pages(
    database: Database, run: RunRow, wanted: Wanted, about_rows: int | None = None
) -> AsyncGenerator[Page, None]:
    """Yields pages with all wanted rows; empty pages are left out.

    Args:
        about_rows: the number of rows after which the caller will stop; it bounds the first page.

    Raises:
        UsageError: a single step holds more than a page may.
        NotFoundError, RewoundError, OverloadedError, UnavailableError: see `Standing.snapshot`.
    """
    standing = Standing(database, run.run_id)
    end, start = wanted.end_of_points(run), wanted.min_step
    target = database.limits.page_points
    width = max(1, end - start)
    if run.points > target:
        width = max(1, run.end_step * target // run.points)
    if about_rows is not None:
        width = min(width, max(1, about_rows))
    while start < wanted.end(run):
        below = min(start + width, end) if start < end else wanted.limit
        try:
            async with standing.snapshot(start) as connection:
                page = await read_page(database, connection, run, wanted, start, below)
        except TooMuch:
            if start >= end:  # many rows have been logged since the read began
                end = start + 1
                continue
            if width == 1:
                raise UsageError(
                    f"step {start} alone exceeds the limit of a page",
                    detail=f"{database.limits.page_bytes} bytes",
                    hint="name keys",
                ) from None
            width = max(1, min(width, below - start) // 8)
            continue
        if len(page.steps):
            yield page
        points = sum(len(column.values) for column in page.columns)
        width = max(1, width * target // max(points, target // _GROWTH, 1))
        start = below


async def read_page(
    database: Database, connection: asyncpg.Connection, run: RunRow, wanted: Wanted, start: int, below: int
) -> Page:
    """Reads the rows with start ≤ step < below.

    Raises:
        TooMuch: they hold more than a page may.
    """
    # With only reserved names (keys=_step), the rows are wanted without any columns.
    names = [key for key in wanted.keys or () if key not in RESERVED] or None
    room, times = database.limits.page_bytes, wanted.with_times
    series = await fetch(connection, database.sql, run.run_id, names, start, below, room, with_times=times)
    objects: list[ObjectValue] = []
    if run.may_have_objects:
        objects = await fetch_objects(database, connection, run.run_id, names, start, below)
    require = names if wanted.every_key else None
    page = assemble(series, objects, below, with_times=wanted.with_times, require=require)
    if wanted.keys is not None and names is None:
        page.columns.clear()
    return page


async def fetch_objects(
    database: Database,
    connection: asyncpg.Connection,
    run_id: int,
    keys: Sequence[str] | None,
    start: int,
    below: int,
) -> list[ObjectValue]:
    """Reads the objects with start ≤ step < below; `keys` None: of all keys.

    Raises:
        TooMuch: they hold more than a page may.
    """
    found: list[ObjectValue] = []
    held = 0
    cursor = await connection.cursor(database.sql["objects"], run_id, keys, start, below)
    while rows := await cursor.fetch(_FETCH_OBJECTS):
        for row in rows:
            text = shown_bytes(row["value"])
            held += len(text) + 100
            found.append(ObjectValue(row["key"], row["writer"], row["step"], microseconds(row["time"]), text))
        if held > database.limits.page_bytes:
            raise TooMuch
        if len(rows) < _FETCH_OBJECTS:
            break
    return found


def microseconds(time: datetime) -> int:
    """A timestamptz as exact microseconds since the Unix epoch."""
    return (time - _EPOCH) // _MICROSECOND
