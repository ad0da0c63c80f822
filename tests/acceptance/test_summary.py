"""The summary in a process equals the one in SQL, and names and config reflect the latest changes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.programs import script
from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db

ABOUT = "SELECT display_name, notes, tags, config, run_group, job_type FROM stepwell.runs"


def summary(backend: Backend, run: str = "run-1") -> dict[str, Any]:
    """The summary in SQL, with NaN and infinities as numbers."""
    numbers = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    rows = backend.query("SELECT key, value FROM stepwell.summary WHERE run = $1", run)
    return {key: numbers.get(value, value) if isinstance(value, str) else value for key, value in rows}


def test_process_summary_equals_sql(backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url)
    run.define_metric("val/*", step_metric="epoch", summary="min,last")
    run.define_metric("val/acc", summary="best", goal="maximize")
    run.define_metric("hidden", summary="none")
    run.log({"loss": 3.0, "hidden": 1, "net": {"w": 1.5, "name": "x"}})
    run.summary["start"] = {"a": 1, "b": [1, 2]}
    for epoch in range(5):
        run.log({"epoch": epoch, "inf": math.inf})
        run.log({"val/loss": 5.0 - epoch, "val/acc": (epoch * 7) % 4, "loss": float(epoch)})
    run.log({"net": {"name": None}, "text": "end"})
    run.summary.update({"loss": -1, "val/loss": "by hand", "gone": 1})
    del run.summary["gone"]
    run.summary["start"]["a"] = 2
    assert run.flush()
    shown = run.summary.as_dict()
    run.finish()
    expected = {
        "loss": -1,
        "net.w": 1.5,
        "net.name": "x",
        "start.a": 2,
        "start.b": [1, 2],
        "epoch": 4,
        "inf": math.inf,
        "val/loss": "by hand",
        "val/acc": {"best": 3},
        "text": "end",
        "_step": 11,
    }
    own = ("_timestamp", "_runtime")
    assert {key: value for key, value in shown.items() if key not in own} == expected
    assert {key: value for key, value in summary(backend).items() if key not in own} == expected
    assert abs(summary(backend)["_timestamp"] - shown["_timestamp"]) < 0.001
    # Rows without their step metric have received it.
    epochs = [value for _, metric, step, value in backend.points("run-1") if metric == "epoch" and step % 2 == 0]
    assert epochs == [0, 1, 2, 3, 4]


def test_rows_before_a_definition(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        for value in (1.0, 5.0, 3.0):
            run.log({"a": {"b": value}})
        assert run.flush()
        run.define_metric("a.b", summary="min,max")
        run.log({"a": {"b": 4.0}})
        assert run.summary["a.b"] == {"min": 3, "max": 4}
    assert summary(backend)["a.b"] == {"min": 1, "max": 5}


def test_two_processes_define_and_set(backend: Backend, start_run: StartRun) -> None:
    first = start_run(backend.url, writer="0")
    first.define_metric("loss", summary="min")
    first.log({"loss": 3.0})
    assert first.flush()
    stepwell.finish()
    second = start_run(backend.url, writer="1")
    second.define_metric("loss", summary="max")
    second.log({"loss": 5.0})
    second.summary["note"] = "from the second"
    second.finish()
    found = summary(backend)
    assert (found["loss"], found["note"]) == ({"min": 3, "max": 5}, "from the second")


def test_names_and_config_follow_changes(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, name="first", config={"lr": 1, "net": {"a": 1}}) as run:
        assert (run.name, run.notes, run.tags, run.group, run.job_type) == ("first", None, (), "", "")
        run.name, run.notes = "second", "a longer text"
        run.tags = ["a"]
        run.tags += ("b", "a")
        run.tags = ("x" * 65,)  # a warning
        run.config.update({"lr": 2, "seed": 7}, allow_val_change=True)
        assert (run.name, run.tags, run.config.lr) == ("second", ("a", "b"), 2)
    config = {"lr": 2, "seed": 7, "net": {"a": 1}}
    assert backend.query(ABOUT) == [("second", "a longer text", ["a", "b"], config, None, None)]


def test_resumed_run_restores_its_state(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 1, "old": 1}) as run:
        run.name, run.notes, run.tags = "first", "n", ("a",)
        run.config.new = 5
        run.define_metric("loss", summary="min")
        run.log({"a": 1, "nan": math.nan, "loss": 2})
        run.summary["kept"] = 1
    with start_run(backend.url, resume="must", config={"lr": 2}) as run:
        assert (run.name, run.notes, run.tags) == ("first", "n", ("a",))
        assert dict(run.config) == {"lr": 2, "old": 1, "new": 5}
        before = run.summary.as_dict()
        assert (before["a"], before["kept"], before["_step"], before["loss"]) == (1, 1, 0, {"min": 2})
        assert math.isnan(before["nan"])
        run.log({"b": 2})
        run.summary["mine"] = run.summary["kept"] + 1
        del run.summary["nan"]
        run.log({"c": 3})
        own = ("_timestamp", "_runtime")
        shown = {key: value for key, value in run.summary.items() if key not in own}
        runtime = run.summary["_runtime"]
    assert backend.query(ABOUT) == [("first", "n", ["a"], {"lr": 2, "old": 1, "new": 5}, None, None)]
    with start_run(backend.url, resume="must", name="third", tags=["b"]) as run:
        assert (run.name, run.notes, run.tags) == ("third", "n", ("b",))
    assert backend.query(ABOUT)[0][:3] == ("third", "n", ["b"])
    found = summary(backend)
    assert shown == {"a": 1, "b": 2, "c": 3, "kept": 1, "mine": 2, "loss": {"min": 2}, "_step": 2}
    assert {key: value for key, value in found.items() if key not in own} == shown
    assert abs(found["_runtime"] - runtime) < 0.001


def test_resumed_run_continues_extremes(backend: Backend, start_run: StartRun) -> None:
    shown: dict[str, Any] = {}
    for values in ([3.0, 9.0], [5.0, 4.0]):
        with start_run(backend.url, resume="allow") as run:
            run.define_metric("loss", summary="min,max,first,last,mean")
            run.define_metric("acc", summary="best", goal="maximize")
            for value in values:
                run.log({"loss": value, "acc": value})
            shown = run.summary.as_dict()
    assert shown["loss"] == {"min": 3, "max": 9, "first": 3, "last": 4, "mean": 4.5}  # the mean is of this process only
    assert shown["acc"] == {"best": 9}
    found = summary(backend)
    assert (found["loss"], found["acc"]) == ({"min": 3, "max": 9, "first": 3, "last": 4, "mean": 5.25}, {"best": 9})


def test_unavailable_summary_starts_empty(
    backend: Backend, start_run: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    with start_run(backend.url) as run:
        run.log({"a": 1})
    run = start_run(backend.url, resume="must")
    backend.stop()
    assert (run.summary.as_dict(), run.summary.as_dict()) == ({}, {})
    told = [message for message in caplog.messages if message.startswith("run.summary starts empty")]
    assert len(told) == 1
    backend.start()


def test_alerts_are_notes(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        run.log({"a": 1})
        run.alert("loss is NaN", "since step 0", level=stepwell.AlertLevel.ERROR, wait_duration=5)
    assert backend.query("SELECT kind, step, value FROM stepwell.note") == [
        ("alert", 1, {"title": "loss is NaN", "text": "since step 0", "level": "ERROR", "wait_duration_s": 5})
    ]


def test_notes_of_a_forked_child(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        run = stepwell.init("mnist", id="forked", name="first", url=sys.argv[1], dir=sys.argv[2])
        run.define_metric("a", summary="max")
        run.log({"a": 1})
        run.name = "renamed"
        run.config.lr = 2
        run.flush()
        if not os.fork():
            run.summary["child"] = run.summary["a"]["max"]
            run.log({"a": 5})
            run.finish()
            os._exit(0)
        os.wait()
        """,
        backend.url,
        tmp_path,
    )
    found = summary(backend, "forked")
    assert (found["a"], found["child"]) == ({"max": 5}, 1)
    assert backend.query("SELECT writers, display_name, config FROM stepwell.runs") == [(2, "renamed", {"lr": 2})]
