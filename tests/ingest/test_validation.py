"""The rules for frames before they reach Postgres, each with its error and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.ingest import T0, make_block, make_frame
from stepwell import wire
from stepwell.errors import RejectionError, StepOrderError
from stepwell.wire import MAX_TIME_US
from stepwell_ingest.write.validation import ObjectError, TimeRangeError, check

SESSION = bytes(16)
LIMIT = 100


def check_frame(raw: bytes, last_step: int = -1) -> int:
    return check(wire.decode(raw), last_step, LIMIT)


def with_object(body: Any, step: int = 5) -> bytes:
    return make_frame(SESSION, 3, [5, 6], objects=[(step, "note", body)])


@pytest.mark.parametrize(
    ("blocks", "last_step", "expected"),
    [
        ([[0]], -1, 0),
        ([[7, 8, 100]], 6, 100),
        ([[1, 3], [2, 9], [4]], 0, 9),
        ([[2**63 - 2]], 2**63 - 3, 2**63 - 2),
        ([], 12, 12),
    ],
)
def test_increasing_steps_pass(blocks: list[list[int]], last_step: int, expected: int) -> None:
    frame = make_frame(SESSION, 0, [], blocks=[make_block(steps, [str(n)]) for n, steps in enumerate(blocks)])
    assert check_frame(frame, last_step) == expected


@pytest.mark.parametrize(
    ("blocks", "last_step", "text"),
    [
        ([[4, 4]], -1, r"steps do not increase inside a frame \(step 4 follows 4\)"),
        ([[1, 2, 9, 8]], -1, r"steps do not increase inside a frame \(step 8 follows 9\)"),
        ([[1], [3, 2]], -1, r"steps do not increase inside a frame \(step 2 follows 3\)"),
        ([[-(2**63), 2**63 - 1, 0]], -1, rf"step 0 follows {2**63 - 1}"),
        ([[2**63 - 1]], -1, rf"a step is too large \({2**63 - 1}; the limit is {2**63 - 2}\)"),
        ([[1, 5], [2, 5]], -1, r"a step occurs in two blocks of a frame \(seq 0\)"),
        ([[7]], 7, r"steps go back \(the frame begins at step 7, but the writer is already at 7\)"),
        ([[8], [3]], 5, r"steps go back \(the frame begins at step 3, but the writer is already at 5\)"),
        ([[-1]], -1, r"steps go back \(the frame begins at step -1, but the writer is already at -1\)"),
    ],
)
def test_non_increasing_steps_are_refused(blocks: list[list[int]], last_step: int, text: str) -> None:
    frame = make_frame(SESSION, 0, [], blocks=[make_block(steps, [str(n)]) for n, steps in enumerate(blocks)])
    with pytest.raises(StepOrderError, match=text):
        check_frame(frame, last_step)


def test_decreasing_steps_give_a_hint() -> None:
    with pytest.raises(StepOrderError, match="Hint: steps must increase; a restarted process must continue after"):
        check_frame(make_frame(SESSION, 0, [1]), 1)


@given(
    steps=st.lists(st.integers(0, 30), min_size=1, max_size=12), cut=st.integers(0, 12), last_step=st.integers(-1, 5)
)
def test_only_frames_with_increasing_steps_pass(steps: list[int], cut: int, last_step: int) -> None:
    parts = [part for part in (steps[:cut], steps[cut:]) if part]
    frame = make_frame(SESSION, 0, [], blocks=[make_block(part, [str(n)]) for n, part in enumerate(parts)])
    in_order = all(part == sorted(set(part)) for part in parts) and len(set(steps)) == len(steps)
    if in_order and min(steps) > last_step:
        assert check_frame(frame, last_step) == max(steps)
    else:
        with pytest.raises(StepOrderError):
            check_frame(frame, last_step)


@pytest.mark.parametrize("time", [-1, MAX_TIME_US + 1, -(2**63), 2**63 - 1])
def test_time_out_of_range_is_refused(time: int) -> None:
    block = make_block([0, 1], times=[T0, time])
    with pytest.raises(TimeRangeError, match=r"a time lies outside the years 1970 to 9999 \(seq 0\)"):
        check_frame(make_frame(SESSION, 0, [], blocks=[block]))
    raw = wire.encode(SESSION, 0, [make_block([0])], [wire.Object(0, time, "note", b"1")])
    with pytest.raises(TimeRangeError, match=r"a time lies outside the years 1970 to 9999 \('note'\)"):
        check_frame(raw)


@pytest.mark.parametrize("time", [0, MAX_TIME_US])
def test_first_and_last_time_pass(time: int) -> None:
    assert check_frame(make_frame(SESSION, 0, [], blocks=[make_block([3], times=[time])])) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"null",
        b"true",
        b"-1.5e3",
        b'"text"',
        b"[]",
        b'{"a": {"b": [1, null]}}',
        b' "x"\n',
        rb'"\\u0000"',
        rb'"\ud83d\ude00"',
    ],
)
def test_every_kind_of_json_passes(body: bytes) -> None:
    assert check_frame(with_object(body)) == 6


@pytest.mark.parametrize(
    "body", [b"", b"nan", b"NaN", b"Infinity", b"{", b"{'a': 1}", b"1 2", b'"\xff"', b'"\x01"', rb'"\ud800"']
)
def test_invalid_json_is_refused(body: bytes) -> None:
    with pytest.raises(ObjectError, match=r"a value is not JSON \('note': "):
        check_frame(with_object(body))


def test_deeply_nested_json_is_refused() -> None:
    raw = make_frame(SESSION, 0, [5], objects=[(5, "note", b"[" * 2000 + b"]" * 2000)])
    with pytest.raises(ObjectError, match="a value is not JSON"):
        check(wire.decode(raw), -1, 100_000)


@pytest.mark.parametrize("body", [rb'"\u0000"', rb'"a\\\u0000"', rb'{"k\u0000": 1}', rb'["\\\\\u0000"]'])
def test_nul_character_is_refused(body: bytes) -> None:
    with pytest.raises(ObjectError, match=r"a value holds a NUL character, which jsonb cannot store \('note'\)"):
        check_frame(with_object(body))


def test_large_value_is_refused_with_the_limit() -> None:
    assert check_frame(with_object("x" * (LIMIT - 2))) == 6
    with pytest.raises(ObjectError, match=r"a value is too large \('note': 101 bytes; the limit is 100\)"):
        check_frame(with_object("x" * (LIMIT - 1)))


def test_object_needs_a_step_of_its_frame() -> None:
    with pytest.raises(StepOrderError, match=r"an object belongs to a step that its frame does not have \(step 7\)"):
        check_frame(with_object(1, step=7))
    with pytest.raises(StepOrderError, match=r"a frame has objects, but no step that they belong to \(seq 0\)"):
        check_frame(make_frame(SESSION, 0, [], blocks=[], objects=[(0, "note", 1)]))


def test_step_without_numbers_may_have_objects() -> None:
    raw = make_frame(SESSION, 0, [4], [], objects=[(4, "note", 1), (4, "note", 2)])
    assert check_frame(raw) == 4


def test_rejections_are_not_retryable() -> None:
    def subclasses(kind: type[RejectionError]) -> list[type[RejectionError]]:
        return [kind, *(item for child in kind.__subclasses__() for item in subclasses(child))]

    assert not [kind for kind in subclasses(RejectionError) if kind.retryable]
    codes = [kind.code for kind in subclasses(RejectionError)]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.0])
def test_any_float_passes(value: float) -> None:
    block = make_block([1])._replace(values=np.full((1, 1), value))
    assert check_frame(make_frame(SESSION, 0, [], blocks=[block])) == 1


def notes(*items: tuple[int, str, bytes], time: int = T0) -> bytes:
    return wire.encode_notes(SESSION, 3, [wire.Object(step, time, kind, body) for step, kind, body in items])


@pytest.mark.parametrize("last_step", [-1, 0, 4711])
def test_notes_pass_at_any_step(last_step: int) -> None:
    raw = notes((7, "summary", b"{}"), (0, "meta", b"[1]"), (2**63 - 1, "k" * 64, b"null"))
    assert check_frame(raw, last_step) == last_step
    assert check_frame(notes(), last_step) == last_step


@pytest.mark.parametrize(
    ("raw", "kind", "text"),
    [
        (notes((-1, "meta", b"1")), StepOrderError, r"a note belongs to a step below 0 \('meta': -1\)"),
        (notes((0, "k" * 65, b"1")), ObjectError, r"the kind of a note is too long \('kkk.*; the limit is 64 bytes\)"),
        (notes((0, "ü" * 33, b"1")), ObjectError, "the kind of a note is too long"),
        (notes((0, "meta", b"{")), ObjectError, r"a value is not JSON \('meta': "),
        (notes((0, "meta", rb'"\u0000"')), ObjectError, "a value holds a NUL character"),
        (notes((0, "meta", b'"' + b"x" * LIMIT + b'"')), ObjectError, "a value is too large"),
        (notes((0, "meta", b"1"), time=-1), TimeRangeError, "a time lies outside the years 1970 to 9999"),
    ],
)
def test_notes_that_postgres_cannot_store_are_refused(raw: bytes, kind: type[RejectionError], text: str) -> None:
    with pytest.raises(kind, match=text):
        check_frame(raw)
