"""Attributes of a run that scripts read and change (files, names, config, summary), and its deletion."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.errors import AbsentNameError, CommError, DataError, NotFoundError, UsageError

pytestmark = pytest.mark.db


@pytest.fixture
def api(backend: Backend) -> stepwell.Api:
    return stepwell.Api({"base_url": backend.url})


@pytest.fixture
def logged(backend: Backend, start_run: StartRun, api: stepwell.Api) -> Any:
    run = start_run(backend.url, config={"lr": 0.1, "_internal": 1}, name="first try", tags=["a"])
    run.log({"train/loss": 0.5, "nested": {"a": {"b": 1}, "c": 2}})
    run.finish()
    return api.run("run-1")


def test_update_stores_changes(logged: Any, api: stepwell.Api, backend: Backend) -> None:
    logged.tags.append("baseline")
    logged.name = "best so far"
    logged.notes = "kept\ntwo lines"
    logged.group = "sweep-1"
    logged.config["lr"] = 0.2
    logged.config["comment"] = {"by": "hand"}
    logged.update()
    for seen in (logged, api.run("run-1")):
        assert (seen.tags, seen.name, seen.notes, seen.group) == (
            ["a", "baseline"],
            "best so far",
            "kept\ntwo lines",
            "sweep-1",
        )
        assert seen.config == {"lr": 0.2, "comment": {"by": "hand"}}
        assert seen.rawconfig == {"lr": 0.2, "comment": {"by": "hand"}, "_internal": 1}
    rows = backend.query("SELECT display_name, tags, notes, config->'lr' FROM stepwell.runs WHERE run = 'run-1'")
    assert [tuple(row) for row in rows] == [("best so far", ["a", "baseline"], "kept\ntwo lines", 0.2)]


def test_update_sends_only_changes(logged: Any, api: stepwell.Api) -> None:
    other = api.run("run-1")
    logged.tags = ["mine"]
    logged.update()
    other.notes = "and this"
    other.update()
    assert (api.run("run-1").tags, api.run("run-1").notes) == (["mine"], "and this")
    other.update()  # nothing remains to be stored


def test_summary_can_be_changed(logged: Any, api: stepwell.Api) -> None:
    summary = logged.summary
    assert summary["nested"]["a"]["b"] == summary["nested.a.b"] == 1
    assert summary.nested.c == 2
    assert summary._json_dict["nested"] == {"a": {"b": 1}, "c": 2}
    assert summary._json_dict["train/loss"] == 0.5
    summary["train/loss"] = 0.25
    summary.update({"test/accuracy": 0.9})
    found = api.run("run-1").summary
    assert (found["train/loss"], found["test/accuracy"]) == (0.25, 0.9)
    with pytest.raises(KeyError):
        summary["nothing"]
    with pytest.raises(AttributeError, match="the summary has no 'nothing'"):
        _ = summary.nothing
    with pytest.raises(UsageError, match="a part of a summary"):
        summary["nested"]["a"] = 1


def test_invalid_value_changes_nothing(logged: Any, api: stepwell.Api) -> None:
    for change in ({"tags": [""]}, {"tags": ["x" * 65]}, {"name": "a\0b"}):
        run = api.run("run-1")
        for name, value in change.items():
            setattr(run, name, value)
        with pytest.raises(DataError):
            run.update()
    assert (api.run("run-1").tags, api.run("run-1").name) == (["a"], "first try")


def test_deleted_run_is_gone(logged: Any, api: stepwell.Api) -> None:
    logged.delete()
    with pytest.raises(CommError, match="there is no run 'run-1'"):
        api.run("run-1")
    with pytest.raises(NotFoundError):
        logged.delete()
    with pytest.raises(NotFoundError):
        logged.summary.update({"a": 1})


def test_run_with_forks_stays(backend: Backend, start_run: StartRun, logged: Any, api: stepwell.Api) -> None:
    start_run(backend.url, run_id="run-2", fork_from="run-1?_step=0").finish()
    with pytest.raises(UsageError, match=r"forks show their points(.|\n)*run-2 is a fork of"):
        logged.delete()
    api.run("run-2").delete()
    logged.delete()


def test_older_names_exist(logged: Any) -> None:
    assert logged.createdAt == logged.created_at
    assert logged.displayName == logged.display_name == "first try"
    assert logged.summaryMetrics == logged.summary_metrics
    assert json.loads(logged.json_config)["lr"] == {"value": 0.1, "desc": None}
    assert logged.user == logged.username
    logged.wait_until_finished()
    with pytest.raises(AbsentNameError, match=r"run\.save"):
        logged.logged_artifacts()
    with pytest.raises(AttributeError, match="a run has no attribute 'nme'"):
        _ = logged.nme


def test_unique_display_name_is_accepted(backend: Backend, start_run: StartRun, logged: Any, api: stepwell.Api) -> None:
    assert api.run("first try").id == "run-1"
    assert len(api.run("first try").history(pandas=False)) == 1
    start_run(backend.url, run_id="run-2", name="first try").finish()
    with pytest.raises(NotFoundError, match="several runs of default/uncategorized have the name 'first try'"):
        api.run("first try")


def test_file_names_cannot_escape_the_directory(api: stepwell.Api, tmp_path: Path) -> None:
    from stepwell.api import File

    file = File(api._client, {"name": "../../escaped", "size": 1, "sha256": "0" * 64, "time": ""})
    with pytest.raises(UsageError, match="leads outside of"):
        file.download(tmp_path / "out")


def test_projects_and_viewer(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    for project in ("one", "two"):
        start_run(backend.url, project=project, run_id=f"of-{project}").finish()
    start_run(backend.url, project="else", entity="other", run_id="of-else").finish()
    assert [project.name for project in api.projects()] == ["two", "one"]
    [project] = api.projects("other")
    assert (project.path, project.runs, project.running) == (["other", "else"], 1, 0)
    assert project.url == f"{backend.url}/other/else"
    assert api.viewer.entity == "default"
    assert api.viewer.username
    api.flush()
    with pytest.raises(AbsentNameError, match="Optuna"):
        api.sweep("x")


def test_mistyped_metric_gets_suggestions(logged: Any, api: stepwell.Api, caplog: pytest.LogCaptureFixture) -> None:
    for read in (
        lambda: logged.history(keys=["train/los"]),
        lambda: list(logged.scan_history(keys=["train/los"])),
        lambda: logged.series("train/los"),
    ):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert not len(getattr(found := read(), "values", found))
        assert "run default/uncategorized/run-1 has never logged 'train/los'; similar names: train/loss" in caplog.text
    caplog.clear()
    logged.history(keys=["train/loss"])
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert not api.runs("default/uncategorized", {"summary_metrics.train/los": 1})
    assert (
        "no run of default/uncategorized has summary_metrics.train/los; similar names: summary_metrics.train/loss"
        in (caplog.text)
    )
