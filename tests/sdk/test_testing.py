"""`stepwell.testing.capture`: logged data is captured, and bad data fails as in production."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import stepwell
from stepwell import testing


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_history_has_one_row_per_step() -> None:
    with testing.capture() as logged:
        with stepwell.init(project="p") as run:
            run.log({"loss": 0.5, "n": 1, "nested": {"a": 2.0}, "text": "x"})
            stepwell.log({"loss": 0.25})
            run.log({"late": 1}, step=9)
        assert logged.history == [
            {"_step": 0, "loss": 0.5, "n": 1.0, "nested.a": 2.0, "text": "x"},
            {"_step": 1, "loss": 0.25},
            {"_step": 9, "late": 1.0},
        ]
    assert len(logged.history) == 3
    assert run.account.logged == run.account.stored == 6


def test_open_step_is_captured_when_closed() -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        run.log({"a": 1}, commit=False)
        assert logged.history == []
        run.log({"b": 2}, commit=False)
    assert logged.history == [{"_step": 0, "a": 1.0, "b": 2.0}]


def test_summary_config_alerts_and_names_are_captured() -> None:
    with testing.capture() as logged:
        run = stepwell.init(config={"lr": 0.1, "layers": [1, 2]}, name="my run")
        run.define_metric("loss", summary="min")
        for loss in (3.0, 1.0, 2.0):
            run.log({"loss": loss, "accuracy": 1 - loss})
        run.summary["verdict"] = "good"
        run.config.update({"epochs": 3})
        run.alert("low", "very low", level="WARN")
    assert logged.config == {"lr": 0.1, "layers": [1, 2], "epochs": 3}
    assert logged.summary["loss"] == {"min": 1.0}
    assert (logged.summary["accuracy"], logged.summary["verdict"]) == (-1.0, "good")
    assert logged.alerts == [{"title": "low", "text": "very low", "level": "WARN", "wait_duration_s": 60.0}]
    assert logged.runs[0].run.name == "my run"


def test_media_files_are_captured() -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        run.log({"page": stepwell.Html("<b>hello</b>", inject=False), "loss": 1.0})
        run.log({"table": stepwell.Table(columns=["a"], data=[[1], [2]])})
        page, table = logged.media
        assert (page.key, page.step, page.value["_type"]) == ("page", 0, "html-file")
        assert page.files == {page.value["path"]: b"<b>hello</b>"}
        assert (table.key, table.step, len(table.files)) == ("table", 1, 1)
        assert logged.history[0] == {"_step": 0, "loss": 1.0, "page": page.value}
        run.log({"values": np.arange(100.0)})
    assert logged.history[2]["values"]["_type"] == "histogram"


def test_capture_writes_and_sends_nothing(elsewhere: Path) -> None:
    before = threading.active_count()
    with testing.capture():
        run = stepwell.init(url="http://203.0.113.1:9", resume="allow", id="again")
        run.log({"a": 1})
        assert run.flush(timeout_s=5)
        assert (run.durable_step, run.resumed, run.spool_directory) == (0, False, None)
        Path(run.dir, "file.txt").write_text("x")
        assert threading.active_count() == before
        directory = run.dir
    assert list(elsewhere.iterdir()) == []
    assert not Path(directory).exists()


def test_bad_data_fails_as_in_production() -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        with pytest.raises(TypeError):
            run.log({"a": object()})
        with pytest.raises(ValueError, match="step"):
            run.log({"a": 1}, step=2**70)
        run.log({"a": 1}, step=5)
        run.log({"a": 2}, step=3)
        run.finish()
        with pytest.raises(stepwell.UsageError, match="is finished"):
            run.log({"a": 3})
    assert logged.history == [{"_step": 5, "a": 1.0}]
    assert run.stats is not None
    assert run.stats.steps_back == 1


def test_all_runs_are_kept_and_the_newest_is_default() -> None:
    with testing.capture() as logged:
        for number in range(3):
            with stepwell.init(config={"number": number}) as run:
                run.log({"a": number})
    assert [one.config["number"] for one in logged.runs] == [0, 1, 2]
    assert [one.history[0]["a"] for one in logged.runs] == [0, 1, 2]
    assert logged.config == {"number": 2}


def test_mode_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("STEPWELL_MODE", "disabled")
    monkeypatch.setenv("STEPWELL_PROJECT", "from the environment")
    with testing.capture() as logged, stepwell.init() as run:
        run.log({"a": 1})
    assert logged.history == [{"_step": 0, "a": 1.0}]
    assert run.project == "from the environment"


def test_disabled_run_captures_nothing() -> None:
    with testing.capture() as logged:
        with stepwell.init(mode="disabled") as run:
            run.log({"a": 1})
        assert logged.runs == []
        with pytest.raises(stepwell.UsageError, match="no run was started"):
            _ = logged.history


def test_previous_run_is_restored() -> None:
    with testing.capture() as outer:
        first = stepwell.init()
        with pytest.raises(stepwell.UsageError, match="active already"), testing.capture():
            pass
        assert stepwell.run is first
    assert stepwell.run is None
    first = stepwell.init(mode="disabled")
    with testing.capture() as logged:
        assert stepwell.init() is not first
        stepwell.log({"a": 1})
    assert stepwell.run is first
    assert len(logged.history) == len(outer.runs) == 1
    first.finish()


def test_exception_fails_the_run() -> None:
    with pytest.raises(ZeroDivisionError), testing.capture() as logged:
        run = stepwell.init()
        run.log({"a": 1 / 0})
    assert run._life.state.exit_code == 1
    assert logged.history == []
    with testing.capture():
        pass


def test_capture_exceeds_the_stage_limit() -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        for number in range(300):
            run.log({"text": "x" * 500_000, "number": number})
    assert [row["number"] for row in logged.history] == list(range(300))
