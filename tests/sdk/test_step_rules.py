"""The rules of steps and commits at the stage: the table, its consequences, and its notes."""

from __future__ import annotations

import collections
import logging
import math
import sys
import threading
import types
from typing import Any

import numpy as np
import pytest

from fixtures.stages import Frames, Json, new_stage, rows
from fixtures.step_table import STEP_TABLE, Call
from stepwell.errors import DataError


def a(value: float = 1, **how: Any) -> Call:
    return {"a": value}, how


def b(value: float = 1, **how: Any) -> Call:
    return {"b": value}, how


#: Consequences of the six rules that have no row in the table.
BESIDE = [
    pytest.param([({}, {"step": 3}), a(1, step=4)], {4: {"a": 1}}, 4, 0, id="a jump writes no row that has no key"),
    pytest.param([a(1, step=3), a(2, step=2, commit=True), b(3)], {3: {"a": 1, "b": 3}}, 4, 1, id="drop, commit=True"),
    pytest.param([a(1, step=1000), a(2, step=10**15)], {1000: {"a": 1}, 10**15: {"a": 2}}, 10**15, 0, id="gaps"),
    pytest.param([a(1, commit=0), a(2, commit=1)], {0: {"a": 2}}, 1, 0, id="commit=0 is False, commit=1 is True"),
    pytest.param(
        [a(1, commit=np.bool_(False)), b(2, commit=np.int64(1))], {0: {"a": 1, "b": 2}}, 1, 0, id="commit of numpy"
    ),
    pytest.param([a(1, step=np.int32(4)), b(2, step=np.uint8(4))], {4: {"a": 1, "b": 2}}, 4, 0, id="steps of numpy"),
    pytest.param([a(1, step=np.array(4))], {4: {"a": 1}}, 4, 0, id="step of a 0-d array"),
    pytest.param([a(1, step=2**63 - 2)], {2**63 - 2: {"a": 1}}, 2**63 - 2, 0, id="the highest step"),
]
TABLE = [pytest.param(row.calls, row.rows, row.step, row.dropped, id=row.name) for row in STEP_TABLE]


@pytest.mark.parametrize(("calls", "expected", "step_before_finish", "dropped"), [*TABLE, *BESIDE])
@pytest.mark.parametrize("warm", [False, True], ids=["first time", "known keys"])
def test_rows_match_the_table(
    calls: list[Call], expected: dict[int, dict[str, Any]], step_before_finish: int, dropped: int, warm: bool
) -> None:
    stage = new_stage()
    if warm:  # these key sets are known, so calls take the fast path where possible
        for data, _ in calls:
            stage.log(data)
        stage.cut()
        stage._step = 0

    for data, how in calls:
        stage.log(data, **how)
    assert (step_before_finish, dropped) == (stage.step, stage.late_calls.dropped)
    stage.close()
    assert expected == rows(stage)


def test_dropped_call_gives_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    stage = new_stage()
    stage.log({"a": 1}, step=7)
    with caplog.at_level(logging.WARNING, "stepwell"):
        stage.log({"a": 2}, step=-1)
    assert caplog.messages == [
        "log(step=-1) was dropped: the run is at step 7 already, and steps must increase. "
        "To plot against another number, log that number as a metric, and make it the x-axis with define_metric."
    ]


def test_dropped_calls_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    stage = new_stage(first_step=5)
    for _ in range(2500):
        stage.log({"a": 1}, step=0)
    assert len(caplog.messages) == 12
    assert caplog.messages[-1].endswith("(2000 calls dropped so far)")
    assert stage.late_calls.dropped == 2500


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"commit": "yes"}, "commit must be True, False or None, not str ('yes')"),
        ({"commit": 1.0}, "commit must be True, False or None, not float (1.0)"),
        ({"step": 1.0}, "step must be an integer, not float (1.0)"),
        ({"step": "1"}, "step must be an integer, not str ('1')"),
        ({"step": True}, "step must be an integer, not bool (True)"),
        ({"step": np.bool_(True)}, "step must be an integer, not bool (np.True_)"),
        ({"step": np.float64(1)}, "step must be an integer, not float64 (np.float64(1.0))"),
        ({"step": np.array(1.5)}, "step must be an integer, not ndarray (array(1.5))"),
        ({"step": 2**63}, "step is too large (9223372036854775808; the limit is 9223372036854775806)"),
        ({"step": 2**63 - 1}, "step is too large (9223372036854775807; the limit is 9223372036854775806)"),
    ],
)
def test_invalid_step_or_commit_is_refused(how: dict[str, Any], text: str) -> None:
    stage = new_stage()
    stage.log({"a": 1}, commit=False)
    for kind in (TypeError, ValueError, DataError):
        with pytest.raises(kind) as raised:
            stage.log({"b": 2}, **how)
        assert text == str(raised.value)
    stage.log({"c": 3})
    assert rows(stage) == {0: {"a": 1, "c": 3}}


@pytest.mark.parametrize("opened_with", [{}, {"commit": False}, {"step": 4}])
@pytest.mark.parametrize("bad", [{}, {"commit": False}, {"step": 4}, {"step": 9}, {"step": 9, "commit": True}])
def test_failed_call_changes_nothing(opened_with: dict[str, Any], bad: dict[str, Any]) -> None:
    stage = new_stage()
    stage.log({"a": 1}, **opened_with)
    before = stage.step
    with pytest.raises(DataError):
        stage.log({"good": 1, "bad": object()}, **bad)
    assert before == stage.step
    stage.log({"a": 2})
    stage.close()
    assert {"a"} == {key for row in rows(stage).values() for key in row}


