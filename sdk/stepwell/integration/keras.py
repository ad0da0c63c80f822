"""Keras: metrics of `fit()` as points, and checkpoints.

    from stepwell.integration.keras import WandbMetricsLogger      # after install_as_wandb(): wandb.integration.keras

    model.fit(x, y, callbacks=[WandbMetricsLogger(log_freq=10)])

Receives the logs of an epoch or a batch from Keras' callbacks; logs rows to the current run. Keras 3, any backend.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NoReturn

import keras

from stepwell.errors import UsageError
from stepwell.integration._current import current_run

log = logging.getLogger("stepwell")


class WandbMetricsLogger(keras.callbacks.Callback):  # type: ignore[misc]  # Keras ships no types
    """Logs Keras' metrics to the current run: `epoch/loss`, `epoch/val_loss` …, and `batch/loss` ….

    Each row also has the number of its epoch or batch, `epoch/epoch` or `batch/batch_step`, and the learning rate.

    Args:
        log_freq: "epoch": rows of epochs only. "batch", or 1: a row for each batch as well. n: for each n-th batch.
        initial_global_step: the first value of `batch/batch_step`; after a resume, the number of batches so far.

    Raises:
        Error: there is no current run.
        UsageError: `log_freq` is invalid.
    """

    def __init__(self, log_freq: str | int = "epoch", initial_global_step: int = 0) -> None:
        super().__init__()
        run = current_run("WandbMetricsLogger()")
        if log_freq == "batch":
            log_freq = 1
        if log_freq != "epoch" and (isinstance(log_freq, bool) or not isinstance(log_freq, int) or log_freq < 1):
            raise UsageError('log_freq must be "epoch", "batch" or a number of batches', detail=repr(log_freq)[:80])
        self._every: int | None = None if isinstance(log_freq, str) else log_freq
        self._batches = initial_global_step
        run.define_metric("epoch/epoch")
        run.define_metric("epoch/*", step_metric="epoch/epoch")
        if self._every is not None:
            run.define_metric("batch/batch_step")
            run.define_metric("batch/*", step_metric="batch/batch_step")

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._log("epoch", {"epoch": epoch}, logs)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._every is not None and batch % self._every == 0:
            self._log("batch", {"batch_step": self._batches}, logs)
        self._batches += 1

    def _log(self, section: str, axis: Mapping[str, int], logs: Mapping[str, Any] | None) -> None:
        row = {**(logs or {}), **axis}
        if (rate := self._learning_rate()) is not None:
            row["learning_rate"] = rate
        current_run("WandbMetricsLogger()").log({f"{section}/{name}": value for name, value in row.items()})

    def _learning_rate(self) -> float | None:
        rate = getattr(getattr(self.model, "optimizer", None), "learning_rate", None)
        return None if rate is None else float(keras.ops.convert_to_numpy(rate))


class WandbModelCheckpoint(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]  # Keras ships no types
    """Keras' `ModelCheckpoint`, with its arguments. The files stay where they are saved: Stepwell keeps no artifacts.

    `run.summary["checkpoint"]` names the latest one.

    Raises:
        Error: there is no current run.
    """

    def __init__(self, filepath: Any, *arguments: Any, **more: Any) -> None:
        current_run("WandbModelCheckpoint()")
        super().__init__(filepath, *arguments, **more)
        log.warning("WandbModelCheckpoint saves to %s only, because Stepwell keeps no artifacts", filepath)

    def _save_model(self, epoch: int, batch: int | None, logs: Any) -> None:
        super()._save_model(epoch, batch, logs)
        path = self._get_file_path(epoch, batch, logs)
        if self._checkpoint_exists(path):
            current_run("WandbModelCheckpoint()").summary["checkpoint"] = str(path)


class WandbCallback:
    """Raises UsageError: W&B has replaced this callback."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("WandbCallback", "use WandbMetricsLogger, and WandbModelCheckpoint for checkpoints")


class WandbEvalCallback:
    """Raises UsageError: Stepwell does not have this callback."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _refuse("WandbEvalCallback", "log a wandb.Table in on_epoch_end() of a callback of your own")


def _refuse(name: str, hint: str) -> NoReturn:
    raise UsageError(f"Stepwell has no {name}", hint=hint)
