"""Stable-Baselines3: the hyperparameters of an algorithm, its gradients, and its model as a file of the run.

    from stepwell.integration.sb3 import WandbCallback            # after install_as_wandb(): wandb.integration.sb3

    run = stepwell.init(sync_tensorboard=True)
    PPO("MlpPolicy", env, tensorboard_log="runs").learn(10_000, callback=WandbCallback(gradient_save_freq=100))

The algorithm's own metrics come from its TensorBoard writer, as with W&B's client.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from stepwell.errors import UsageError
from stepwell.integration._current import current_run

log = logging.getLogger("stepwell")

_WATCHED = ("gradients", "parameters", "all", None)


class WandbCallback(BaseCallback):  # type: ignore[misc]  # Stable-Baselines3 may not be installed where this is checked
    """Adds hyperparameters to the config, logs histograms with `Run.watch`, and keeps the model as `model.zip`.

    Args:
        verbose: the verbosity of Stable-Baselines3's callbacks.
        model_save_path: the directory in which `model.zip` is saved; None: the model is not kept.
        model_save_freq: the number of calls between saves; 0: at the end only.
        gradient_save_freq: the number of optimizer steps between histograms; 0: never.
        log: the histograms to log: "gradients", "parameters" or "all".

    Raises:
        Error: there is no current run.
        UsageError: `model_save_freq` is given without `model_save_path`.
    """

    def __init__(
        self,
        verbose: int = 0,
        model_save_path: str | None = None,
        model_save_freq: int = 0,
        gradient_save_freq: int = 0,
        log: str | None = "all",
    ) -> None:
        super().__init__(verbose)
        current_run("WandbCallback()")
        if model_save_freq and model_save_path is None:
            raise UsageError("model_save_freq needs model_save_path", hint='WandbCallback(model_save_path="models", …)')
        self._save_freq = model_save_freq
        self._gradient_freq = gradient_save_freq
        self._log = log if log in _WATCHED else "all"
        self._directory = None if model_save_path is None else Path(model_save_path)
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)

    def _init_callback(self) -> None:
        run = current_run("WandbCallback()")
        found: dict[str, Any] = {"algo": type(self.model).__name__}
        for name, value in vars(self.model).items():
            found[name] = value if type(value) in (float, int, str) else str(value)
        run.config.setdefaults(found)
        if self._gradient_freq > 0:
            run.watch(self.model.policy, log_freq=self._gradient_freq, log=self._log)

    def _on_step(self) -> bool:
        if self._save_freq > 0 and self.n_calls % self._save_freq == 0:
            self._save()
        return True

    def _on_training_end(self) -> None:
        self._save()

    def _save(self) -> None:
        if self._directory is None:
            return
        path = self._directory / "model.zip"
        self.model.save(path)
        current_run("WandbCallback()").save(path, base_path=self._directory)
        if self.verbose > 1:
            log.info("saved the model to %s", path)
