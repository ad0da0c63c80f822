"""scikit-learn: charts of a fitted model, each logged under W&B's name for it.

    from stepwell.integration import sklearn                      # after install_as_wandb(): wandb.sklearn

    sklearn.plot_roc(y_test, model.predict_proba(x_test), labels)

Receives labels, predictions and models; logs charts of `stepwell.plot` to the current run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepwell import plot
from stepwell.compat.absent import absent_name
from stepwell.data_types import Table
from stepwell.errors import UsageError
from stepwell.integration._current import current_run, importance_chart

_OTHERS = dict.fromkeys(
    (
        *("plot_calibration_curve", "plot_classifier", "plot_clusterer", "plot_decision_boundaries"),
        *("plot_elbow_curve", "plot_learning_curve", "plot_outlier_candidates", "plot_regressor"),
        *("plot_residuals", "plot_silhouette"),
    ),
    "compute its numbers with sklearn, and log them as a chart: run.log({name: wandb.plot.line(table, x, y)})",
)


def plot_roc(
    y_true: Any = None, y_probas: Any = None, labels: Sequence[Any] | None = None, *_: Any, **options: Any
) -> None:
    """Logs `roc`: see `stepwell.plot.roc_curve`.

    Raises:
        Error: there is no current run.
    """
    chart = plot.roc_curve(y_true, y_probas, labels, options.get("classes_to_plot"))
    current_run("plot_roc()").log({"roc": chart})


def plot_precision_recall(
    y_true: Any = None, y_probas: Any = None, labels: Sequence[Any] | None = None, *_: Any, **options: Any
) -> None:
    """Logs `precision_recall`: see `stepwell.plot.pr_curve`.

    Raises:
        Error: there is no current run.
    """
    chart = plot.pr_curve(y_true, y_probas, labels, options.get("classes_to_plot"))
    current_run("plot_precision_recall()").log({"precision_recall": chart})


def plot_confusion_matrix(
    y_true: Any = None, y_pred: Any = None, labels: Sequence[Any] | None = None, *_: Any, **__: Any
) -> None:
    """Logs `confusion_matrix`: see `stepwell.plot.confusion_matrix`. Classes may have any names.

    Raises:
        Error: there is no current run.
    """
    names, numbers = np.unique(np.concatenate([np.asarray(y_true), np.asarray(y_pred)]), return_inverse=True)
    count = len(np.asarray(y_true))
    shown = [str(name) for name in names] if labels is None else [str(labels[at]) for at in range(len(names))]
    chart = plot.confusion_matrix(
        y_true=numbers[:count], preds=numbers[count:], class_names=shown, title="Confusion Matrix"
    )
    current_run("plot_confusion_matrix()").log({"confusion_matrix": chart})


def plot_class_proportions(
    y_train: Any = None, y_test: Any = None, labels: Sequence[Any] | None = None, *_: Any, **__: Any
) -> None:
    """Logs `class_proportions`: the frequency of each class in both sets.

    Raises:
        Error: there is no current run.
    """
    table = Table(columns=["class", "dataset", "count"], allow_mixed_types=True)
    classes = np.unique(np.concatenate([np.asarray(y_train), np.asarray(y_test)]))
    for name, values in (("train", np.asarray(y_train)), ("test", np.asarray(y_test))):
        for at, item in enumerate(classes):
            table.add_data(str(item if labels is None else labels[at]), name, int((values == item).sum()))
    chart = plot.bar(table, "class", "count", title="Class Proportions")
    current_run("plot_class_proportions()").log({"class_proportions": chart})


def plot_feature_importances(
    model: Any = None,
    feature_names: Sequence[str] | None = None,
    title: str = "Feature Importance",
    max_num_features: int = 50,
    *_: Any,
    **__: Any,
) -> None:
    """Logs `feature_importances`, the largest first.

    Raises:
        UsageError: the model has neither feature_importances_ nor coef_.
        Error: there is no current run.
    """
    found = getattr(model, "feature_importances_", None)
    if found is None:
        found = getattr(model, "coef_", None)
    if found is None:
        raise UsageError("the model has neither feature_importances_ nor coef_", hint="fit it first")
    values = np.asarray(found, np.float64)
    values = values if values.ndim == 1 else np.abs(values).mean(axis=0)
    names = [str(at) for at in range(len(values))] if feature_names is None else list(feature_names)
    order = np.argsort(values)[::-1][:max_num_features]
    chart = importance_chart(((names[at], values[at]) for at in order), title)
    current_run("plot_feature_importances()").log({"feature_importances": chart})


def plot_summary_metrics(
    model: Any = None, X: Any = None, y: Any = None, X_test: Any = None, y_test: Any = None
) -> None:
    """Logs `summary_metrics`: scikit-learn's metrics of the model on the test set.

    Raises:
        Error: there is no current run.
    """
    from sklearn import base, metrics

    predicted = model.predict(X_test)
    if base.is_classifier(model):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            y_test, predicted, average="weighted", zero_division=0
        )
        measured = {
            "accuracy_score": metrics.accuracy_score(y_test, predicted),
            "precision": precision,
            "recall": recall,
            "f1_score": f1,
        }
    else:
        measured = {
            "mae": metrics.mean_absolute_error(y_test, predicted),
            "mse": metrics.mean_squared_error(y_test, predicted),
            "r2_score": metrics.r2_score(y_test, predicted),
        }
    table = Table(columns=["metric_name", "metric_value"], data=[[name, float(at)] for name, at in measured.items()])
    chart = plot.bar(table, "metric_name", "metric_value", title="Summary Metrics")
    current_run("plot_summary_metrics()").log({"summary_metrics": chart})


def __getattr__(name: str) -> Any:
    raise absent_name("wandb.sklearn", name, _OTHERS)
