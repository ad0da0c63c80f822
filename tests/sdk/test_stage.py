"""The stage compared with a model of the rules, and its promises when it is full, interrupted or short of plans."""

from __future__ import annotations

import itertools
import logging
import random
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fixtures.stages import Frames, Json, new_stage, rows
from stepwell.stage import plans as _plans
from stepwell.stage.stage import Stage

#: Logged data and the stored values, with nested keys as paths. Many share their keys and types, so that the fast path
#: is taken, left (an integer beyond 2^53, a string, another type) and taken again.
DATA: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"a": 1.0, "b": 2}, {("a",): 1.0, ("b",): 2.0}),
    ({"a": 3.0, "b": 4}, {("a",): 3.0, ("b",): 4.0}),
    ({"a": -0.5, "b": 2**53}, {("a",): -0.5, ("b",): 2.0**53}),
    ({"a": 0.5, "b": 2**53 + 1}, {("a",): 0.5, ("b",): Json(2**53 + 1)}),
    ({"a": 0.5, "b": -(2**63) - 7}, {("a",): 0.5, ("b",): Json(-(2**63) - 7)}),
    ({"a": 7, "b": 8.0}, {("a",): 7.0, ("b",): 8.0}),
    ({"b": 4.0, "a": 1.0}, {("b",): 4.0, ("a",): 1.0}),
    ({"a": "text", "b": 1}, {("a",): Json("text"), ("b",): 1.0}),
    ({"a": None}, {("a",): Json(None)}),
    ({"a": 1.5}, {("a",): 1.5}),
    ({"a": {"x": 1, "y": {"z": 2}}}, {("a", "x"): 1.0, ("a", "y", "z"): 2.0}),
    ({"a": {"x": "s"}}, {("a", "x"): Json("s")}),
    ({"a": {"y": 3}}, {("a", "y"): 3.0}),
    ({"c": {}}, {}),
    ({"": 5}, {}),
    ({}, {}),
    ({"_step": 4, "_runtime": 1.0, "b": 6.0}, {("b",): 6.0}),
    ({"c": [1, "x", None]}, {("c",): Json([1, "x", None])}),
    ({"c": 9.0, "_p": True}, {("c",): 9.0, ("_p",): Json(True)}),
]


class Model:
    """A model of the rules of steps and commits. A row is {path: value}."""

    def __init__(self) -> None:
        self.cur = 0
        self.row: dict[tuple[str, ...], Any] = {}
        self.rows: dict[int, dict[str, Any]] = {}

    def log(self, stored: dict[tuple[str, ...], Any], step: int | None, commit: bool | None) -> None:
        if step is not None and step > self.cur:
            if self.row:
                self.write()
            self.cur = step
        if step is not None and step < self.cur:
            return
        for path, value in stored.items():
            # A scalar replaces a subtree, a subtree replaces a scalar.
            for other in [other for other in self.row if path != other]:
                if path[: len(other)] == other or other[: len(path)] == path:
                    del self.row[other]
            self.row[path] = value
        if commit if commit is not None else step is None:
            self.write()
            self.cur += 1

    def write(self) -> None:
        self.rows[self.cur] = {".".join(path): value for path, value in self.row.items()}
        self.row = {}


class StageAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stage = new_stage()
        self.frames = Frames(self.stage, target_bytes=200)
        self.model = Model()

    @rule(
        which=st.integers(0, len(DATA) - 1),
        ahead=st.none() | st.none() | st.sampled_from([0, 0, 1, 1, 1, 2, 50, -1, -3]),
        commit=st.sampled_from([None, None, None, True, False]),
        times=st.sampled_from([1, 1, 3]),
    )
    def log(self, which: int, ahead: int | None, commit: bool | None, times: int) -> None:
        data, stored = DATA[which]
        for _ in range(times):
            step = None if ahead is None else self.model.cur + ahead
            self.stage.log(data, step, commit)
            self.model.log(stored, step, commit)

    @rule()
    def cut(self) -> None:
        self.frames.collect()

    @invariant()
    def steps_agree(self) -> None:
        assert self.model.cur == self.stage.step

    def teardown(self) -> None:
        if self.model.row:
            self.model.write()
        self.stage.close()
        got = {
            step: {**row.points, **{key: Json(_loads(body)) for key, body in row.objects.items()}}
            for step, row in self.frames.collect().items()
        }
        assert self.model.rows == got


def _loads(body: bytes) -> Any:
    import json  # orjson would convert large integers to floats

    return json.loads(body)


StageAgainstModel.TestCase.settings = settings(deadline=None, max_examples=150, stateful_step_count=30)
test_any_sequence_of_calls_obeys_the_six_rules = StageAgainstModel.TestCase


