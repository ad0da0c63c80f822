"""XGBoost: evaluation results as points, and feature importance as a chart.

    from stepwell.integration.xgboost import WandbCallback        # after install_as_wandb(): wandb.integration.xgboost

    xgboost.train(params, data, evals=[(test, "test")], callbacks=[WandbCallback()])

Receives the evaluations of each round; logs one row per round to the current run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xgboost

from stepwell.integration._current import current_run, importance_chart

_MINIMIZED = ("rmse", "rmsle", "mae", "mape", "mphe", "logloss", "error", "merror")
_MAXIMIZED = ("auc", "aucpr", "ndcg", "map")


class WandbCallback(xgboost.callback.TrainingCallback):  # type: ignore[misc]  # XGBoost ships no types
    """Logs `<data>-<metric>` and `epoch` after each round, and the best round at the end.

    Args:
        log_model: whether to keep the model with the run, as `model.json`.
        log_feature_importance: whether to log a chart of the importance of features.
        importance_type: the measure: "gain", "weight", "cover", "total_gain" or "total_cover".
        define_metric: whether the summary shows the best value of metrics with a known direction, instead of the last.

    Raises:
        Error: there is no current run.
    """

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        super().__init__()
        current_run("WandbCallback()")
        self._log_model = log_model
        self._log_importance = log_feature_importance
        self._importance_type = importance_type
        self._define_metric = define_metric

    def before_training(self, model: Any) -> Any:
        current_run("WandbCallback()").config.update(json.loads(model.save_config()))
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: dict[str, dict[str, list[Any]]]) -> bool:
        run = current_run("WandbCallback()")
        row: dict[str, Any] = {"epoch": epoch}
        for data, metrics in evals_log.items():
            for name, values in metrics.items():
                last = values[-1]
                row[f"{data}-{name}"] = last[0] if isinstance(last, tuple) else last  # cv() adds the deviation
                if self._define_metric and (best := _best(name)) is not None:
                    run.define_metric(f"{data}-{name}", summary=best)
        self._define_metric = False
        run.log(row)
        return False

    def after_training(self, model: Any) -> Any:
        run = current_run("WandbCallback()")
        if self._log_model:
            path = Path(run.dir) / "model.json"
            model.save_model(path)
            run.save(path, base_path=run.dir, policy="now")
        if self._log_importance:
            importances = model.get_score(importance_type=self._importance_type)
            run.log({"Feature Importance": importance_chart(importances.items())})
        if (score := model.attr("best_score")) is not None:
            run.log({"best_score": float(score), "best_iteration": int(model.attr("best_iteration"))})
        return model


def wandb_callback() -> WandbCallback:
    """The older name of `WandbCallback()`."""
    return WandbCallback()


def _best(metric: str) -> str | None:
    name = metric.lower().partition("@")[0].rstrip("-")
    if "loss" in name or name in _MINIMIZED:
        return "min"
    return "max" if name in _MAXIMIZED else None
