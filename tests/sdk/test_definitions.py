"""`define_metric`: refusals, combined definitions, and their effect on rows."""

from __future__ import annotations

import dataclasses
import inspect
import math
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepwell
from fixtures.stages import Json, new_stage, rows
from stepwell.errors import Error, UsageError
from stepwell.notes.definitions import Definitions, Metric, checked_metric
from stepwell.stage.stage import Stage


def checked(name: Any = "loss", **more: Any) -> Metric:
    names = ("step_metric", "step_sync", "hidden", "summary", "goal", "overwrite")
    return checked_metric(name, *(more.get(key) for key in names))


def defined(*metrics: Metric, overwrite: bool = False) -> Definitions:
    definitions = Definitions()
    for metric in metrics:
        definitions.add(metric, overwrite, {})
    return definitions


def completing(stage: Stage, *metrics: Metric) -> Definitions:
    definitions = Definitions()
    for metric in metrics:
        definitions.add(metric, False, {key: seen.value for key, seen in stage.latest().items()})
    stage.complete_rows(definitions)
    return definitions


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("", {}, "define_metric: the name is empty"),
        (5, {}, "define_metric: name must be a str, not int"),
        (None, {}, "define_metric: name must be a str, not NoneType"),
        ("a*b", {}, r"define_metric: '\*' may only be the last character of a name: 'a\*b'"),
        ("*a", {}, r"'\*' may only be the last character"),
        ("**", {}, r"'\*' may only be the last character"),
        ("loss", {"step_metric": 5}, "define_metric: step_metric must be a str, not int"),
        ("loss", {"step_metric": "a*"}, "step_metric must be the name of one metric"),
        ("loss", {"step_metric": ""}, "step_metric must be the name of one metric"),
        ("loss", {"step_sync": "yes"}, "define_metric: step_sync must be a bool, not str"),
        ("loss", {"hidden": 1}, "define_metric: hidden must be a bool, not int"),
        ("loss", {"summary": ["min"]}, "define_metric: summary must be a str, not list"),
        ("loss", {"summary": "min, max"}, r"unknown summary ' max'\n.*without spaces"),
        ("loss", {"summary": "median"}, "unknown summary 'median'"),
        ("loss", {"summary": "min,"}, "unknown summary ''"),
        ("loss", {"goal": "up"}, "goal must be minimize or maximize, not 'up'"),
        ("loss", {"overwrite": "no"}, "define_metric: overwrite must be a bool, not str"),
    ],
)
def test_invalid_arguments_are_named(name: Any, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError, match=text) as raised:
        checked(name, **arguments)
    assert isinstance(raised.value, Error)


def test_definition_keeps_its_arguments() -> None:
    assert checked() == Metric("loss")
    assert checked(summary="MAX,min,max", goal="Maximize").summary == ("min", "max")
    assert checked(step_metric="epoch") == Metric("loss", "epoch", True)
    assert checked(step_metric=Metric("epoch"), step_sync=False) == Metric("loss", "epoch", False)
    assert checked(r"a\.b").name == "a.b"
    assert checked("*").is_glob


def test_wandb_arguments_are_accepted() -> None:
    for function in (stepwell.define_metric, stepwell.Run.define_metric):
        names = [name for name in inspect.signature(function).parameters if name != "self"]
        assert names == ["name", "step_metric", "step_sync", "hidden", "summary", "goal", "overwrite"]
    fields = [field.name for field in dataclasses.fields(Metric)]
    assert fields == ["name", "step_metric", "step_sync", "hidden", "summary", "goal"]


def test_defaults_are_not_sent() -> None:
    assert checked().as_note(False) == {"name": "loss"}
    assert checked("a*", step_metric="e", summary="best", goal="maximize", hidden=True).as_note(True) == {
        "glob": "a*",
        "step_metric": "e",
        "step_sync": True,
        "hidden": True,
        "summary": ["best"],
        "goal": "maximize",
        "overwrite": True,
    }


def test_calls_accumulate_and_overwrite_replaces() -> None:
    definitions = defined(checked(summary="min", step_metric="epoch"))
    merged = definitions.add(checked(summary="max", hidden=True), False, {})
    assert merged == Metric("loss", "epoch", True, True, ("min", "max"))
    assert definitions.add(checked(summary="last"), True, {}) == Metric("loss", summary=("last",))
    assert definitions.of("loss") == Metric("loss", summary=("last",))


def test_names_and_longer_globs_win() -> None:
    definitions = defined(checked("*", summary="max"), checked("ab*", summary="min"), checked("abcd"))
    found = {key: definitions.of(key) for key in ("a", "abc", "abcd", "_private")}
    assert {key: metric and metric.summary for key, metric in found.items()} == {
        "a": ("max",),
        "abc": ("min",),
        "abcd": (),
        "_private": None,
    }
    assert definitions.follows("abc")
    assert not definitions.follows("abcd")
    definitions.add(checked("abc", summary="none"), False, {})
    assert not definitions.follows("abc")


