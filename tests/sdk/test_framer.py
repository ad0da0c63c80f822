"""Every row and object of a cut is in exactly one frame, and the steps of a frame are above those before it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.stages import Frames, new_stage
from stepwell import wire
from stepwell.stage import framer as _framer
from stepwell.stage.stage import Stage

SESSION = bytes(range(16))
ROWS = st.sampled_from(
    [
        {"a": 1.0, "b": 2.0},
        {"a": 3.0},
        {},
        {"text": "x" * 50},
        {"a": 1.0, "text": None},
        {"list": [1, 2], "other": "y" * 200},
        {f"k{number}": 0.5 for number in range(30)},
    ]
)


def cut(stage: Stage, target_bytes: int, first_seq: int = 0) -> list[bytes]:
    taken = stage.cut()
    assert taken is not None
    return list(_framer.frames(taken, SESSION, first_seq, target_bytes))


@settings(deadline=None, max_examples=100)
@given(
    cuts=st.lists(st.lists(st.tuples(ROWS, st.integers(1, 1000)), max_size=20), max_size=3),
    target_bytes=st.sampled_from([1, 100, 300, 1000, 1 << 20]),
)
def test_every_row_is_in_one_frame_in_step_order(
    cuts: list[list[tuple[dict[str, Any], int]]], target_bytes: int
) -> None:
    stage = new_stage()
    frames = Frames(stage, target_bytes)
    step, expected = -1, {}
    for rows in cuts:
        for data, ahead in rows:
            step += ahead
            stage.log(data, step=step, commit=True)
            expected[step] = set(data)
        frames.collect()

    assert expected == {step: {*row.points, *row.objects} for step, row in frames.steps.items()}
    assert all(low[1] < high[0] for low, high in itertools.pairwise(frames.ranges))


def test_large_frames_are_halved() -> None:
    stage = new_stage()
    for number in range(1000):
        stage.log({"a": number, "b": -number})
    frames = cut(stage, target_bytes=4100, first_seq=7)
    assert list(range(7, 15)) == [wire.peek(frame).seq for frame in frames]
    assert [len(wire.decode(frame).blocks[0].steps) for frame in frames] == [125] * 8
    assert max(map(len, frames)) < 4200


def test_oversized_step_is_a_frame_alone() -> None:
    stage = new_stage()
    for size in (10, 5000, 10):
        stage.log({"text": "x" * size})
    assert [wire.peek(frame).objects for frame in cut(stage, target_bytes=1000)] == [1, 1, 1]


def test_rows_that_fit_share_a_frame() -> None:
    stage = new_stage()
    for number in range(100):
        stage.log({"a": number} if number % 2 else {"b": number, "text": "x"})
    (frame,) = map(wire.decode, cut(stage, target_bytes=1 << 20))
    assert {block.names.strip(b"\1\0"): block.values.size for block in frame.blocks} == {b"a": 50, b"b": 50}
    assert len(frame.objects) == 50


def test_values_are_transposed_by_metric() -> None:
    stage = new_stage()
    for number in range(3):
        stage.log({"a": number, "b": 10 + number})
    (frame,) = map(wire.decode, cut(stage, 1 << 20))
    assert frame.blocks[0].values.tolist() == [[0, 1, 2], [10, 11, 12]]
    assert frame.blocks[0].steps.tolist() == [0, 1, 2]


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1_700_000_000.123456, 1_753_000_000.0000005, 253_402_300_799.0])
def test_times_are_microseconds(seconds: float) -> None:
    stage = new_stage()
    stage.log({"_timestamp": seconds, "a": 1, "text": "x"})
    (frame,) = map(wire.decode, cut(stage, 1 << 20))
    assert round(seconds * 1e6) == frame.blocks[0].times[0] == frame.objects[0].time


def test_equal_cuts_give_equal_bytes() -> None:
    stage = new_stage()
    for number in range(10):
        stage.log({"a": number, "text": str(number)})
    taken = stage.cut()
    assert taken is not None
    assert list(_framer.frames(taken, SESSION, 0, 300)) == list(_framer.frames(taken, SESSION, 0, 300))


def test_failed_frame_becomes_a_tombstone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = new_stage()
    for number in range(3):
        stage.log({"a": float(number)})
    encode = _framer.encode

    def failing(session: bytes, seq: int, *parts: Any) -> bytes:
        if seq == 1:
            raise OverflowError("a mistake of ours")
        return encode(session, seq, *parts)

    monkeypatch.setattr(_framer, "encode", failing)
    made = [wire.peek(frame) for frame in cut(stage, 1)]
    assert [(header.seq, header.kind, header.points, header.dropped) for header in made] == [
        (0, wire.KIND_DATA, 1, 0),
        (1, wire.KIND_TOMBSTONE, 0, 1),
        (2, wire.KIND_DATA, 1, 0),
    ]
