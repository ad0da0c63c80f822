"""Names that W&B's client has and Stepwell does not, such as artifacts and sweeps. Each raises an error with a hint.

Off the data path. Libraries look up `wandb.Artifact` and call it only when they are asked to keep models, so such names
exist, and the call raises UsageError: the program fails at once instead of missing a file a month later. Other names
are missing (`hasattr` is False), and the AttributeError or ImportError says what to use instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from stepwell.compat import names
from stepwell.errors import AbsentModuleError, AbsentNameError, UsageError

_ARTIFACTS = "Stepwell keeps no artifacts"
_SWEEPS = "Stepwell has no sweeps"


def absent_name(owner: str, name: str, instead: Mapping[str, str], thing: object = None) -> AttributeError:
    """The error for a missing attribute.

    Args:
        owner: the name of the object in messages, as in "wandb.util".
        name: the name of the attribute.
        instead: hints by name.
        thing: the object; Python suggests its similar names.
    """
    hint = instead.get(name)
    if hint is None:
        return AttributeError(f"{owner} has no attribute {name!r}", name=name, obj=thing)
    return AbsentNameError(f"Stepwell has no {name!r} in {owner}", hint=hint)


def absent_module(path: str) -> AbsentModuleError | None:
    """The error for an import below `wandb`; None: the module is unknown.

    Args:
        path: dotted, without "wandb."
    """
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        hint = names.MODULE.get(".".join(parts[:end]))
        if hint is not None:
            return AbsentModuleError(f"wandb.{path} is not in Stepwell", hint=hint)
    return None


def _refusing(what: str, why: str, hint: str) -> Callable[..., NoReturn]:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise UsageError(f"{what}: {why}", hint=hint)

    refuse.__doc__ = f"Raises UsageError: {why}."
    return refuse


class _Missing:
    """An attribute that is missing (`hasattr` is False), with a hint.

    A descriptor, because a `__getattr__` of `Run` would make each `log()` a tenth slower: Python does not specialize
    look-ups in classes that have one.
    """

    def __init__(self, owner: str, name: str, instead: Mapping[str, str]) -> None:
        self._of = (owner, name, instead)

    def __get__(self, thing: object, kind: type | None = None) -> NoReturn:
        raise absent_name(*self._of, thing)


class AbsentOfRun:
    """Methods of a run that raise UsageError, and hints for missing names."""

    log_artifact = _refusing("run.log_artifact()", _ARTIFACTS, names.NO_ARTIFACTS)
    upsert_artifact = _refusing("run.upsert_artifact()", _ARTIFACTS, names.NO_ARTIFACTS)
    finish_artifact = _refusing("run.finish_artifact()", _ARTIFACTS, names.NO_ARTIFACTS)
    use_artifact = _refusing("run.use_artifact()", _ARTIFACTS, names.NO_ARTIFACTS)
    link_artifact = _refusing("run.link_artifact()", _ARTIFACTS, names.NO_ARTIFACTS)
    log_model = _refusing("run.log_model()", _ARTIFACTS, names.NO_ARTIFACTS)
    use_model = _refusing("run.use_model()", _ARTIFACTS, names.NO_ARTIFACTS)
    link_model = _refusing("run.link_model()", _ARTIFACTS, names.NO_ARTIFACTS)
    log_code = _refusing("run.log_code()", _ARTIFACTS, names.NO_CODE)
    status = _refusing("run.status()", "no such method", names.NO_STATUS)
    write_logs = _refusing("run.write_logs()", "no such method", names.NO_WRITE_LOGS)


for _name in names.RUN.keys() - vars(AbsentOfRun).keys():
    setattr(AbsentOfRun, _name, _Missing("run", _name, names.RUN))


class Artifact:
    """Raises UsageError. A class, so that `isinstance(value, wandb.Artifact)` works."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise UsageError(f"wandb.Artifact(): {_ARTIFACTS}", hint=names.NO_ARTIFACTS)


#: The names of the module that raise UsageError when they are called.
REFUSED: Mapping[str, Any] = {
    "Artifact": Artifact,
    **{
        name: _refusing(f"wandb.{name}()", _ARTIFACTS, names.NO_ARTIFACTS)
        for name in ("log_artifact", "use_artifact", "log_model", "use_model", "link_model")
    },
    **{name: _refusing(f"wandb.{name}()", _SWEEPS, names.NO_SWEEPS) for name in ("sweep", "agent", "controller")},
}