def test_rows_get_the_missing_step_metric() -> None:
    stage = new_stage()
    completing(stage, checked("loss", step_metric="epoch"))
    stage.log_completed({"loss": 1.0})
    stage.log_completed({"epoch": 3.0})
    stage.log_completed({"loss": 2.0})
    stage.log_completed({"other": 1.0})
    stage.log_completed({"loss": 2.0, "epoch": 4.0})
    stage.log_completed({"nested": {"x": 1.0}, "loss": 5.0})
    assert rows(stage) == {
        0: {"loss": 1, "epoch": 0},
        1: {"epoch": 3},
        2: {"loss": 2, "epoch": 3},
        3: {"other": 1},
        4: {"loss": 2, "epoch": 4},
        5: {"loss": 5, "nested.x": 1, "epoch": 4},
    }


def test_earlier_step_metric_values_count() -> None:
    stage = new_stage()
    stage.log({"epoch": 7.0})
    stage.cut()
    completing(stage, checked("loss", step_metric="epoch"))
    stage.log_completed({"loss": 1.0})
    assert rows(stage) == {1: {"loss": 1, "epoch": 7}}


def test_open_row_gets_the_step_metric() -> None:
    stage = new_stage()
    stage.log({"loss": 1.0})
    stage.log({"loss": 2.0}, step=5)  # the fast path
    completing(stage, checked("loss", step_metric="epoch"))
    stage.log_completed({"loss": 3.0}, step=6)
    stage.close()
    assert rows(stage) == {0: {"loss": 1}, 5: {"loss": 2, "epoch": 0}, 6: {"loss": 3, "epoch": 0}}


def test_text_step_metric_is_inserted() -> None:
    stage = new_stage()
    completing(stage, checked("*", step_metric="phase"))
    stage.log_completed({"phase": "warm-up"})
    stage.log_completed({"loss": 1.0, "_private": 2.0})
    stage.log_completed({"_private": 2.0})
    assert rows(stage) == {
        0: {"phase": Json("warm-up")},
        1: {"loss": 1, "_private": 2, "phase": Json("warm-up")},
        2: {"_private": 2},
    }


def test_without_step_sync_rows_are_unchanged() -> None:
    definitions = defined(checked("loss", step_metric="epoch", step_sync=False))
    assert not definitions.completes


def test_completed_rows_follow_the_step_rules() -> None:
    """The six rules of steps also hold on the slow path."""
    stage = new_stage()
    completing(stage, checked("b", step_metric="a"))
    stage.log_completed({"a": 1.0}, commit=False)
    stage.log_completed({"b": math.nan})
    stage.log_completed({"b": 2.0}, step=9)
    stage.log_completed({"b": 3.0}, step=4)
    stage.log_completed({"b": 4.0})
    assert stage.late_calls.dropped == 1
    assert list(rows(stage)) == [0, 9]


def test_threads_log_during_define_metric() -> None:
    stage, definitions = new_stage(), Definitions()
    stage.complete_rows(definitions)
    ended = threading.Event()
    failures: list[BaseException] = []

    def log() -> None:
        try:
            while not ended.is_set():
                stage.log_completed({"a": 1.0, "b/x": 2.0, "c/y": 3.0})
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=log) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(300):
        definitions.add(checked(f"b/{number}*", step_metric=f"step{number}", summary="min"), False, {})
    definitions.add(checked("b/*", step_metric="step"), False, {})
    stage.log_completed({"b/z": 1.0})
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    (last,) = [row for row in rows(stage).values() if "b/z" in row]
    assert last == {"b/z": 1, "step": 0}


#: Few keys, so that most are repeated and take the fast path.
ROWS = ["epoch", "loss", "epoch loss", "phase", "val/a", "phase val/b", "other _own", "epoch phase loss val/a"]
CALLS = st.lists(
    st.tuples(
        st.sampled_from(ROWS).map(str.split),
        st.floats(allow_nan=False, width=16),
        st.sampled_from([None, None, None, None, False, "ahead"]),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None)
@given(calls=CALLS, late=st.integers(0, 25))
def test_fast_and_slow_path_complete_rows_alike(calls: list[tuple[list[str], float, Any]], late: int) -> None:
    stage, definitions = new_stage(), Definitions()
    stage.complete_rows(definitions)
    wanted = {"loss": "epoch", "val/a": "phase", "val/b": "phase"}
    definitions.add(checked("loss", step_metric="epoch"), False, {})
    last: dict[str, float] = {"epoch": 0.0, "phase": 0.0}
    expected: dict[int, dict[str, float]] = {}
    step, row = 0, dict[str, float]()

    def close() -> None:
        nonlocal step, row
        for key in list(row):
            if key in wanted and (key == "loss" or defined):
                row.setdefault(wanted[key], last[wanted[key]])
        last.update({key: row[key] for key in last if key in row and (key == "epoch" or defined)})
        if row:
            expected[step] = row
            step += 1
        row = {}

    defined = False
    for number, (keys, value, how) in enumerate(calls):
        if number == late:
            defined = True
            known = {key: seen.value for key, seen in stage.latest().items()}
            definitions.add(checked("val/*", step_metric="phase"), False, known)
            last["phase"] = float(known.get("phase", 0.0))  # type: ignore[arg-type]  # all of them are numbers
        data = dict.fromkeys(keys, value)
        if how == "ahead":
            close()
            step += 2
            stage.log_completed(data, step)
            row |= data
        else:
            stage.log_completed(data, commit=how)
            row |= data
            if how is None:
                close()
        if number % 7 == 6:
            stage_rows = rows(stage)
            assert all(expected[at] == found for at, found in stage_rows.items())
            for at in stage_rows:
                del expected[at]
    close()
    stage.close()
    assert rows(stage) == expected
