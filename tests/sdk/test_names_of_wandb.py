"""Names of W&B's client that public scripts use: each exists, or its error names a replacement."""

from __future__ import annotations

import re

import pytest

import stepwell
import stepwell as wandb
from fixtures.programs import script
from stepwell.compat import names
from stepwell.errors import AbsentModuleError, AbsentNameError, UsageError
from stepwell.testing import capture

THERE = [
    *("Api", "Artifact", "Classes", "Config", "Histogram", "Settings", "agent", "alert", "api.Api", "config"),
    *("apis.PublicApi", "apis.public.Api", "apis.public.Run", "apis.public.Runs", "data_types.Image"),
    *("errors.CommError", "errors.Error", "errors.UsageError", "errors.term.termlog", "errors.term.termwarn"),
    *("finish", "init", "integration.sklearn.plot_roc", "join", "login", "mark_preempting", "plot.pr_curve"),
    *("sdk.data_types.image.Image", "sdk.lib.RunDisabled", "sdk.lib.runid.generate_id", "sdk.wandb_run.Run"),
    *(
        "sdk.wandb_config.Config",
        "sdk.wandb_settings.Settings",
        "sdk.Settings",
        "setup",
        "sklearn.plot_roc",
        "tensorboard.patch",
    ),
    *("termlog", "termwarn", "util.generate_id", "util.get_module", "wandb_run.Run"),
]


@pytest.mark.parametrize("path", THERE)
def test_names_exist(path: str) -> None:
    thing = wandb
    for name in path.split("."):
        thing = getattr(thing, name)
    assert thing is not None


def test_names_exist_in_wandb() -> None:
    modules = sorted({path.rpartition(".")[0] for path in THERE} - {""})
    lines = [f"import wandb.{module}" for module in modules] + [f"assert wandb.{path} is not None" for path in THERE]
    script("stepwell.install_as_wandb()\nimport wandb\n" + "\n".join(lines))


@pytest.mark.parametrize("path", sorted(names.MODULE))
def test_missing_names_name_a_replacement(path: str) -> None:
    thing = wandb
    *parents, last = path.split(".")
    for name in parents:
        thing = getattr(thing, name)
    assert not hasattr(thing, last)
    if parents != ["api"] and parents != ["plot"]:
        with pytest.raises(AbsentNameError, match=re.escape(names.MODULE[path])):
            getattr(thing, last)


def test_missing_imports_name_a_replacement() -> None:
    done = script(
        """
        stepwell.install_as_wandb()
        for line in (
            "import wandb.plots",
            "from wandb import Graph",
            "from wandb import plots",
            "from wandb.integration.diffusers import autolog",
            "from wandb.integration.ultralytics import add_wandb_callback",
            "import wandb.env",
            "from wandb.sdk.artifacts.artifact import Artifact",
        ):
            try:
                exec(line)
                sys.exit(f"{line!r} did not raise")
            except ImportError as error:
                print(error)
        """
    )
    assert done.stdout.count("is not in Stepwell\n  Hint: ") == 7
    assert "wandb.plot has the charts" in done.stdout
    assert "Ultralytics logs automatically after stepwell.install_as_wandb()" in done.stdout


def test_optional_imports_fail_cleanly() -> None:
    script(
        """
        stepwell.install_as_wandb()
        try:
            import wandb.plots
        except ImportError:
            plots = None
        assert plots is None
        import wandb
        assert getattr(wandb, "JoinedTable", None) is None and not hasattr(wandb, "env")
        """
    )


def test_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="module 'stepwell' has no attribute 'logg'") as caught:
        _ = wandb.logg
    assert not isinstance(caught.value, AbsentNameError)
    assert (caught.value.name, caught.value.obj) == ("logg", wandb)  # the source of Python's suggestions
    with pytest.raises(AttributeError, match=r"wandb\.sdk has no attribute 'logg'"):
        _ = wandb.sdk.logg


def test_version_is_a_wandb_version() -> None:
    from packaging.version import Version

    assert Version("0.12.10") < Version("0.19.11") < Version(wandb.__version__) < Version("0.20")
    assert wandb.__version__.endswith(f"+stepwell.{stepwell.VERSION}")
    assert tuple(int(part) for part in wandb.__version__.split(".")[:2]) == (0, 19)


def test_util_hints() -> None:
    assert len(wandb.util.generate_id()) == 8
    assert len(wandb.util.generate_id(12)) == 12
    assert wandb.util.get_module("json").__name__ == "json"
    assert wandb.util.get_module("never_heard_of") is None
    with pytest.raises(ImportError, match="please install it"):
        wandb.util.get_module("never_heard_of", required="please install it")
    with pytest.raises(AbsentNameError, match=r"Stepwell has no 'to_json' in wandb\.util\n  Hint: json\.dumps"):
        _ = wandb.util.to_json


def test_run_has_older_names() -> None:
    with capture():
        run = wandb.init(project="p", id="r", url="http://host:1", mode="online")
        assert (run.sweep_id, run.sweep_url, run.get_sweep_url()) == (None, None, None)
        assert run.get_project_url() == run.project_url == "http://host:1/default/p"
        run.name = "<first>"
        link = '<a href="http://host:1/default/p/runs/r" target="_blank" rel="noopener">&lt;first&gt;</a>'
        assert run.to_html(height=99, hidden=True) == run._repr_html_() == f"<p>Run {link} of default/p</p>"
        assert run.display() is False  # this is not a notebook
        run.join()
        with pytest.raises(UsageError, match="is finished"):
            run.log({"a": 1})


@pytest.mark.parametrize("name", sorted(names.RUN.keys() - {"status", "write_logs"}))
def test_missing_run_names_name_a_replacement(name: str) -> None:
    with wandb.init(mode="disabled") as run:
        assert not hasattr(run, name)
        with pytest.raises(AbsentNameError, match=re.escape(names.RUN[name])):
            getattr(run, name)


def test_typo_on_a_run_is_an_attribute_error() -> None:
    with (
        wandb.init(mode="disabled") as run,
        pytest.raises(AttributeError, match="'Run' object has no attribute 'sumary'"),
    ):
        _ = run.sumary


def test_run_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    wandb.init(mode="disabled").finish(0, quiet=True)
    wandb.init(mode="disabled")
    wandb.finish(quiet=True)
    wandb.join()  # there is nothing left to finish
    assert capsys.readouterr().err == ""


def test_terminal_lines_have_a_prefix(capsys: pytest.CaptureFixture[str]) -> None:
    wandb.errors.term.termsetup(None, None)
    wandb.termlog("one")
    wandb.termwarn("two", repeat=False)
    wandb.termerror("three", newline=False)
    assert capsys.readouterr().err == "stepwell: one\nstepwell: two\nstepwell: three"


def test_errors_have_the_expected_base_classes() -> None:
    assert issubclass(AbsentNameError, AttributeError)
    assert issubclass(AbsentModuleError, ImportError)
    assert issubclass(AbsentNameError, wandb.UsageError)
