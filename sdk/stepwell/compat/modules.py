"""The modules below `wandb` that programs import or inspect, each mapped to names of Stepwell.

Used twice: `stand_in.install_as_wandb` puts them into `sys.modules`, and `stepwell.__getattr__` returns the top-level
ones to programs that say `import stepwell as wandb` and use `wandb.sdk`. Heavy modules are imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from stepwell import errors
from stepwell.compat import names, util
from stepwell.compat.absent import absent_name
from stepwell.errors import term

#: The version that libraries compare with the oldest version of W&B's client that they support.
WANDB_VERSION = "0.19.11"


class StandIn(ModuleType):
    """A module with the names of another object, which also raises the errors for missing ones.

    Args:
        name: the dotted name of the module.
        names: the object with the names.
        more: names that take precedence.
    """

    def __init__(self, name: str, names: Any, **more: Any) -> None:
        super().__init__(name, f"Stepwell, in the place of {name}.")
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self._names = names
        self.__dict__.update(more)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return getattr(self._names, name)
        except AttributeError as error:
            if isinstance(error, errors.Error) or self.__name__ == "wandb":
                raise
            inside = self.__name__.partition(".")[2]
            below = {
                path.removeprefix(f"{inside}."): hint
                for path, hint in names.MODULE.items()
                if path.startswith(f"{inside}.")
            }
            raise absent_name(self.__name__, name, below) from None


class Later:
    """The names of a module that is imported when one of them is used.

    Args:
        module: the name of the module.
        renamed: other names for names of the module.
    """

    def __init__(self, module: str, **renamed: str) -> None:
        self._module = module
        self._renamed = renamed

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), self._renamed.get(name, name))


_MEDIA = Later("stepwell.data_types")
_API = Later("stepwell.api")
_KERAS = Later("stepwell.integration.keras")
_LIGHTGBM = Later("stepwell.integration.lightgbm")
_SKLEARN = Later("stepwell.integration.sklearn")
_TENSORBOARD = Later("stepwell.integration.tensorboard")
_XGBOOST = Later("stepwell.integration.xgboost")

#: Top-level modules that are not packages of Stepwell, so that `import stepwell as wandb` reaches them, too.
OUTERMOST = ("apis", "keras", "lightgbm", "sdk", "sklearn", "tensorboard", "wandb_run", "xgboost")


def stand_ins(stepwell: ModuleType, top: StandIn | None = None) -> dict[str, StandIn]:
    """Each module by its dotted path below `wandb`, with its submodules as attributes.

    Args:
        stepwell: the package.
        top: the stand-in for `wandb` itself, which gets the top-level ones as attributes.
    """
    made: dict[str, StandIn] = {}
    for path, inside in _namespaces(stepwell).items():
        made[path] = StandIn(f"wandb.{path}", inside)
        parent, _, last = path.rpartition(".")
        owner = made[parent] if parent else top
        if owner is not None:
            setattr(owner, last, made[path])
    return made


def _namespaces(stepwell: ModuleType) -> Mapping[str, Any]:
    """The objects with the names, by dotted path below `wandb`, parents before children."""
    run = stepwell.Run
    of_a_run = SimpleNamespace(Run=run, RunDisabled=run)
    return {
        "api": _API,
        "apis": Later("stepwell.api", PublicApi="Api"),
        "apis.public": _API,
        "data_types": _MEDIA,
        "errors": errors,
        "errors.errors": errors,
        "errors.term": term,
        "integration": SimpleNamespace(),
        "integration.keras": _KERAS,
        "integration.lightgbm": _LIGHTGBM,
        "integration.sb3": Later("stepwell.integration.sb3"),
        "integration.sklearn": _SKLEARN,
        "integration.tensorboard": _TENSORBOARD,
        "integration.xgboost": _XGBOOST,
        "keras": _KERAS,
        "lightgbm": _LIGHTGBM,
        "plot": Later("stepwell.plot"),
        "sdk": SimpleNamespace(
            **{name: getattr(stepwell, name) for name in ("Config", "Settings", "Summary", "finish", "init", "login")}
        ),
        "sdk.data_types": _MEDIA,
        **{
            f"sdk.data_types.{name}": _MEDIA
            for name in (
                "base_types",
                "histogram",
                "html",
                "image",
                "molecule",
                "object_3d",
                "plotly",
                "table",
                "video",
            )
        },
        "sdk.lib": SimpleNamespace(RunDisabled=run),
        "sdk.lib.config_util": errors,
        "sdk.lib.disabled": of_a_run,
        "sdk.lib.runid": SimpleNamespace(generate_id=util.generate_id),
        "sdk.wandb_alerts": SimpleNamespace(AlertLevel=stepwell.AlertLevel),
        "sdk.wandb_config": SimpleNamespace(Config=stepwell.Config),
        "sdk.wandb_init": SimpleNamespace(init=stepwell.init),
        "sdk.wandb_login": SimpleNamespace(login=stepwell.login),
        "sdk.wandb_run": of_a_run,
        "sdk.wandb_settings": SimpleNamespace(Settings=stepwell.Settings),
        "sdk.wandb_summary": SimpleNamespace(Summary=stepwell.Summary),
        "sklearn": _SKLEARN,
        "tensorboard": _TENSORBOARD,
        "util": util,
        "wandb_run": of_a_run,
        "xgboost": _XGBOOST,
    }
