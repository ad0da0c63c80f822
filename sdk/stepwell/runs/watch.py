"""`run.watch`: histograms of a model's gradients and parameters, logged with the steps of the run.

Before `log()`. Hooks on a torch module count its passes; every `log_freq`-th of them logs a histogram to the step that
is open then, and all others cost a comparison. Nothing that fails here reaches the training: it is logged, and watching
ends. Imports no torch: who has a module has imported it.
"""

from __future__ import annotations

import logging
import sys
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.errors import DataError, SettingError
from stepwell.observe.tensor_histogram import histogram_of
from stepwell.runs.keeping import Keeping
from stepwell.values.convert import described

log = logging.getLogger("stepwell")

_WORDS = ("gradients", "parameters", "all", None)

#: Takes values for the step that is open.
LogOpen = Callable[[dict[str, Any]], None]


class Watch:
    """The hooks of one model.

    Args:
        model: a torch module.
        prefix: before the names of its parameters.
        what: "gradients", "parameters" or "all".
        log_freq: every so many passes.
        log_open: takes the histograms.
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
            self._handles.append(model.register_forward_hook(self._after_forward))

    def stop(self) -> None:
        """Takes the hooks away."""
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

    def _after_forward(self, module: Any, inputs: Any, output: Any) -> None:
        self._forwards += 1
        if self._forwards >= self._log_freq:
            self._forwards = 0
            self._log({f"parameters/{self._prefix}{name}": value for name, value in module.named_parameters()})

    def _log(self, tensors: dict[str, Any]) -> None:
        if not self._handles:  # stopped in the midst of a pass
            return
        try:
            found = {key: histogram for key, value in tensors.items() if (histogram := histogram_of(value)) is not None}
            if found:
                self._log_open(found)
        except Exception as error:  # noqa: BLE001 - a hook that raises would end the training
            log.error("the model is not watched any more: %s: %s", type(error).__name__, error)
            self.stop()


class Watching(Keeping):
    """The part of a run that watches models. `Run` builds on it."""

    _watches: tuple[Watch, ...] = ()

    @abstractmethod
    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """See `Run`."""

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Logs histograms of a torch module, as `gradients/<parameter>` and `parameters/<parameter>`.

        They go to the step that is open, and do not close it. NaN and infinities are counted beside the bins.

        Args:
            models: a module, or several in a list: those after the first are named `graph_1.`, `graph_2.` and so on.
            criterion: accepted for older scripts, and ignored.
            log: "gradients", "parameters", "all", or None: nothing.
            log_freq: every so many passes, backward for gradients and forward for parameters.
            idx: the number of the first of these models; None: counted on.
            log_graph: of W&B; there is no graph, and a warning says so.

        Raises:
            DataError: (a TypeError) one is no torch module.
            SettingError: (a ValueError) `log` or `log_freq` makes no sense.
            UsageError: the run is finished.
        """
        if log not in _WORDS:
            raise SettingError(f"log must be one of gradients, parameters, all, None, not {log!r}")
        if isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1:
            raise SettingError("log_freq must be a positive integer", detail=described(log_freq))
        models = list(models) if isinstance(models, list | tuple) else [models]
        for model in models:
            if not _is_module(model):
                raise DataError(f"watch() takes torch modules, not {type(model).__name__}", detail=described(model))
        if self._session_for("watch() cannot be called on it") is None or log is None:
            return
        if log_graph:
            _warn("watch(log_graph=True) has no effect here: gradients and parameters can be logged")
        self.unwatch(models)
        first = len(self._watches) if idx is None else idx
        for number, model in enumerate(models, first):
            prefix = f"graph_{number}." if number else ""
            watch = Watch(model, prefix, log, log_freq, lambda found: self.log(found, commit=False))
            self._watches = (*self._watches, watch)

    def unwatch(self, models: Any = None) -> None:
        """Ends it.

        Args:
            models: a module or several; None: all that this run watches.
        """
        if models is not None and not isinstance(models, list | tuple):
            models = [models]
        kept = []
        for watch in self._watches:
            if models is None or any(watch.model is model for model in models):
                watch.stop()
            else:
                kept.append(watch)
        self._watches = tuple(kept)


def _is_module(model: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _warn(text: str) -> None:  # `log` is an argument there
    log.warning(text)
