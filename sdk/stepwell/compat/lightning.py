"""Rejects Lightning's `WandbLogger(log_model=True)` when the logger is constructed.

Lightning uploads checkpoints as artifacts once the fit is over; an error at that point would lose the whole training.
So the constructor of its logger is patched to check the argument, at once if the module is loaded already, else when it
is loaded.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from stepwell.compat.names import NO_ARTIFACTS
from stepwell.errors import UsageError

MODULES = ("lightning.pytorch.loggers.wandb", "pytorch_lightning.loggers.wandb")


def refuse_models() -> None:
    """Patches the loggers of imported modules."""
    for name in MODULES:
        if name in sys.modules:
            _wrap(sys.modules[name])


def find_spec(fullname: str, path: Sequence[str] | None, asking: MetaPathFinder) -> ModuleSpec | None:
    """The spec of one of `MODULES` from the other finders, with a loader that patches its logger."""
    for finder in sys.meta_path:
        spec = None if finder is asking else finder.find_spec(fullname, path, None)
        if spec is not None:
            if spec.loader is not None:
                spec.loader = _Wrapping(spec.loader)
            return spec
    return None


class _Wrapping(Loader):
    """Loads a module with another loader, then patches its logger."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        _wrap(module)

    def __getattr__(self, name: str) -> Any:  # get_source and the like
        return getattr(self._loader, name)


def _wrap(module: ModuleType) -> None:
    logger = getattr(module, "WandbLogger", None)
    if logger is None or hasattr(logger.__init__, "__wrapped__"):
        return
    init = logger.__init__

    @functools.wraps(init)
    def checked(self: Any, *arguments: Any, **named: Any) -> None:
        wanted = inspect.signature(init).bind_partial(self, *arguments, **named).arguments.get("log_model")
        if wanted:
            raise UsageError(f"WandbLogger(log_model={wanted!r}): Stepwell keeps no artifacts", hint=NO_ARTIFACTS)
        init(self, *arguments, **named)

    logger.__init__ = checked
