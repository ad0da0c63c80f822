"""LightGBM: evaluation results as points, and feature importance as a chart.

    from stepwell.integration.lightgbm import log_summary, wandb_callback   # or wandb.integration.lightgbm

    model = lightgbm.train(params, data, valid_sets=[test], callbacks=[wandb_callback()])
    log_summary(model)

Receives the evaluations of each round; logs one row per round to the current run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepwell.errors import UsageError
from stepwell.integration._current import current_run, importance_chart


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> Callable[[Any], None]:
    """A callback that logs `<data>_<metric>` and `iteration` after each round.

    Args:
        log_params: whether to add the parameters of the training to the run's config.
        define_metric: whether the summary shows the best value of each metric, instead of the last.

    Raises:
        Error: there is no current run.
    """
    current_run("wandb_callback()")
    first = True

    def callback(env: Any) -> None:
        nonlocal first
        run = current_run("wandb_callback()")
        if first and log_params:
            run.config.update(env.params)
        row: dict[str, Any] = {"iteration": env.iteration}
        for data, metric, value, higher_is_better, *_ in env.evaluation_result_list or ():
            name = f"{data}_{metric}"
            row[name] = value
            if first and define_metric:
                run.define_metric(name, summary="max" if higher_is_better else "min")
        first = False
        run.log(row)

    return callback


def log_summary(model: Any, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """Adds the best round and its scores to the summary, and logs a chart of the importance of features.

    Args:
        model: a `lightgbm.Booster`.
        feature_importance: whether to log the chart.
        save_model_checkpoint: whether to keep the model with the run, as `model.txt`.

    Raises:
        Error: there is no current run.
        UsageError: `model` is not a Booster.
    """
    run = current_run("log_summary()")
    if not hasattr(model, "best_iteration") or not hasattr(model, "feature_importance"):
        raise UsageError("log_summary() needs a lightgbm.Booster", hint="for a scikit-learn model, pass model.booster_")
    run.summary["best_iteration"] = model.best_iteration
    run.summary["best_score"] = model.best_score
    if feature_importance:
        importances = zip(model.feature_name(), model.feature_importance().tolist(), strict=True)
        run.log({"Feature Importance": importance_chart(importances)})
    if save_model_checkpoint:
        path = Path(run.dir) / "model.txt"
        model.save_model(str(path))
        run.save(path, base_path=run.dir, policy="now")
