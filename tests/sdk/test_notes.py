"""Notes in stage, framer and sender: in order, in separate frames after the data, counted separately."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.stages import SESSION, new_stage
from stepwell import wire
from stepwell.delivery.outbox import Outbox
from stepwell.errors import DataError, SpoolFullError
from stepwell.stage import framer as _framer
from stepwell.stage.stage import Stage

BODIES = st.binary(max_size=60)


def cut(stage: Stage, target_bytes: int = 1 << 20) -> list[wire.Frame]:
    taken = stage.cut()
    assert taken is not None
    return [wire.decode(raw) for raw in _framer.frames(taken, SESSION, 5, target_bytes)]


def test_note_has_the_open_step() -> None:
    stage = new_stage()
    stage.note("meta", b"0")
    stage.log({"a": 1.0})
    stage.note("meta", b"1")
    stage.log({"a": 1.0}, step=9)
    stage.note("summary", b"2")
    _, notes = cut(stage)
    assert notes.header.kind == wire.KIND_NOTES
    assert [(item.step, item.key, item.body) for item in notes.objects] == [
        (0, "meta", b"0"),
        (1, "meta", b"1"),
        (9, "summary", b"2"),
    ]


def test_notes_are_cut_without_closing_the_step() -> None:
    stage = new_stage()
    stage.log({"a": 1.0}, commit=False)
    stage.note("meta", b"{}")
    (frame,) = cut(stage)
    assert (frame.header.kind, frame.header.seq, stage.step) == (wire.KIND_NOTES, 5, 0)
    assert stage.cut() is None
    stage.log({"b": 2.0})
    assert cut(stage)[0].header.points == 2


@given(bodies=st.lists(BODIES, max_size=12), rows=st.integers(0, 5), target=st.sampled_from([1, 60, 200, 1 << 20]))
def test_notes_follow_the_data_in_order(bodies: list[bytes], rows: int, target: int) -> None:
    stage = new_stage()
    for number in range(rows):
        stage.log({"a": float(number), "b": "text"})
    for body in bodies:
        stage.note("x", body)
    if not rows and not bodies:
        assert stage.cut() is None
        return
    frames = cut(stage, target)
    kinds = [frame.header.kind for frame in frames]
    assert kinds == sorted(kinds)
    assert [frame.header.seq for frame in frames] == list(range(5, 5 + len(frames)))
    groups = [frame.objects for frame in frames if frame.header.kind == wire.KIND_NOTES]
    assert [item.body for group in groups for item in group] == bodies
    assert all(len(group) == 1 or sum(25 + len(item.body) for item in group) <= target for group in groups)


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_note_times_ignore_clock_jumps(monkeypatch: pytest.MonkeyPatch, step_s: float) -> None:
    """Otherwise, a clock jump into the future would make the notes of this process the newest forever."""
    one, other = new_stage(), new_stage()
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: now() + step_s)
        one.note("x", b"1")
    one.note("x", b"2")
    other.note("x", b"3")
    times = [item.time / 1e6 for stage in (one, other) for item in cut(stage)[0].objects]
    assert times == sorted(times)
    assert all(abs(each - now()) < 600 for each in times)


def test_oversized_note_is_refused() -> None:
    with pytest.raises(DataError, match="the value is too large"):
        new_stage().note("config", b"x" * (wire.MAX_ROW_BYTES + 1))


def test_notes_wait_for_room_or_are_dropped() -> None:
    stage = Stage(100, lambda: False)
    for _ in range(5):
        stage.note("x", b"y" * 49)
    assert (len(cut(stage)[0].objects), stage.room.dropped_notes, stage.room.dropped) == (2, 3, 3)


def test_notes_are_refused_when_the_spool_must_raise() -> None:
    def full() -> bool:
        raise SpoolFullError("full")

    stage = Stage(10, full)
    stage.note("x", b"y" * 20)
    with pytest.raises(SpoolFullError):
        stage.note("x", b"z")
    assert len(cut(stage)[0].objects) == 1


def test_lost_notes_are_not_lost_values() -> None:
    outbox = Outbox(None, SESSION, memory_bytes=10)
    outbox.append(wire.encode_notes(SESSION, 0, [wire.Object(0, 0, "x", b"1")] * 3))
    assert (outbox.counts.dropped, outbox.counts.notes_dropped) == (0, 3)
    header = wire.peek(outbox.read(0, 1000, 1)[0])
    assert (header.kind, header.dropped) == (wire.KIND_TOMBSTONE, 0)
