"""What W&B's client has and Stepwell has not: artifacts, sweeps and some more.

Each use is an error that says what to do instead.

Beside the data's way. Libraries look these names up (`wandb.Artifact`) and call them only when they are asked to keep
models or to search hyperparameters; so the names are there, and who uses one learns of it at once, not from a file that
is missing a month later.
"""

from __future__ import annotations

from typing import Any, NoReturn

from stepwell.errors import UsageError

_NO_ARTIFACTS = (
    "Stepwell keeps no artifacts",
    "run.save(path) keeps files; or leave models where checkpoints go, and log the path. In Lightning log_model=False, "
    "in Transformers WANDB_LOG_MODEL=false, in diffusers and others likewise",
)
_NO_SWEEPS = (
    "Stepwell has no sweeps",
    "search with Optuna or Ray Tune, one init(group=…) a trial, and compare the runs with SQL",
)
_NO_RESTORE = (
    "files do not come back by themselves",
    "the view stepwell.files names what run.save kept, GET /v1/blobs/{sha256} gives it",
)
_NO_STATUS = ("there is none of this name", "run.stats and run.account count what is on its way and what is stored")
_NO_WRITE_LOGS = ("there is none of this name", "print(): what goes to sys.stdout is kept with the run")


class Absent:
    """The methods of a run that are not there. All raise UsageError."""

    def log_artifact(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.log_artifact()", _NO_ARTIFACTS)

    def upsert_artifact(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.upsert_artifact()", _NO_ARTIFACTS)

    def finish_artifact(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.finish_artifact()", _NO_ARTIFACTS)

    def use_artifact(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.use_artifact()", _NO_ARTIFACTS)

    def link_artifact(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.link_artifact()", _NO_ARTIFACTS)

    def log_model(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.log_model()", _NO_ARTIFACTS)

    def use_model(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.use_model()", _NO_ARTIFACTS)

    def link_model(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.link_model()", _NO_ARTIFACTS)

    def restore(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.restore()", _NO_RESTORE)

    def file(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.file()", _NO_RESTORE)

    def status(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.status()", _NO_STATUS)

    def write_logs(self, *_: Any, **__: Any) -> NoReturn:
        _refuse("run.write_logs()", _NO_WRITE_LOGS)

    def _label(self, *_: Any, **__: Any) -> None:
        """Integrations tell W&B here which library uses it. Nobody needs to know."""


class Artifact:
    """Raises UsageError. A class, so that `isinstance(value, wandb.Artifact)` can be asked."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("wandb.Artifact()", _NO_ARTIFACTS)


def log_artifact(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.log_artifact()", _NO_ARTIFACTS)


def use_artifact(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.use_artifact()", _NO_ARTIFACTS)


def log_model(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.log_model()", _NO_ARTIFACTS)


def use_model(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.use_model()", _NO_ARTIFACTS)


def link_model(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.link_model()", _NO_ARTIFACTS)


def restore(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.restore()", _NO_RESTORE)


def sweep(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.sweep()", _NO_SWEEPS)


def agent(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.agent()", _NO_SWEEPS)


def controller(*_: Any, **__: Any) -> NoReturn:
    """Raises UsageError."""
    _refuse("wandb.controller()", _NO_SWEEPS)


#: The names of W&B's module that are here.
NAMES = frozenset(
    {
        *("Artifact", "log_artifact", "use_artifact", "log_model", "use_model", "link_model", "restore"),
        *("sweep", "agent", "controller"),
    }
)


def _refuse(what: str, why: tuple[str, str]) -> NoReturn:
    reason, hint = why
    raise UsageError(f"{what}: {reason}", hint=hint)