def test_fast_path_keeps_exact_values() -> None:
    stage = new_stage()
    values = [1, -1, 2**53, -(2**53), 2**53 + 1, 5, -(2**64), 0, 2**53 - 1]
    for value in values:
        stage.log({"n": value, "x": 0.5})
    expected = [float(value) if abs(value) <= 2**53 else Json(value) for value in values]
    got = []
    for _, row in sorted(Frames(stage).collect().items()):
        assert row.points["x"] == 0.5
        got.append(row.points["n"] if "n" in row.points else Json(_loads(row.objects["n"])))
    assert expected == got


@pytest.mark.parametrize("by_step", [False, True], ids=["plain", "by step"])
def test_similar_calls_take_the_fast_path(monkeypatch: pytest.MonkeyPatch, by_step: bool) -> None:
    """The cost of `log()` depends on it."""
    stage = new_stage()
    long_way: list[int | None] = []
    log_any = Stage._log_any

    def count(stage: Stage, data: Any, step: int | None, commit: bool | None) -> None:
        long_way.append(step)
        log_any(stage, data, step, commit)

    monkeypatch.setattr(Stage, "_log_any", count)
    for number in range(100):
        stage.log({"a": number, "b": 0.5, "c": np.float32(1)}, step=number if by_step else None)
    stage.close()
    assert long_way == [0 if by_step else None]
    assert list(range(100)) == [row["a"] for _, row in sorted(rows(stage).items())]


def test_many_key_sets_lose_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_plans, "MAX_PLANS", 4)
    stage = new_stage()
    frames = Frames(stage)
    for number in range(100):
        key = f"k{number % 7}"
        stage.log({key: number}, step=2 * number)
        stage.log({key: number}, step=2 * number + 1)
        if number % 5 == 0:
            frames.collect()
    stage.close()
    assert {step: {f"k{step // 2 % 7}": step // 2} for step in range(200)} == {
        step: row.points for step, row in frames.collect().items()
    }


@pytest.mark.parametrize(
    "data", [{"a": 1.0, "b": 2.0}, {"text": "x" * 100}, {"a": 1.0, "text": "x" * 100}], ids=["points", "object", "both"]
)
@pytest.mark.parametrize("by_step", [False, True], ids=["plain", "by step"])
def test_full_stage_waits_for_room(data: dict[str, Any], by_step: bool) -> None:
    asked: list[int] = []
    stage: Stage

    def make_room() -> bool:
        asked.append(stage.step)
        frames.collect()
        return True

    stage = Stage(1000, make_room)
    frames = Frames(stage)
    for number in range(500):
        stage.log(data, step=number if by_step else None)
    stage.close()
    assert list(range(500)) == sorted(frames.collect())
    assert asked
    assert stage.room.dropped == 0


@pytest.mark.parametrize(
    "data", [{"a": 1.0, "b": 2.0}, {"text": "x" * 100}, {"a": 1.0, "text": "x" * 100}], ids=["points", "object", "both"]
)
def test_blocked_stage_drops_whole_rows(data: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(1000, lambda: False)
    with caplog.at_level(logging.WARNING, "stepwell"):
        for _ in range(500):
            stage.log(data)
    kept = rows(stage)
    assert len(kept) + stage.room.dropped == 500
    assert 0 < len(kept) < 130
    assert list(range(len(kept))) == sorted(kept)
    assert [set(data)] * len(kept) == [set(row) for row in kept.values()]
    assert (
        (caplog.messages[0])
        == "1 log() calls or notes were dropped: earlier values could not be written to disk in time"
    )
    stage.log(data)
    assert {500} == set(rows(stage))


def test_waiting_threads_keep_step_order() -> None:
    """While one call waits, others continue, even to higher steps."""
    stage: Stage

    def make_room() -> bool:
        frames.collect()  # the I/O thread's part
        return random.random() < 0.9

    stage = Stage(400, make_room)
    frames = Frames(stage)
    start = threading.Barrier(4)

    def work(seed: int) -> None:
        numbers = random.Random(seed)
        start.wait()
        for _ in range(300):
            data = numbers.choice([{"a": 1.0, "b": 2.0}, {"a": "x" * 60}, {"c": 1.0}])
            stage.log(data, step=numbers.choice([None, stage.step + 1, stage.step + 2]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    logging.getLogger("stepwell").setLevel(logging.ERROR)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        logging.getLogger("stepwell").setLevel(logging.NOTSET)
        sys.setswitchinterval(interval)
    stage.close()
    assert 4 * 300 >= len(frames.collect()) > 100  # a repeated step would have failed
    assert [pair for pair in itertools.pairwise(frames.ranges) if pair[0][1] >= pair[1][0]] == []
