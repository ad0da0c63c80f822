"""`init` as scripts use it: arguments, settings objects, files, environment, an active run, libraries."""

from __future__ import annotations

import argparse
import datetime
import importlib
import inspect
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.programs import script
from fixtures.server import Backend
from stepwell import testing
from stepwell.errors import SettingError, UsageError
from stepwell.spool import Spool

ABOUT = "SELECT run, display_name, notes, tags, run_group, job_type, config FROM stepwell.runs ORDER BY created_at"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in os.environ:
        if name.startswith(("STEPWELL_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    yield
    stepwell.finish()


def offline(**more: Any) -> stepwell.Run:
    return stepwell.init("mnist", mode="offline", **more)


@pytest.mark.db
def test_all_arguments_are_stored(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "config-defaults.yaml").write_text("seed: 1\nlr: 5\n")
    run = stepwell.init(
        project="mnist",
        entity="team",
        id="run-1",
        name="first",
        notes="n",
        tags=["a", "b"],
        group="g",
        job_type="train",
        config=argparse.Namespace(lr=0.1, secret="x"),
        config_exclude_keys=["secret"],
        settings=stepwell.Settings(url=backend.url),
        force=True,
        anonymous="allow",
    )
    assert (run.name, run.notes, run.tags, run.group, run.job_type) == ("first", "n", ("a", "b"), "g", "train")
    assert (run.path, run.project_name(), run.offline, run.disabled) == ("team/mnist/run-1", "mnist", False, False)
    assert run.url == run.get_url() == f"{backend.url}/team/mnist/runs/run-1"
    run.finish()
    config = {"lr": 0.1, "seed": 1}
    assert backend.query(ABOUT) == [("run-1", "first", "n", ["a", "b"], "g", "train", config)]


def test_init_accepts_every_wandb_argument() -> None:
    of_wandb = (
        "entity project dir id name notes tags config config_exclude_keys config_include_keys allow_val_change group "
        "job_type mode force reinit resume resume_from fork_from save_code tensorboard sync_tensorboard monitor_gym "
        "settings anonymous"
    )
    assert set(of_wandb.split()) <= inspect.signature(stepwell.init).parameters.keys()


@pytest.mark.db
def test_wandb_environment_is_understood(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WANDB_PROJECT": "mnist",
        "WANDB_RUN_ID": "run-7",
        "WANDB_NAME": "seventh",
        "WANDB_TAGS": "a,b",
        "WANDB_RUN_GROUP": "g",
        "WANDB_BASE_URL": "https://elsewhere",
        "WANDB_API_KEY": "x" * 40,
        "STEPWELL_URL": backend.url,
    }.items():
        monkeypatch.setenv(name, value)
    stepwell.init().log({"a": 1})
    stepwell.finish()
    assert backend.query(ABOUT) == [("run-7", "seventh", None, ["a", "b"], "g", None, {})]


class Shell:
    """A stand-in for IPython's shell, in a notebook or a terminal."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


@pytest.mark.parametrize(
    ("shell", "given", "allowed"),
    [
        (Shell(kernel="a kernel"), None, True),
        (Shell(kernel="a kernel"), False, False),
        (Shell(), None, False),
        (None, None, False),
        (None, True, True),
    ],
)
def test_config_may_change_in_notebooks(
    monkeypatch: pytest.MonkeyPatch, shell: Any, given: bool | None, allowed: bool
) -> None:
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]  # a module takes any attribute
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    run = offline(config={"lr": 1}, allow_val_change=given)
    if allowed:
        run.config.lr = 2
    else:
        with pytest.raises(stepwell.ConfigError):
            run.config.lr = 2
    assert run.config.lr == 1 + allowed


@pytest.mark.parametrize("reinit", [None, False, "default", "return_previous"])
def test_second_init_returns_the_active_run(reinit: Any) -> None:
    first = offline()
    assert offline(reinit=reinit) is first is stepwell.run


@pytest.mark.parametrize("reinit", [True, "finish_previous"])
def test_second_init_may_finish_the_active_run(reinit: Any) -> None:
    first = offline()
    second = offline(reinit=reinit)
    assert stepwell.run is second
    with pytest.raises(UsageError, match=f"run {first.id} is finished"):
        first.log({"a": 1})


def test_runs_may_be_concurrent() -> None:
    first = offline()
    second = offline(reinit="create_new")
    assert (stepwell.run is first, first.id == second.id) == (True, False)
    first.log({"a": 1})
    second.log({"b": 1})
    second.finish()
    assert (stepwell.run is first, first.summary.keys()[0]) == (True, "a")


def test_invalid_second_init_keeps_the_active_run() -> None:
    first = offline()
    with pytest.raises(SettingError, match="reinit must be one of default, return_previous, finish_previous, create"):
        offline(reinit="please")
    with pytest.raises(UsageError, match="invalid project 'a/b'"):
        stepwell.init("a/b", reinit="finish_previous")
    assert stepwell.run is first


def test_settings_objects_and_arguments(caplog: pytest.LogCaptureFixture) -> None:
    made = stepwell.Settings(run_id="run-1", mode="offline", start_method="fork", _disable_stats=True, project="other")
    run = stepwell.init("mnist", settings=made)
    assert (run.id, run.project, run.settings.mode) == ("run-1", "mnist", "offline")
    assert caplog.messages == ["settings without a meaning in Stepwell are ignored: _disable_stats, start_method"]
    run.finish()
    assert stepwell.init(settings={"mode": "disabled", "silent": True}).disabled
    stepwell.finish()
    with pytest.raises(SettingError, match=r"settings must be stepwell\.Settings or a dict"):
        stepwell.init(settings=5)  # type: ignore[arg-type]


def test_ineffective_arguments_give_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    offline(monitor_gym=True, save_code=False)
    assert caplog.messages == [
        "init(monitor_gym=True) has no effect in Stepwell, which logs only what is passed to log()"
    ]


def test_unknown_run_attributes_cannot_be_set() -> None:
    run = offline()
    with pytest.raises(UsageError, match="a run has no attribute 'note' that can be set"):
        run.note = "x"  # type: ignore[attr-defined]
    for name in ("id", "project", "path", "step", "group", "url", "settings"):
        with pytest.raises(AttributeError):
            setattr(run, name, "x")
    seen: list[Any] = []
    run.log = seen.append  # type: ignore[method-assign,assignment]  # as libraries do that listen in
    run.log({"a": 1})
    assert seen == [{"a": 1}]
    run.summary = {"a": 1}  # type: ignore[assignment]
    assert run.summary["a"] == 1


def test_run_dir_is_created_on_access(tmp_path: Path) -> None:
    run = offline(id="run-1")
    assert not (tmp_path / ".stepwell" / "files").exists()
    assert Path(run.dir) == tmp_path / ".stepwell" / "files" / "run-1"
    assert Path(run.dir).is_dir()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"level": "FATAL"}, "the level of an alert must be INFO, WARN or ERROR"),
        ({"wait_duration": "soon"}, "wait_duration must be a timedelta or a number of seconds, 0 or more"),
        ({"wait_duration": -1}, "wait_duration must be a timedelta or a number of seconds, 0 or more"),
        ({"wait_duration": 10**400}, "wait_duration must be a timedelta or a number of seconds, 0 or more"),
        ({"wait_duration": float("nan")}, "wait_duration must be a timedelta or a number of seconds, 0 or more"),
    ],
)
def test_invalid_alert_is_refused(arguments: dict[str, Any], text: str) -> None:
    offline()
    for kind in (TypeError, ValueError):
        with pytest.raises(kind, match=text):
            stepwell.alert("title", **arguments)


def test_long_alert_title_is_kept() -> None:
    with testing.capture() as logged:
        stepwell.init().alert("x" * 65, wait_duration=datetime.timedelta(minutes=1))
    assert logged.alerts == [{"title": "x" * 65, "text": "", "level": "INFO", "wait_duration_s": 60}]


@pytest.mark.db
def test_preemption_is_a_note(backend: Backend) -> None:
    run = stepwell.init(id="run-1", url=backend.url)
    run.mark_preempting()
    run.finish()
    rows = backend.query("SELECT value FROM stepwell.note WHERE kind = 'system' AND value ? 'preempting'")
    assert rows == [({"preempting": True},)]


def test_with_block_finishes_and_propagates() -> None:
    with testing.capture(), pytest.raises(ZeroDivisionError), stepwell.init() as run:
        assert stepwell.run is run
        1 / 0  # noqa: B018 - that is what users do
    assert (stepwell.run, run._life.state.exit_code) == (None, 1)


def test_older_script_calls_exist() -> None:
    assert stepwell.login(key="x" * 40)
    stepwell.setup()
    stepwell.ensure_configured()
    stepwell.teardown()
    assert len(stepwell.util.generate_id()) == 8


@pytest.fixture
def as_wandb() -> Iterator[Any]:
    """Imports wandb like a library does."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "wandb"}
    for name in before:
        del sys.modules[name]
    stepwell.install_as_wandb()
    yield importlib.import_module("wandb")
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.db
def test_library_importing_wandb_gets_stepwell(
    as_wandb: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calls of the Transformers trainer and of Lightning's logger."""
    wandb = as_wandb
    monkeypatch.setenv("STEPWELL_URL", backend.url)
    assert importlib.util.find_spec("wandb") is not None
    assert wandb.__version__ >= "0.12.10"
    assert importlib.import_module("wandb.sdk.lib.config_util").ConfigError is stepwell.ConfigError
    assert importlib.import_module("wandb.errors").CommError is stepwell.CommError
    run_class = importlib.import_module("wandb.wandb_run").Run
    disabled_class = importlib.import_module("wandb.sdk.lib").RunDisabled
    assert wandb.run is None
    wandb.init(project=os.getenv("WANDB_PROJECT", "huggingface"), name="bert", id="run-1", resume=None)
    assert isinstance(wandb.run, (run_class, disabled_class))
    wandb.config.update({"lr": 1, "output_dir": Path("out")}, allow_val_change=True)
    wandb.config["model/num_parameters"] = 5
    wandb.run._label(code="transformers_trainer")
    wandb.define_metric("train/global_step")
    wandb.define_metric("*", step_metric="train/global_step", step_sync=True)
    wandb.log({"train/loss": 0.5, "train/global_step": 10})
    wandb.log({"eval/loss": 0.25})
    wandb.run.summary["train/total_flos"] = 7
    wandb.finish()
    with pytest.raises(wandb.Error, match=r"You must call wandb.init\(\) before wandb.log\(\)"):
        wandb.log({})
    config = {"lr": 1, "output_dir": "out", "model/num_parameters": 5}
    assert backend.query(ABOUT) == [("run-1", "bert", None, [], None, None, config)]
    assert ("0", "train/global_step", 1, 10.0) in backend.points("run-1")
    assert backend.query("SELECT value FROM stepwell.summary WHERE key = 'train/total_flos'") == [(7,)]


def test_stand_in_is_idempotent_and_spares_real_wandb(as_wandb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stepwell.install_as_wandb()
    assert sys.modules["wandb"] is as_wandb
    monkeypatch.setitem(sys.modules, "wandb", importlib.import_module("json"))
    with pytest.raises(UsageError, match="W&B's client is imported already"):
        stepwell.install_as_wandb()


@pytest.mark.db
def test_wandb_script_runs_unchanged(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        import stepwell as wandb
        os.environ.update(STEPWELL_URL=sys.argv[1], WANDB_DIR=sys.argv[2], WANDB_SILENT="true")
        wandb.login()
        with wandb.init(project="mnist", id="run-1", config={"epochs": 3}, tags=["baseline"]) as run:
            wandb.define_metric("acc", summary="max")
            for epoch in range(wandb.config.epochs):
                wandb.log({"acc": [0.2, 0.9, 0.5][epoch], "epoch": epoch})
            wandb.run.summary["best"] = max(run.summary["acc"].values())
        """,
        backend.url,
        tmp_path,
    )
    found = dict(backend.query("SELECT key, value FROM stepwell.summary"))
    assert (found["acc"], found["epoch"], found["best"], found["_step"]) == ({"max": 0.9}, 2, 0.9, 2)


def test_chdir_after_init_changes_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run = offline(id="run-1")
    monkeypatch.chdir(elsewhere)
    run.log({"a": 1})
    Path(run.dir, "notes.txt").write_text("kept")
    run.finish()
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / ".stepwell" / "files" / "run-1" / "notes.txt").read_text() == "kept"
    assert run.settings.dir == tmp_path / ".stepwell"
    (spool,) = Spool.discover(tmp_path / ".stepwell")
    assert str(spool) == run.spool_directory


def test_tilde_in_dir_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STEPWELL_DIR", "~/spools")
    run = stepwell.init(mode="offline")
    run.finish()
    assert run.settings.dir == tmp_path / "home" / "spools"
    assert not (tmp_path / "~").exists()
