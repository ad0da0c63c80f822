"""The rows of a run, page by page: chooses how many steps a page covers, and where the next page begins.

Receives a run and a range of steps; yields pages in the order of steps, each from one state of the database. No
connection is held between pages, so a slow client costs only the memory of its page; when rows are hidden in between,
the read ends with an error (`standing`). A page has about `page_points` points. The width of the next range follows
from the density of the last one, since steps may be a thousand apart, or have ten thousand metrics each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from stepwell.errors import UsageError
from stepwell.wire import MAX_STEP
from stepwell_ingest.read.arrays import TooMuch, fetch
from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.database import Database, Held
from stepwell_ingest.read.rows import ObjectValue, Page, assemble, size_of
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


class Window:
    """The pages of one read that have been read but not sent yet, and the room that they hold.

    Args:
        database: grants the room.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: deque[Held] = deque()

    async def open(self) -> None:
        """Takes room for one more page.

        Raises:
            OverloadedError: see `Database.room`.
        """
        self._held.append(await self._database.reserve(self._database.limits.page_bytes))

    def settle(self, size: int) -> None:
        """Records that the newest page holds `size` bytes; 0: there is no page to send."""
        self._held[-1].resize(size)
        if not size:
            self._held.pop()

    def sent(self) -> None:
        """Records that the oldest page has been sent."""
        self._held.popleft().resize(0)

    def close(self) -> None:
        """Gives all room back."""
        while self._held:
            self.sent()


async def read_pages(
    database: Database, run: RunRow, wanted: Wanted, about_rows: int | None = None, window: Window | None = None
) -> AsyncGenerator[Page, None]:
    """Yields pages with all wanted rows; empty pages are left out.

    Args:
        wanted: which rows to read.
        about_rows: about how many rows the caller will take, so that the first page need not be larger; None: all.
        window: the object with which the caller records which pages have been sent; None: a page counts as sent when
            the next one is requested.

    Raises:
        UsageError: one step holds more than a page may.
        NotFoundError, RewoundError, OverloadedError, UnavailableError: see `Standing.snapshot` and `Database.room`.
    """
    standing, pages = Standing(database, run.run_id), window or Window(database)
    end, start = wanted.end_of_points(run), wanted.min_step
    target = database.limits.page_points
    width = max(1, end - start)
    if run.points > target:
        width = max(1, run.end_step * target // run.points)
    if about_rows is not None:
        width = min(width, max(1, about_rows))
    try:
        while start < wanted.end(run):
            below = min(start + width, end) if start < end else wanted.limit
            await pages.open()
            try:
                async with standing.snapshot(start) as connection:
                    page = await read_page(database, connection, run, wanted, start, below)
            except TooMuch:
                pages.settle(0)
                if start >= end:  # many points have arrived since the read began
                    end = start + 1
                    continue
                if width == 1:
                    raise UsageError(
                        f"step {start} alone exceeds the limit of a page",
                        detail=f"{database.limits.page_bytes} bytes",
                        hint="name the keys to read",
                    ) from None
                width = max(1, min(width, below - start) // 8)
                continue
            pages.settle(size_of(page) if len(page.steps) else 0)
            if len(page.steps):
                yield page
                if window is None:
                    pages.sent()
            points = sum(len(column.values) for column in page.columns)
            width = max(1, width * target // max(points, target // _GROWTH, 1))
            start = below
    finally:
        if window is None:
            pages.close()


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
    query, columns = database.sql["objects"], ("key", "writer", "step", "time")
    found = await fetch_bounded(connection, query, columns, run_id, keys, start, below, room=database.limits.page_bytes)
    if found.more:
        raise TooMuch
    return [
        ObjectValue(row["key"], row["writer"], row["step"], microseconds(row["time"]), shown_bytes(value or "null"))
        for row, value in found.rows
    ]


def microseconds(time: datetime) -> int:
    """A timestamptz as exact microseconds since the Unix epoch."""
    return (time - _EPOCH) // _MICROSECOND
