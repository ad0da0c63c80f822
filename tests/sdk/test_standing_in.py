"""Standing in for wandb, as libraries look for it: modules, the version of the distribution, and what is not there.

Each test is a process of its own: what `import wandb` gives cannot be taken back.
"""

from __future__ import annotations

import pytest

import stepwell
from fixtures.programs import script
from stepwell.errors import UsageError
from stepwell.settings import Start, resolve

ABSENT = ["log_artifact", "use_artifact", "log_model", "use_model", "link_model", "sweep", "agent", "controller"]
ABSENT_OF_A_RUN = ["log_artifact", "upsert_artifact", "finish_artifact", "use_artifact", "link_artifact"]
ABSENT_OF_A_RUN += ["log_model", "use_model", "link_model"]


def test_importlib_knows_the_version_that_stands_in_while_it_does() -> None:
    script(
        """
        from importlib import metadata, util
        try:
            metadata.version("wandb")
            sys.exit("there is a real one here")
        except metadata.PackageNotFoundError:
            pass
        stepwell.install_as_wandb()
        import wandb
        assert metadata.version("wandb") == wandb.__version__ == "0.19.11"
        assert metadata.metadata("wandb")["Name"] == "wandb"
        assert util.find_spec("wandb") is wandb.__spec__
        assert "wandb" not in [found.name for found in metadata.distributions()]
        assert metadata.version("numpy") and metadata.requires("wandb") is None
        stepwell.install_as_wandb()
        del sys.modules["wandb"]
        stepwell.install_as_wandb()
        assert sum(type(finder).__module__ == "stepwell.compat.stand_in" for finder in sys.meta_path) == 1
        del sys.modules["wandb"]
        assert util.find_spec("wandb") is None
        try:
            metadata.version("wandb")
            sys.exit("nothing stands in, and yet there is a version")
        except metadata.PackageNotFoundError:
            pass
        """
    )


def test_modules_that_libraries_import_are_there_and_heavy_ones_come_when_they_are_used() -> None:
    script(
        """
        stepwell.install_as_wandb()
        import wandb.data_types, wandb.plot, wandb.integration.keras, wandb.keras
        from wandb.sdk.wandb_run import Run
        assert Run is stepwell.Run
        assert {"stepwell.data_types._media", "stepwell.integration.keras"}.isdisjoint(sys.modules)
        from wandb.data_types import Image, Table
        from wandb.plot import line
        assert (Image, Table, line) == (stepwell.Image, stepwell.Table, stepwell.plot.line)
        assert wandb.require("service") is None
        try:
            import wandb.never_heard_of
            sys.exit("that is no module")
        except ModuleNotFoundError as error:
            assert error.name == "wandb.never_heard_of"
        """
    )


def test_without_keras_its_callbacks_say_that_it_is_missing() -> None:
    script(
        """
        sys.modules["keras"] = None  # as if it were not installed
        stepwell.install_as_wandb()
        try:
            from wandb.integration.keras import WandbMetricsLogger
            sys.exit("imported without keras")
        except ModuleNotFoundError as error:
            assert error.name == "keras", error
        """
    )


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_not_there_says_what_to_do_instead(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^wandb\.{name}\(\): Stepwell (keeps no artifacts|has no sweeps)") as caught:
        getattr(stepwell, name)("anything", aliases=["latest"])
    assert caught.value.hint


def test_an_artifact_cannot_be_made_but_asked_for() -> None:
    assert not isinstance("a path", stepwell.Artifact)
    with pytest.raises(UsageError, match="log_model=False"):
        stepwell.Artifact(name="model", type="model")


@pytest.mark.parametrize("name", ABSENT_OF_A_RUN)
def test_what_a_run_has_not_says_what_to_do_instead(name: str) -> None:
    with (
        stepwell.init(mode="disabled") as run,
        pytest.raises(UsageError, match=rf"^run\.{name}\(\): Stepwell keeps no artifacts"),
    ):
        getattr(run, name)("anything")


@pytest.mark.parametrize(("name", "instead"), [("status", "run.stats"), ("write_logs", r"print\(\)")])
def test_smaller_things_that_a_run_has_not_say_so_too(name: str, instead: str) -> None:
    with stepwell.init(mode="disabled") as run, pytest.raises(UsageError, match=rf"^run\.{name}\(\): (.|\n)*{instead}"):
        getattr(run, name)("anything")


def test_an_id_that_is_made_up_need_not_be_asked_for() -> None:
    """`resume="allow"` is the default of Lightning's logger; without an id, no server can know the run."""
    assert resolve({}, resume="allow").start == Start()
    assert resolve({}, resume="allow", run_id="x").start == Start(resume="allow")
    assert resolve({"STEPWELL_RUN_ID": "x"}, resume="allow").start.needs_answer
    assert resolve({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}, resume="allow").start.needs_answer
    assert resolve({}, resume="must").start.needs_answer
