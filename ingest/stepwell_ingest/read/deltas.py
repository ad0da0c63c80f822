"""Makes the next event of a live view: what has happened in a run since a cursor, from one state of the database.

Stands between the listeners (`live`) and Postgres. Receives a run, keys and a cursor; returns an `Event` with the
cursor after it. Points are followed by step, objects by the frames that brought them: media arrive as notes, which may
be later than the points of their step, and are shown once their files are stored (`read.waiting`). Promises that a
reader who applies all events has what the views showed at that moment, each value once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import asyncpg
import numpy as np

from stepwell_ingest.read.arrays import Series, TooMuch, fetch
from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.positions import (
    Inherited,
    LivePosition,
    Move,
    ShownEpoch,
    as_json,
    current,
    intervals,
    moves,
    unread,
)
from stepwell_ingest.read.rows import ObjectValue, Page, assemble
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.shown import shown_bytes
from stepwell_ingest.read.waiting import Place, Range, inside, still_waiting

#: Bytes that Postgres sends for a point, with its time.
_POINT_BYTES = 36
_OBJECT_COLUMNS = ("writer", "epoch", "seq", "number", "key", "step", "time_us", "needs_files", "missing")
_ALL_SEQS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a live view.

    Attributes:
        kind: "start" (the current state of the run, without points), "delta", or "reset": read the history again, then
            continue from `cursor`, because the changes since the listener's cursor are too many, or unknown. "quiet":
            there is nothing to report, but the cursor has moved. "deleted": the run was deleted; this is the last
            event.
        cursor: the cursor of a reader who has applied the event.
        about: the fields of the event besides its points.
        page: the new points and objects.
        awaits: files, by SHA-256 in hexadecimal digits: when one of them arrives, look again.
    """

    kind: str
    cursor: LivePosition
    about: dict[str, Any]
    page: Page | None = None
    awaits: frozenset[str] = frozenset()


class _Frames(NamedTuple):
    """Frames of one epoch, and the lowest step of the objects that are wanted from them."""

    row: ShownEpoch
    from_seq: int
    to_seq: int = _ALL_SEQS
    from_step: int = 0


class _Found(NamedTuple):
    """An object with files, or of a requested key. `missing`: a file that is not stored yet."""

    place: Place
    needs_files: bool
    missing: str | None
    value: ObjectValue | None


async def event_since(database: Database, run: RunRow, keys: tuple[str, ...], seen: LivePosition | None) -> Event:
    """The event for a listener.

    Args:
        keys: the keys whose values the event contains; empty: none.
        seen: the listener's position; None: it has none yet.
    """
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["positions"], run.run_id)
        if not rows:
            return Event("deleted", seen or LivePosition("deleted", {}), {})
        epochs = [ShownEpoch(*(row[name] for name in ShownEpoch._fields)) for row in rows if row["writer"] is not None]
        inherited = [Inherited(*row) for row in await connection.fetch(database.sql["inherited"], run.run_id)]
        return await _Delta(database, connection, run.run_id, keys, epochs, inherited, rows[0]["state"]).since(seen)


