"""What happens in a run while somebody watches: deltas since a cursor, for any number of listeners.

In come runs that are watched; out go events. One poller a worker asks Postgres twice a second which of them have moved,
with one query for all of them. A listener has no queue, only a cursor: when its run has moved and its client has taken
the last event, it gets everything since its cursor in one event, read in one transaction together with the positions,
so a cut and what took its place come together. Listeners that stand at the same cursor share one read. A client that is
so far behind that an event would be too large is told to start over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepwell.errors import Error, OverloadedError
from stepwell_ingest.read.arrays import Series, TooMuch, fetch
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.history import fetch_objects
from stepwell_ingest.read.positions import Cursor, Epoch, Move, as_json, current, intervals, moves
from stepwell_ingest.read.rows import ObjectValue, Page, assemble
from stepwell_ingest.read.runs import RunRow

log = logging.getLogger(__name__)

#: Bytes that Postgres sends for a point, with its time.
_POINT_BYTES = 36


@dataclass(frozen=True, slots=True)
class Event:
    """One thing to tell.

    Attributes:
        kind: "start" (where the run stands; no points), "delta", or "reset": read the history anew, then go on from
            `cursor`, because what happened since the listener's own is too much, or is not known.
        cursor: where a reader stands who has taken it.
        about: what it says beside the points.
        page: the new points.
    """

    kind: str
    cursor: Cursor
    about: dict[str, Any]
    page: Page | None = None


class Live:
    """The listeners of a worker, and the poller that wakes them.

    Args:
        database: to read from.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listeners: dict[int, set[asyncio.Event]] = {}
        self._marks: dict[int, str] = {}
        self._shared: dict[int, dict[Any, asyncio.Task[Event | None]]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many there are."""
        return sum(map(len, self._listeners.values()))

    def close(self) -> None:
        """Ends every listener."""
        self._closed = True
        for events in self._listeners.values():
            for event in events:
                event.set()

    async def stop(self) -> None:
        """Ends the poller and the reads that are under way; call `close` first."""
        tasks = [task for shared in self._shared.values() for task in shared.values()]
        if self._poller is not None:
            tasks.append(self._poller)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(
        self, run: RunRow, keys: tuple[str, ...], cursor: str | None
    ) -> AsyncGenerator[Event | None, None]:
        """Events of a run until the server stops; None where there is nothing to tell for a while.

        Args:
            keys: whose points events have; empty: none.
            cursor: of the last event that the client has taken; None: it has none.

        Raises:
            UsageError: the cursor is none.
            OverloadedError: there are as many listeners as the worker takes.
        """
        seen = None if cursor is None else Cursor.decode(cursor)
        limits = self._database.limits
        if self.listeners >= limits.listeners:
            raise OverloadedError(
                "the server has as many live views as it takes", retry_after_s=5.0, detail=f"{limits.listeners}"
            )
        moved = asyncio.Event()
        moved.set()  # the first look needs no reason
        self._listeners.setdefault(run.run_id, set()).add(moved)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        first = True
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.live_keep_alive_s):
                        await moved.wait()
                if self._closed:
                    return
                if not moved.is_set():
                    yield None
                    continue
                moved.clear()
                event = await self._since(run, keys, seen)
                if event is not None:
                    seen = event.cursor
                if event is not None or first:  # so that the client hears at once that it is connected
                    yield event
                first = False
        finally:
            self._listeners[run.run_id].discard(moved)
            if not self._listeners[run.run_id]:
                del self._listeners[run.run_id]
                self._marks.pop(run.run_id, None)
                self._shared.pop(run.run_id, None)

    async def _poll(self) -> None:
        while self._listeners:
            await asyncio.sleep(self._database.limits.live_poll_s)
            try:
                async with self._database.snapshot() as connection:
                    rows = await connection.fetch(self._database.sql["marks"], list(self._listeners))
            except Error as error:
                log.warning("live views wait: %s", error)  # cursors stay, so nothing is missed
                continue
            for row in rows:
                run_id, mark = row["run_id"], row["mark"]
                if self._marks.get(run_id) != mark and run_id in self._listeners:
                    self._marks[run_id] = mark
                    # First: a listener that is woken must not share what was read before.
                    self._shared.pop(run_id, None)
                    for event in self._listeners[run_id]:
                        event.set()

    async def _since(self, run: RunRow, keys: tuple[str, ...], seen: Cursor | None) -> Event | None:
        shared = self._shared.setdefault(run.run_id, {})
        key = (keys, None if seen is None else seen.encode())
        if key not in shared:
            # Listeners are woken together, so sharing what is under way is enough, and nothing is kept.
            task = shared[key] = asyncio.create_task(self._read(run, keys, seen))
            task.add_done_callback(lambda done: _forget(shared, key, done))
        # A listener that goes away must not take the read from the others.
        return await asyncio.shield(shared[key])

    async def _read(self, run: RunRow, keys: tuple[str, ...], seen: Cursor | None) -> Event | None:
        async with self._database.snapshot() as connection:
            rows = await connection.fetch(self._database.sql["positions"], run.run_id)
            if not rows:
                return None  # the run was deleted meanwhile
            epochs = [Epoch(*(row[name] for name in Epoch._fields)) for row in rows if row["writer"] is not None]
            now = current(rows[0]["state"], epochs)
            about: dict[str, Any] = {"state": now.state}
            if seen is None:
                last = {writer: position.last_step for writer, position in now.writers.items()}
                return Event("start", now, {**about, "writers": last})
            found = moves(seen, epochs, now)
            if found is None:
                return Event("reset", now, {**about, "reason": "the cursor does not belong to this history"})
            if not found and now.state == seen.state:
                return None
            about |= as_json(found)
            if not keys:
                return Event("delta", now, about)
            try:
                page = await self._new_points(connection, run, keys, found)
            except TooMuch:
                limit = self._database.limits.live_points
                return Event("reset", now, {**about, "reason": f"more than {limit} points are new"})
            return Event("delta", now, about, page)

    async def _new_points(self, connection: Any, run: RunRow, keys: tuple[str, ...], found: list[Move]) -> Page:
        """The new points of these keys.

        Raises:
            TooMuch: there are more than an event may have.
        """
        room = self._database.limits.live_points * _POINT_BYTES
        new = {move.writer: move for move in found}
        series: list[Series] = []
        objects: list[ObjectValue] = []
        for start, end in intervals(found):
            names = list(keys)
            some = await fetch(connection, self._database.sql, run.run_id, names, start, end, room, with_times=True)
            texts = await fetch_objects(self._database, connection, run.run_id, names, start, end)
            room -= sum(len(item.steps) for item in some) * _POINT_BYTES + sum(len(item.text) for item in texts)
            if room < 0:
                raise TooMuch
            series += [kept for item in some if len((kept := _only_new(item, new.get(item.writer))).steps)]
            objects += [
                item
                for item in texts
                if (move := new.get(item.writer)) is not None and move.from_step <= item.step <= move.to_step
            ]
        return assemble(series, objects, 0, with_times=True)


def _forget(shared: dict[Any, asyncio.Task[Event | None]], key: Any, done: asyncio.Task[Event | None]) -> None:
    del shared[key]
    if not done.cancelled():
        done.exception()  # seen, also when every listener has gone


def _only_new(series: Series, move: Move | None) -> Series:
    """The points that are new; those of other writers lie in the same range of steps."""
    first, last = (0, -1) if move is None else (move.from_step, move.to_step)
    start, end = np.searchsorted(series.steps, [first, last + 1]).tolist()
    times = None if series.times is None else series.times[start:end]
    return Series(series.metric, series.writer, series.steps[start:end], series.values[start:end], times)
