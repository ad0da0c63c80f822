"""A reader that applies cuts and moves has exactly the shown points after every event."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import UsageError
from stepwell_ingest.read.positions import (
    Inherited,
    LivePosition,
    Move,
    Position,
    ShownEpoch,
    current,
    intervals,
    moves,
    unread,
)
from stepwell_ingest.read.waiting import Place, Range

WRITERS = ("0", "1")
_NEVER = 2**63 - 1


@dataclass
class Row:
    """An epoch in the form of the write path."""

    number: int
    last_step: int = -1
    first_step: int | None = None
    below: int | None = None
    steps: list[int] = field(default_factory=list)

    def hide(self, step: int) -> None:
        self.below = step if self.below is None else min(self.below, step)


class History:
    """A model of attach, store and rewind on ledger and points (functions/140_attach.sql, queries/write.sql)."""

    def __init__(self, inherited: int | None = None) -> None:
        self.rows: dict[str, list[Row]] = {}
        #: For a fork: the step below which it shows the points of its parent's writers.
        self.inherited: dict[str, int] = {} if inherited is None else dict.fromkeys(WRITERS, inherited)
        #: The position of the ancestor.
        self.arrived = 4

    def attach(self, writer: str, rewind_to: int | None = None, others: bool = False) -> None:
        older = self.rows.setdefault(writer, [])
        if rewind_to is not None:
            # ended writers are rewound, too
            for row in [row for name, rows in self.rows.items() if others or name == writer for row in rows]:
                row.hide(rewind_to + 1)
            for name in self.inherited if others else {writer} & self.inherited.keys():
                self.inherited[name] = min(self.inherited[name], rewind_to + 1)
        older.append(Row(len(older) + 1, -1 if rewind_to is None else rewind_to))

    def store(self, writer: str, gap: int, count: int) -> None:
        if writer not in self.rows:
            self.attach(writer)
        *older, row = self.rows[writer]
        first = row.last_step + 1 + gap
        row.steps += range(first, first + count)
        row.last_step = row.steps[-1]
        if row.first_step is None:
            row.first_step = first
            for other in older:
                other.hide(first)
            if writer in self.inherited:
                self.inherited[writer] = min(self.inherited[writer], first)

    def epochs(self) -> list[ShownEpoch]:
        return [
            ShownEpoch(writer, row.number, row.first_step, row.last_step, row.below)
            for writer, rows in sorted(self.rows.items())
            for row in rows
        ]

    def bounds(self) -> list[Inherited]:
        """Two epochs of an ancestor for each writer: one that has ended at step 2, and the current one."""
        return [
            Inherited(writer, min(below, first), min(below, first, end))
            for writer, below in sorted(self.inherited.items())
            for first, end in ((3, 3), (_NEVER, self.arrived))
        ]

    def shown(self, writer: str) -> list[tuple[int, int]]:
        """The points that the views show, as (step, epoch)."""
        inherited = range(min(self.inherited[writer], self.arrived)) if writer in self.inherited else ()
        return [(step, 0) for step in inherited] + self.own(writer)

    def own(self, writer: str) -> list[tuple[int, int]]:
        """The shown points that the run has logged itself."""
        return sorted(
            (step, row.number)
            for row in self.rows.get(writer, [])
            for step in row.steps
            if row.below is None or step < row.below
        )


@dataclass
class Reader:
    """Applies events and keeps the shown points."""

    cursor: LivePosition = field(default_factory=lambda: LivePosition("running", {}))
    points: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def look(self, history: History) -> None:
        epochs = history.epochs()
        now = current("running", epochs, None, history.bounds())
        found = moves(self.cursor, epochs, now)
        assert found is not None
        for move in found:
            mine = self.points.setdefault(move.writer, [])
            if move.cut is not None:
                mine[:] = [point for point in mine if point[0] < move.cut]
            ranges = [range(first, last + 1) for first, last in move.ranges]
            new = [p for p in history.shown(move.writer) if any(p[0] in some for some in ranges)]
            assert not set(new) & set(mine)  # no point is repeated
            own = [p for p in new if p[1]]
            assert not mine or not own or own[0][0] > mine[-1][0]  # and none is before a shown one
            mine[:] = sorted(mine + new)
        self.cursor = LivePosition.decode(now.encode())


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), st.sampled_from(WRITERS), st.integers(0, 3), st.integers(1, 4)),
        st.tuples(st.just("attach"), st.sampled_from(WRITERS)),
        st.tuples(st.just("rewind"), st.sampled_from(WRITERS), st.integers(0, 12), st.booleans()),
        st.tuples(st.just("arrive"), st.integers(1, 5)),
        st.tuples(st.just("look"), st.sampled_from(("first", "second"))),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=500)
@given(OPERATIONS, st.none() | st.integers(1, 12))
def test_readers_match_the_shown_points(operations: list[tuple[object, ...]], inherited: int | None) -> None:
    history, readers = History(inherited), {"first": Reader(), "second": Reader()}
    for reader in readers.values():  # readers of a fork have read the history
        reader.points = {writer: history.shown(writer) for writer in WRITERS}
        reader.cursor = current("running", [], None, history.bounds())
    for operation in [*operations, ("look", "first"), ("look", "second")]:
        match operation:
            case ("store", str(writer), int(gap), int(count)):
                history.store(writer, gap, count)
            case ("arrive", int(count)):
                history.arrived += count
            case ("attach", str(writer)):
                history.attach(writer)
            case ("rewind", str(writer), int(step), bool(others)) if (
                history.shown(writer) and history.shown(writer)[-1][0] >= step
            ):
                history.attach(writer, step, others)
            case ("look", str(name)):
                reader = readers[name]
                reader.look(history)
                for writer in WRITERS:
                    assert reader.points.get(writer, []) == history.shown(writer)


def test_cursor_of_another_history_is_detected() -> None:
    epochs = [ShownEpoch("0", 1, 0, 10, None)]
    now = current("running", epochs)
    assert moves(LivePosition("running", {"0": Position(1, 11)}), epochs, now) is None  # more than there are
    assert moves(LivePosition("running", {"0": Position(2, 5)}), epochs, now) is None
    assert moves(LivePosition("running", {"9": Position(1, 5)}), epochs, now) is None
    assert moves(now, epochs, now) == []


def test_hidden_object_above_the_last_step_is_one_cut() -> None:
    """The reader has an object at step 9 and no step above 5; epoch 2 begins at step 7, and a rewind to 3 follows."""
    seen = current("running", [ShownEpoch("0", 1, 0, 5, None, 10)], {"0": 9})
    epochs = [ShownEpoch("0", 1, 0, 5, 7, 10), ShownEpoch("0", 2, 7, 7, None, 1)]
    now = current("running", epochs, {"0": 9})
    assert moves(seen, epochs, now) == [Move("0", 7, 6, 7)]
    assert moves(LivePosition.decode(now.encode()), epochs, now) == []
    epochs = [ShownEpoch("0", 1, 0, 5, 4, 10), ShownEpoch("0", 2, 7, 7, 4, 1), ShownEpoch("0", 3, None, 3, None, 0)]
    assert moves(now, epochs, current("running", epochs, {"0": 9})) == [Move("0", 4, 4, 3)]


def test_unseen_frames_are_those_after_the_cursor() -> None:
    old, new = ShownEpoch("0", 1, 0, 5, None, 10), ShownEpoch("0", 2, None, -1, None, 3)
    seen = current("running", [old])
    assert unread(seen, [old]) == []
    assert unread(seen, [old._replace(next_seq=12), new]) == [(old._replace(next_seq=12), 10), (new, -1)]
    assert unread(LivePosition("running", {}), [old]) == [(old, -1)]
    assert unread(seen, [old._replace(next_seq=9)]) is None  # an older history, as after a restore of a backup


def test_adjacent_ranges_are_joined() -> None:
    found = [Move("0", None, 5, 9), Move("1", None, 0, 4), Move("2", None, 20, 30), Move("3", 3, 3, 2)]
    assert intervals(found) == [(0, 10), (20, 31)]


def test_cursor_of_ten_thousand_writers_fits_a_header() -> None:
    """All of the objects wait for a file."""
    names = [str(rank) for rank in range(10_000)]
    writers = {
        name: Position(3, 10**6 + int(name) * 7919 % 5000, 3, 50_000 + int(name) * 31 % 999, 10**6 + 5000, (-1,))
        for name in names
    }
    waiting = {name: [Range(Place(3, 49_000, 0), Place(3, writers[name].next_seq, 0))] for name in names}
    cursor = LivePosition("running", writers, waiting)
    assert LivePosition.decode(cursor.encode()) == cursor
    assert len(cursor.encode()) < 256 * 1024


@pytest.mark.parametrize("text", ["", "x", "e30=", "eJwDAAAAAAE=", "ü", "eJyLVgIAAZUAuQ=="])
def test_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="invalid live-view cursor"):
        LivePosition.decode(text)
