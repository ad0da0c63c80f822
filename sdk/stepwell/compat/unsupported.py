"""What W&B's client has and Stepwell has not: artifacts, sweeps and some more.

Each use is an error that says what to do instead.

Beside the data's way. Libraries look these names up (`wandb.Artifact`) and call them only when they are asked to keep
models or to search hyperparameters; so the names are there, and who uses one learns of it at once, not from a file that
is missing a month later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from stepwell.errors import UsageError

T = TypeVar("T")

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


_NO_CODE = (
    "Stepwell keeps no artifacts",
    "init(save_code=True) keeps the program's main file, run.save('**/*.py', policy='now') more of them",
)

#: The methods of W&B's runs that are not supported: why, and what to use instead.
_RUN_METHODS = {
    **dict.fromkeys(
        ("log_artifact", "upsert_artifact", "finish_artifact", "use_artifact", "link_artifact"), _NO_ARTIFACTS
    ),
    **dict.fromkeys(("log_model", "use_model", "link_model"), _NO_ARTIFACTS),
    "log_code": _NO_CODE,
    "restore": _NO_RESTORE,
    "file": _NO_RESTORE,
    "status": _NO_STATUS,
    "write_logs": _NO_WRITE_LOGS,
}


def refuses_unsupported(cls: type[T]) -> type[T]:
    """Gives a class the methods of W&B's runs that are not supported; calling one raises UsageError.

    As attributes of the class: a `__getattr__` would slow `log()` down by a tenth.
    """
    for name, why in _RUN_METHODS.items():
        setattr(cls, name, _refusing(f"run.{name}()", why))
    return cls


def _refusing(what: str, why: tuple[str, str]) -> Callable[..., NoReturn]:
    def method(self: object, *_: Any, **__: Any) -> NoReturn:
        _refuse(what, why)

    return method


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
