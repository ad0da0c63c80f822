"""`run.watch`: histograms of a model's gradients and parameters, logged with the steps of the run.

Runs before `log()`. Hooks on a torch module count its passes; every `log_freq`-th pass logs a histogram to the open
step, and all others cost one comparison. An exception in here never reaches the training: it is logged, and watching
ends. Does not import torch: a program that has a module has imported it already.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from stepwell.errors import DataError, SettingError
from stepwell.observe.tensor_histogram import histogram_of
from stepwell.values.convert import described

log = logging.getLogger("stepwell")

_WORDS = ("gradients", "parameters", "all", None)

#: Receives values for the open step.
LogOpen = Callable[[dict[str, Any]], None]


class Watch:
    """The hooks of one model.

    Args:
        model: a torch module.
        prefix: the prefix of the names of its parameters.
        what: "gradients", "parameters" or "all".
        log_freq: every `log_freq`-th pass is logged.
        log_open: receives the histograms.
    """

    def __init__(self, model: Any, prefix: str, what: str, log_freq: int, log_open: LogOpen) -> None:
        self.model = model
        self._prefix = prefix
        self._log_freq = log_freq
        self._log_open = log_open
        self._forwards = 0
        self._handles: list[Any] = []
        if what in ("gradients", "all"):
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    self._handles.append(parameter.register_hook(self._gradient_hook(f"gradients/{prefix}{name}")))
        if what in ("parameters", "all"):
            self._handles.append(model.register_forward_hook(_ForwardHook(self)))

    def stop(self) -> None:
        """Removes the hooks."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()

    def _gradient_hook(self, key: str) -> Callable[[Any], None]:
        passes = 0

        def after_backward(gradient: Any) -> None:
            nonlocal passes
            passes += 1
            if passes >= self._log_freq:
                passes = 0
                self._log({key: gradient})

        return after_backward

    def after_forward(self, module: Any) -> None:
        """Called at the end of a pass of the model."""
        self._forwards += 1
        if self._forwards >= self._log_freq:
            self._forwards = 0
            self._log({f"parameters/{self._prefix}{name}": value for name, value in module.named_parameters()})

    def _log(self, tensors: dict[str, Any]) -> None:
        if not self._handles:  # stopped during a pass
            return
        try:
            found = {key: histogram for key, value in tensors.items() if (histogram := histogram_of(value)) is not None}
            if found:
                self._log_open(found)
        except Exception as error:  # noqa: BLE001 - a hook that raises would end the training
            log.error("the model is no longer watched: %s: %s", type(error).__name__, error)
            self.stop()


class _ForwardHook:
    """The hook in the watched model. In a copied or pickled model, it does nothing."""

    def __init__(self, watch: Watch | None = None) -> None:
        self._watch = watch

    def __call__(self, module: Any, inputs: Any, output: Any) -> None:
        if self._watch is not None and module is self._watch.model:  # a shallow copy shares its hooks
            self._watch.after_forward(module)

    def __deepcopy__(self, memo: dict[int, Any]) -> _ForwardHook:
        return _ForwardHook()

    def __reduce__(self) -> tuple[type[_ForwardHook], tuple[()]]:
        return _ForwardHook, ()


class ModelWatches:
    """The models that one run watches.

    Args:
        log_open: receives histograms by key, for the open step.
    """

    def __init__(self, log_open: LogOpen) -> None:
        self._log_open = log_open
        self._watches: tuple[Watch, ...] = ()

    def watch(self, models: Any, what: str | None, log_freq: int, idx: int | None, log_graph: bool) -> None:
        """Starts to watch torch modules; for modules that are watched already, the new options count. See
        `Run.watch`."""
        models = checked_models(models, what, log_freq)
        if what is None:
            return
        if log_graph:
            log.warning("watch(log_graph=True) has no effect: only gradients and parameters can be logged")
        self.unwatch(models)
        first = len(self._watches) if idx is None else idx
        for number, model in enumerate(models, first):
            prefix = f"graph_{number}." if number else ""
            self._watches = (*self._watches, Watch(model, prefix, what, log_freq, self._log_open))

    def unwatch(self, models: Any = None) -> None:
        """Removes the hooks of one or several modules; None: of all."""
        if models is not None and not isinstance(models, list | tuple):
            models = [models]
        kept = []
        for watch in self._watches:
            if models is None or any(watch.model is model for model in models):
                watch.stop()
            else:
                kept.append(watch)
        self._watches = tuple(kept)


def checked_models(given: Any, what: str | None, log_freq: int) -> list[Any]:
    """The modules to watch, as a list.

    Raises:
        DataError: (a TypeError) one of the models is not a torch module.
        SettingError: (a ValueError) `what` is an unknown word, or `log_freq` is not a positive integer.
    """
    if what not in _WORDS:
        raise SettingError(f"log must be one of gradients, parameters, all, None, not {what!r}")
    if isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1:
        raise SettingError("log_freq must be a positive integer", detail=described(log_freq))
    models: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    for model in models:
        if not _is_module(model):
            raise DataError(f"watch() takes torch modules, not {type(model).__name__}", detail=described(model))
    return models


def _is_module(model: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)
