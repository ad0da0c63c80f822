"""Live views: sends the changes of watched runs since a cursor to any number of listeners.

Receives watched runs; yields events, which `deltas` makes. One poller for each worker asks Postgres twice a second,
for all listeners, which runs have changed and which awaited files have arrived. A listener has no queue, only a
cursor: when its run has changed and its client has taken the last event, it gets everything since its cursor in one
event. Listeners at the same cursor share one read. A client that is so far behind that an event would be too large is
told to start over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import Error, OverloadedError
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.deltas import Event, event_since
from stepwell_ingest.read.positions import LivePosition
from stepwell_ingest.read.runs import RunRow

log = logging.getLogger(__name__)

#: The most files for which one poll asks whether they are stored.
_FILES_A_LOOK = 5000


@dataclass(slots=True, eq=False)
class _Listener:
    """A client that watches a run.

    Attributes:
        moved: set when there may be something to report.
        awaits: the missing files of objects that the listener's cursor has passed.
    """

    moved: asyncio.Event = field(default_factory=asyncio.Event)
    awaits: frozenset[str] = frozenset()


class Live:
    """The listeners of a worker, and the poller that wakes them.

    Args:
        database: the database to read from.
        start: starts the poller as a task, under a name for messages.
    """

    def __init__(
        self, database: Database, start: Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]
    ) -> None:
        self._database = database
        self._start = start
        self._listeners: dict[int, set[_Listener]] = {}
        self._marks: dict[int, str | None] = {}
        self._shared: dict[int, dict[Any, asyncio.Task[Event]]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._turn = 0
        self._closed = False

    @property
    def listeners(self) -> int:
        """The number of listeners."""
        return sum(map(len, self._listeners.values()))

    def close(self) -> None:
        """Ends all listeners."""
        self._closed = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.moved.set()

    async def stop(self) -> None:
        """Ends the poller and the reads in progress; call `close` first."""
        tasks: list[asyncio.Task[Any]] = [task for shared in self._shared.values() for task in shared.values()]
        if self._poller is not None:
            tasks.append(self._poller)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def follow(
        self, run: RunRow, keys: tuple[str, ...], cursor: str | None
    ) -> AsyncGenerator[Event | None, None]:
        """Yields the events of a run until it is deleted or the server stops, and None when nothing happens for a
        while.

        Args:
            keys: the keys whose values the events include; empty: none.
            cursor: the cursor of the last event that the client has taken; None: it has none.

        Raises:
            UsageError: the cursor is invalid.
            OverloadedError: the worker has reached its limit of live views.
        """
        seen = None if cursor is None else LivePosition.decode(cursor)
        limits = self._database.limits
        if self.listeners >= limits.listeners:
            raise OverloadedError("live view limit reached", retry_after_s=5.0, detail=f"{limits.listeners} live views")
        listener = _Listener()
        listener.moved.set()  # the first read does not wait for a change
        self._listeners.setdefault(run.run_id, set()).add(listener)
        if self._poller is None or self._poller.done():
            self._poller = self._start("live views", self._poll())
        first = True
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limits.live_keep_alive_s):
                        await listener.moved.wait()
                if self._closed:
                    return
                if not listener.moved.is_set():
                    yield None
                    continue
                listener.moved.clear()
                event = await self._since(run, keys, seen)
                seen, listener.awaits = event.cursor, event.awaits
                if event.kind != "quiet":
                    yield event
                elif first:  # so that the client hears at once that it is connected
                    yield None
                if event.kind == "deleted":
                    return
                first = False
        finally:
            self._listeners[run.run_id].discard(listener)
            if not self._listeners[run.run_id]:
                del self._listeners[run.run_id]
                self._marks.pop(run.run_id, None)
                self._shared.pop(run.run_id, None)

    async def _poll(self) -> None:
        while self._listeners:
            await asyncio.sleep(self._database.limits.live_poll_s)
            files = frozenset().union(*(item.awaits for some in self._listeners.values() for item in some))
            try:
                async with self._database.snapshot() as connection:
                    asked = list(self._listeners)
                    rows = await connection.fetch(self._database.sql["marks"], asked)
                    come = await self._come(connection, files)
            except Error as error:
                log.warning(
                    "live views cannot reach Postgres, and wait: %s", error
                )  # cursors stay, so nothing is missed
                continue
            marks = {row["run_id"]: row["mark"] for row in rows}
            for run_id in asked:
                mark = marks.get(run_id)  # None: it has been deleted
                if (mark is None or self._marks.get(run_id) != mark) and run_id in self._listeners:
                    self._marks[run_id] = mark
                    self._wake(run_id, self._listeners[run_id])
            for run_id, listeners in self._listeners.items():
                self._wake(run_id, [item for item in listeners if not come.isdisjoint(item.awaits)])

    async def _come(self, connection: Any, files: frozenset[str]) -> frozenset[str]:
        """The files among these that are stored."""
        if not files:
            return frozenset()
        # Files of processes that died may never arrive, so many awaited files are checked in turns.
        turns = -(-len(files) // _FILES_A_LOOK)
        self._turn += 1
        digests = [bytes.fromhex(sha256) for sha256 in sorted(files)[self._turn % turns :: turns]]
        return frozenset(row["sha256"] for row in await connection.fetch(self._database.sql["blobs_there"], digests))

    def _wake(self, run_id: int, listeners: Collection[_Listener]) -> None:
        if listeners:
            # First, since a woken listener must not share an earlier read.
            self._shared.pop(run_id, None)
        for listener in listeners:
            listener.moved.set()

    async def _since(self, run: RunRow, keys: tuple[str, ...], seen: LivePosition | None) -> Event:
        shared = self._shared.setdefault(run.run_id, {})
        key = (keys, None if seen is None else seen.encode())
        if key not in shared:
            # Listeners are woken together, so sharing reads in progress is enough, and nothing is cached.
            task = shared[key] = asyncio.create_task(self._read(run, keys, seen))
            task.add_done_callback(lambda done: _forget(shared, key, done))
        # A listener that goes away must not cancel the read of the others.
        return await asyncio.shield(shared[key])

    async def _read(self, run: RunRow, keys: tuple[str, ...], seen: LivePosition | None) -> Event:
        return await event_since(self._database, run, keys, seen)


def _forget(shared: dict[Any, asyncio.Task[Event]], key: Any, done: asyncio.Task[Event]) -> None:
    del shared[key]
    if not done.cancelled():
        done.exception()  # marked as retrieved, even when every listener has gone
