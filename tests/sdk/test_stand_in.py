"""Standing in for wandb: its modules, the version of the distribution, and missing names.

Each test is a separate process, because `import wandb` cannot be undone.
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


def test_importlib_reports_the_stand_in_version() -> None:
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
        assert sum(type(finder).__module__ == "stepwell.compat.finder" for finder in sys.meta_path) == 1
        del sys.modules["wandb"]
        assert util.find_spec("wandb") is None
        try:
            metadata.version("wandb")
            sys.exit("nothing stands in, and yet there is a version")
        except metadata.PackageNotFoundError:
            pass
        """
    )


def test_stand_in_modules_are_lazy() -> None:
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


def test_keras_callbacks_report_missing_keras() -> None:
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
def test_missing_names_give_advice(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^wandb\.{name}\(\): Stepwell (keeps no artifacts|has no sweeps)") as caught:
        getattr(stepwell, name)("anything", aliases=["latest"])
    assert caught.value.hint


def test_artifacts_cannot_be_created() -> None:
    assert not isinstance("a path", stepwell.Artifact)
    with pytest.raises(UsageError, match="log_model=False"):
        stepwell.Artifact(name="model", type="model")


@pytest.mark.parametrize("name", ABSENT_OF_A_RUN)
def test_missing_run_methods_give_advice(name: str) -> None:
    with (
        stepwell.init(mode="disabled") as run,
        pytest.raises(UsageError, match=rf"^run\.{name}\(\): Stepwell keeps no artifacts"),
    ):
        getattr(run, name)("anything")


@pytest.mark.parametrize(("name", "instead"), [("status", "run.stats"), ("write_logs", r"print\(\)")])
def test_minor_missing_run_methods_are_reported(name: str, instead: str) -> None:
    with stepwell.init(mode="disabled") as run, pytest.raises(UsageError, match=rf"^run\.{name}\(\): (.|\n)*{instead}"):
        getattr(run, name)("anything")


def test_generated_id_needs_no_request() -> None:
    """`resume="allow"` is the default of Lightning's logger; without an id, no server can know the run."""
    assert resolve({}, resume="allow").start == Start()
    assert resolve({}, resume="allow", run_id="x").start == Start(resume="allow")
    assert resolve({"STEPWELL_RUN_ID": "x"}, resume="allow").start.needs_answer
    assert resolve({"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "2"}, resume="allow").start.needs_answer
    assert resolve({}, resume="must").start.needs_answer