class _Delta:
    """One look at a run, in one transaction."""

    def __init__(
        self,
        database: Database,
        connection: asyncpg.Connection,
        run_id: int,
        keys: tuple[str, ...],
        epochs: list[ShownEpoch],
        inherited: list[Inherited],
        state: str,
    ) -> None:
        self._database = database
        self._connection = connection
        self._run_id = run_id
        self._keys = list(keys)
        self._epochs = epochs
        self._inherited = inherited
        self._now = current(state, epochs, None, inherited)  # `since` adds the steps of objects

    async def since(self, seen: LivePosition | None) -> Event:
        fresh = None if seen is None else unread(seen, self._epochs)
        frames = [
            _Frames(row, first) for row, first in ([(row, 0) for row in self._epochs] if fresh is None else fresh)
        ]
        tops = await self._last_objects(frames)
        for writer, position in (seen.writers if seen is not None else {}).items():
            tops[writer] = max(tops.get(writer, -1), position.last_object)
        self._now = current(self._now.state, self._epochs, tops, self._inherited)
        if seen is None:
            last = {writer: position.last_step for writer, position in self._now.writers.items()}
            return await self._begin("start", {"writers": last})
        if seen.waiting is None or seen.inherited is None:
            return await self._begin("reset", {"reason": "the cursor comes from an older version of the server"})
        found = moves(seen, self._epochs, self._now)
        if found is None or fresh is None:
            return await self._begin("reset", {"reason": "the cursor does not belong to this history"})
        try:
            return await self._delta(seen, found, frames)
        except TooMuch:
            limit = self._database.limits.live_points
            return await self._begin("reset", {"reason": f"more than {limit} points are new"})

    async def _begin(self, kind: str, about: dict[str, Any]) -> Event:
        """An event for a reader who reads the history after it; of the objects until now, only those that wait for
        files will be reported later."""
        frames = [_Frames(row, 0) for row in self._epochs]
        found = await self._objects(frames, [], self._database.limits.page_bytes)
        return self._event(kind, about, *self._waiting(_ranges(frames, None), found))

    async def _delta(self, seen: LivePosition, found: list[Move], fresh: list[_Frames]) -> Event:
        room = self._database.limits.live_points * _POINT_BYTES
        ranges = _ranges(fresh, seen)
        cuts = {move.writer: move.cut for move in found if move.cut is not None}
        told = await self._objects(self._frames(ranges, cuts), self._keys, room)
        waiting, awaits, forgotten = self._waiting(ranges, told)
        counted = await self._said(fresh)
        new = _new_objects(told, ranges, fresh, cuts) if self._keys else []
        nothing = not (found or new or counted or forgotten) and self._now.state == seen.state
        about: dict[str, Any] = as_json(found)
        if counted:
            about["said"] = counted
        page = None
        if self._keys and not nothing:
            page = await self._page(found, new, room - sum(len(item.text) for item in new))
        return self._event("quiet" if nothing else "delta", about, waiting, awaits, forgotten, page)

    def _event(
        self,
        kind: str,
        about: dict[str, Any],
        waiting: dict[str, list[Range]],
        awaits: frozenset[str],
        forgotten: int,
        page: Page | None = None,
    ) -> Event:
        about = {"state": self._now.state, **about}
        if awaits:
            about["waiting"] = len(awaits)
        if forgotten:
            about["forgotten"] = forgotten
        return Event(kind, replace(self._now, waiting=waiting), about, page, awaits)

    def _frames(self, ranges: dict[str, list[Range]], cuts: dict[str, int]) -> list[_Frames]:
        """The frames to search: those of the ranges, and for writers with a cut, all frames for objects from its step
        on."""
        rows = {(row.writer, row.epoch): row for row in self._epochs}
        listed = [
            _Frames(row, item.start.seq, item.end.seq - (item.end.number == 0))
            for writer, some in ranges.items()
            for item in some
            if (row := rows.get((writer, item.start.epoch))) is not None
        ]
        return listed + [_Frames(row, 0, from_step=cuts[row.writer]) for row in self._epochs if row.writer in cuts]

    async def _objects(self, frames: list[_Frames], keys: list[str], room: int) -> dict[str, list[_Found]]:
        """The objects of these frames by writer, in the order of their places, each once.

        Raises:
            TooMuch: their values exceed `room` bytes.
        """
        found = defaultdict[str, dict[Place, _Found]](dict)
        arguments = ([item.row.writer_id for item in frames], [item.row.epoch for item in frames])
        seqs = ([item.from_seq for item in frames], [item.to_seq for item in frames])
        steps = [item.from_step for item in frames]
        query, wanted = self._database.sql["objects_of_frames"], self._database.limits.page_bytes
        given = (self._run_id, *arguments, *seqs, steps, keys)
        rows, more = await fetch_bounded(self._connection, query, _OBJECT_COLUMNS, *given, room=wanted, row_bytes=0)
        for row, stored in rows:
            place = Place(row["epoch"], row["seq"], row["number"])
            value = None
            if stored is not None:
                text = shown_bytes(stored)
                value = ObjectValue(row["key"], row["writer"], row["step"], row["time_us"], text)
                room -= len(text)
            found[row["writer"]][place] = _Found(place, row["needs_files"], row["missing"], value)
        if room < 0 or more:
            raise TooMuch
        return {writer: sorted(some.values(), key=lambda item: item.place) for writer, some in found.items()}

    def _waiting(
        self, ranges: dict[str, list[Range]], found: dict[str, list[_Found]]
    ) -> tuple[dict[str, list[Range]], frozenset[str], int]:
        """The objects that wait for files, a missing file of each, and the number of ranges that do not fit into a
        cursor."""
        waiting: dict[str, list[Range]] = {}
        awaits: set[str] = set()
        for writer, some in ranges.items():
            files = [item for item in found.get(writer, []) if item.needs_files]
            left = still_waiting(some, [(item.place, item.missing is None) for item in files])
            if left:
                waiting[writer] = left
                awaits |= {item.missing for item in files if item.missing is not None and inside(left, item.place)}
        limit = max(1, self._database.limits.live_waiting // max(1, len(waiting)))
        forgotten = sum(max(0, len(left) - limit) for left in waiting.values())
        return {writer: left[-limit:] for writer, left in waiting.items()}, frozenset(awaits), forgotten

    async def _last_objects(self, frames: list[_Frames]) -> dict[str, int]:
        """The highest step of the objects that arrived as notes in these frames, by writer."""
        arguments = ([item.row.writer_id for item in frames], [item.row.epoch for item in frames])
        seqs = ([item.from_seq for item in frames], [item.to_seq for item in frames])
        if not frames:
            return {}
        query = self._database.sql["last_objects"]
        rows = await self._connection.fetch(query, self._run_id, *arguments, *seqs)
        names = {item.row.writer_id: item.row.writer for item in frames}
        return {names[row["writer_id"]]: row["step"] for row in rows}

    async def _said(self, fresh: list[_Frames]) -> dict[str, int]:
        """The number of new notes of each kind."""
        if not fresh:
            return {}
        arguments = ([item.row.writer_id for item in fresh], [item.row.epoch for item in fresh])
        seqs = ([item.from_seq for item in fresh], [item.to_seq for item in fresh])
        rows = await self._connection.fetch(self._database.sql["note_counts"], self._run_id, *arguments, *seqs)
        return {row["kind"]: row["count"] for row in rows}

    async def _page(self, found: list[Move], objects: list[ObjectValue], room: int) -> Page:
        """The new points of the keys, and these objects.

        Raises:
            TooMuch: there are more values than an event may have.
        """
        new = {move.writer: move for move in found}
        series: list[Series] = []
        sql = self._database.sql
        for start, end in intervals(found):
            some = await fetch(self._connection, sql, self._run_id, self._keys, start, end, room, with_times=True)
            room -= sum(len(item.steps) for item in some) * _POINT_BYTES
            if room < 0:
                raise TooMuch
            series += [kept for item in some if len((kept := _only_new(item, new.get(item.writer))).steps)]
        return assemble(series, objects, 0, with_times=True)


def _ranges(fresh: Iterable[_Frames], seen: LivePosition | None) -> dict[str, list[Range]]:
    """The waiting objects and the new frames of each writer."""
    ranges = defaultdict[str, list[Range]](list)
    if seen is not None:
        for writer, some in (seen.waiting or {}).items():
            ranges[writer] += some
    for row, from_seq, *_ in fresh:
        ranges[row.writer].append(Range(Place(row.epoch, max(0, from_seq), 0), Place(row.epoch, row.next_seq, 0)))
    return dict(ranges)


def _new_objects(
    found: dict[str, list[_Found]], ranges: dict[str, list[Range]], fresh: Sequence[_Frames], cuts: dict[str, int]
) -> list[ObjectValue]:
    """The values of the event: all shown values of new frames, values that no longer wait, and all shown values from a
    cut on, because the reader drops those that it has there.
    """
    first = {(frames.row.writer, frames.row.epoch): frames.from_seq for frames in fresh}
    new = []
    for writer, some in found.items():
        cut = cuts.get(writer)
        for place, needs_files, _, value in some:
            if value is not None and (
                place.seq >= first.get((writer, place.epoch), _ALL_SEQS)
                or (needs_files and inside(ranges.get(writer, []), place))
                or (cut is not None and value.step >= cut)
            ):
                new.append(value)
    return new


def _only_new(series: Series, move: Move | None) -> Series:
    """The new points, without those of other writers in the same range of steps."""
    new = np.zeros(len(series.steps), np.bool_)
    for first, last in () if move is None else move.ranges:
        new |= (series.steps >= first) & (series.steps <= last)
    times = None if series.times is None else series.times[new]
    return Series(series.metric, series.writer, series.steps[new], series.values[new], times)
