"""`log(step=…)` for a step that has passed: dropped with a warning, refused, or quarantined."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import pytest

import stepwell
from fixtures.server import Backend, StartRun
from fixtures.stages import rows
from stepwell.errors import DataError, SettingError, StepOrderError
from stepwell.settings import StepBack
from stepwell.stage.stage import Stage


def stage(step_back: StepBack, max_bytes: int = 1 << 20) -> Stage:
    """A stage at step 5, which is open and contains a=1."""
    made = Stage(max_bytes, lambda: True, 0, step_back)
    made.log({"a": 1}, step=5)
    return made


OPEN = {5: {"a": 1.0}}


def closed(made: Stage) -> dict[int, dict[str, object]]:
    made.close()
    return rows(made)


def test_warn_drops_the_call_with_advice(caplog: pytest.LogCaptureFixture) -> None:
    made = stage("warn")
    made.log({"a": 2}, step=3)
    assert (made.late_calls.dropped, made.late_calls.quarantined, made.step) == (1, 0, 5)
    assert caplog.messages == [
        "log(step=3) was dropped: the run is at step 5 already, and steps must increase. "
        "To plot against another number, log that number as a metric, and make it the x-axis with define_metric."
    ]
    assert closed(made) == OPEN


def test_warnings_are_rate_limited(caplog: pytest.LogCaptureFixture) -> None:
    made = stage("warn")
    for _ in range(2500):
        made.log({"a": 2}, step=3)
    assert made.late_calls.dropped == 2500
    assert len(caplog.messages) == 12  # ten, then one in a thousand
    assert caplog.messages[-1].endswith("(2000 calls dropped so far)")


def test_raise_refuses_the_call(caplog: pytest.LogCaptureFixture) -> None:
    made = stage("raise")
    for commit in (None, True, False):
        with pytest.raises(
            StepOrderError, match=r"log\(step=3\) came too late: the run is at step 5 already"
        ) as caught:
            made.log({"b": 2}, step=3, commit=commit)
        assert caught.value.hint is not None
        assert "define_metric" in caught.value.hint
    assert (made.step, made.late_calls.dropped, caplog.messages) == (5, 0, [])
    made.log({"c": 3}, step=5)
    assert closed(made) == {5: {"a": 1.0, "c": 3.0}}


@pytest.mark.parametrize("how", ["warn", "raise", "quarantine"])
def test_open_and_later_steps_are_accepted(how: StepBack) -> None:
    made = stage(how)
    made.log({"b": 2}, step=5)
    made.log({"a": 3}, step=6)
    made.log({"a": 4})
    assert closed(made) == {5: {"a": 1.0, "b": 2.0}, 6: {"a": 4.0}}
    assert (made.late_calls.dropped, made.late_calls.quarantined, made.take_quarantined()) == (0, 0, [])


@pytest.mark.parametrize("how", ["warn", "raise", "quarantine"])
def test_bad_data_is_refused_at_any_step(how: StepBack) -> None:
    made = stage(how)
    with pytest.raises(DataError):
        made.log({"a": object()}, step=3)
    assert (made.late_calls.dropped, made.late_calls.quarantined) == (0, 0)


def test_quarantine_keeps_the_call(caplog: pytest.LogCaptureFixture) -> None:
    made = stage("quarantine")
    made.log({"a": 2, "deep": {"b": 2.5}, "text": "x", "list": [1, None]}, step=3)
    made.log({"a": math.inf}, step=4)
    first, second = map(json.loads, made.take_quarantined())
    assert (first["step"], first["open_step"]) == (3, 5)
    values = {key: json.loads(value) if isinstance(value, str) else value for key, value in first["values"].items()}
    assert values == {"a": 2.0, "deep.b": 2.5, "text": "x", "list": [1, None]}
    assert isinstance(first["time"], float)
    assert (second["step"], second["values"]) == (4, {"a": math.inf})
    assert (made.late_calls.quarantined, made.late_calls.dropped, caplog.messages) == (2, 0, [])
    assert made.take_quarantined() == []
    assert closed(made) == OPEN


def test_quarantine_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    made = stage("quarantine", max_bytes=4096)
    for _ in range(200):
        made.log({"text": "x" * 100}, step=3)
    assert 0 < made.late_calls.quarantined < 40
    assert made.late_calls.quarantined + made.late_calls.dropped == 200
    assert len(made.take_quarantined()) == made.late_calls.quarantined
    assert caplog.messages[0].startswith("log(step=3) was dropped")
    made.log({"text": "again"}, step=3)
    assert len(made.take_quarantined()) == 1


def test_other_step_back_values_are_refused(start_run: StartRun) -> None:
    with pytest.raises(SettingError, match="step_back must be one of warn, raise, quarantine, not 'ignore'"):
        start_run(mode="disabled", step_back="ignore")


@pytest.mark.db
def test_quarantine_stays_after_delivery(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, step_back="quarantine") as run:
        run.log({"a": 1}, step=10)
        for step in range(5):
            run.log({"a": step, "note": "late"}, step=step)
        run.log({"a": 2}, step=11)
        directory = Path(str(run.spool_directory))
    assert run.account == stepwell.Account(logged=2, stored=2, rejected=0, dropped=0, left=0)
    assert run.stats is not None
    assert (run.stats.steps_quarantined, run.stats.steps_back) == (5, 0)
    lines = (directory / "quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 1, 2, 3, 4]
    assert [step for _, _, step, _ in backend.points("run-1")] == [10, 11]


@pytest.mark.db
def test_run_continues_after_raise(backend: Backend, start_run: StartRun, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with start_run(backend.url, step_back="raise") as run:
        run.log({"a": 1}, step=10)
        with pytest.raises(StepOrderError):
            run.log({"a": 1}, step=9)
        run.log({"a": 2}, step=11)
    assert [step for _, _, step, _ in backend.points("run-1")] == [10, 11]
    assert caplog.messages == []