def test_threads_share_the_steps() -> None:
    stage = new_stage()
    start = threading.Barrier(4)

    def work(name: str) -> None:
        start.wait()
        for number in range(50):
            stage.log({name: number, "text": "x"} if number % 2 else {name: number})

    threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    written = rows(stage)
    assert list(range(200)) == sorted(written)
    for index in range(4):
        in_order = [row[f"t{index}"] for _, row in sorted(written.items()) if f"t{index}" in row]
        assert list(range(50)) == in_order


def test_callers_dict_is_independent() -> None:
    stage = new_stage()
    array, nested, items = np.array([1.0, 2.0]), {"x": [1]}, [1, 2]
    data = {"a": array, "b": nested, "c": items, "": 0, "_step": 9, "n": 1.0}
    before = dict(data)
    stage.log(data, commit=False)
    assert before == data
    array[0], nested["x"], data["n"] = 9, [9], 9.0
    items.append(9)
    stage.log({"z": 1})
    expected = {"a": Json([1.0, 2.0]), "b.x": Json([1]), "c": Json([1, 2]), "n": 1.0, "z": 1.0}
    assert {0: expected} == rows(stage)


@pytest.mark.parametrize(
    "data",
    [
        collections.OrderedDict(a=1.0),
        collections.ChainMap({"a": 1.0}),
        types.MappingProxyType({"a": 1.0}),
        collections.Counter(a=1),
    ],
    ids=lambda data: type(data).__name__,
)
def test_any_mapping_can_be_logged(data: Any) -> None:
    stage = new_stage()
    stage.log(data)
    assert rows(stage) == {0: {"a": 1.0}}


def test_log_returns_none() -> None:
    assert None is new_stage().log({"a": 1})  # type: ignore[func-returns-value]


def test_user_step_and_runtime_are_ignored() -> None:
    stage = new_stage()
    stage.log({"_step": 77, "_runtime": 5.0, "a": 1, "_wandb": {"runtime": 3}})
    stage.log({"_step": 77, "_runtime": 5.0, "a": 2})
    assert rows(stage) == {0: {"a": 1.0}, 1: {"a": 2.0}}


def test_user_timestamp_is_the_time_of_the_step() -> None:
    stage = new_stage()
    frames = Frames(stage)
    stage.log({"_timestamp": 1_700_000_000.123456, "a": 1, "text": "x"})
    row = frames.collect()[0]
    assert (row.time_us, row.object_times_us) == (1_700_000_000_123_456, {"text": 1_700_000_000_123_456})
    assert row.points == {"a": 1.0}


def test_merged_step_has_the_last_time() -> None:
    stage = new_stage()
    frames = Frames(stage)
    for seconds in (100, 300, 200):
        stage.log({"_timestamp": seconds, f"k{seconds}": 1}, step=5)
    stage.close()
    assert frames.collect()[5].time_us == 200_000_000


@pytest.mark.parametrize("time", ["soon", None, math.nan, math.inf, -1, 253_402_300_800, 2**1024])
def test_invalid_timestamp_is_refused(time: Any) -> None:
    stage = new_stage()
    with pytest.raises(DataError, match="'_timestamp' must"):
        stage.log({"_timestamp": time, "a": 1})
    assert (stage.step, rows(stage)) == (0, {})


def test_underscore_keys_are_ordinary() -> None:
    stage = new_stage()
    stage.log({"_private": 1, "_wandbish": "x", "a_": 2})
    assert {0: {"_private": 1.0, "_wandbish": Json("x"), "a_": 2.0}} == rows(stage)


def test_calls_after_the_last_step_are_refused() -> None:
    stage = new_stage()
    stage.log({"a": 1.0}, step=2**63 - 2)
    stage.log({"a": 2.0})
    for _ in range(2):
        with pytest.raises(DataError, match="the largest possible step has already been closed"):
            stage.log({"a": 3.0})
    with pytest.raises(DataError, match="step is too large"):
        stage.log({"a": 4.0}, step=2**63 - 1)
    stage.close()
    assert rows(stage) == {2**63 - 2: {"a": 2.0}}
    assert stage.cut() is None


def test_calls_count_up_to_the_last_step() -> None:
    stage = new_stage(first_step=2**63 - 4)
    for value in range(3):
        stage.log({"a": value})
    with pytest.raises(DataError, match="the largest possible step"):
        stage.log({"a": 3})
    assert list(rows(stage)) == [2**63 - 4, 2**63 - 3, 2**63 - 2]


@pytest.mark.parametrize("first", [{"a.b": 1}, {"a": {"b": 1}}])
@pytest.mark.parametrize("second", [{"a.b": 2}, {"a": {"b": 2}}])
def test_later_of_dotted_and_nested_key_wins(first: dict[str, Any], second: dict[str, Any]) -> None:
    stage = new_stage()
    for data in ({"a": {"b": 0}}, {"a.b": 0}, first, second):
        stage.log(data, commit=False)
    stage.close()
    assert rows(stage) == {0: {"a.b": 2.0}}
