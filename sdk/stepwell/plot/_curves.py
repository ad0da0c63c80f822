"""Curves of a classifier: precision over recall, and ROC, one class against the rest.

The numbers equal scikit-learn's (the tests compare them), without the need for scikit-learn.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.data_types._table import Table
from stepwell.errors import DataError
from stepwell.plot._chart import CustomChart
from stepwell.values.convert import as_array, described

log = logging.getLogger("stepwell")

_SPEC = "wandb/area-under-curve/v0"
#: The most points of a chart, over all its curves; longer curves are thinned evenly, with no visible difference.
MAX_POINTS = 10_000
Floats = npt.NDArray[np.float64]


def pr_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[Any] | None = None,
    classes_to_plot: Collection[Any] | None = None,
    interp_size: int = 21,
    title: str = "Precision-Recall Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """A chart of precision over recall for each class.

    Args:
        y_true: the true classes, N.
        y_probas: the probabilities of the classes, N × classes, in the order of the sorted classes.
        labels: names of the classes, by their number.
        classes_to_plot: the classes to draw; default all.
        interp_size: the number of values of recall between 0 and 1; the precision at each is the highest at that recall
            or above it, to three digits.
        title: the title of the chart.
        split_table: see `CustomChart`.

    Returns:
        The chart; None, after a warning, when the first two arguments are missing or not arrays (as in W&B's client).

    Raises:
        DataError: the lengths of the first two arguments differ, or a probability is not finite.
    """
    problem = _checked(y_true, y_probas)
    if problem is None:
        return None
    recalls = np.linspace(0, 1, interp_size)
    table = Table(columns=["class", "precision", "recall"], allow_mixed_types=True)
    for name, truth, scores in _one_against_rest(*problem, labels, classes_to_plot):
        precision, recall = precision_and_recall(truth, scores)
        best = np.maximum.accumulate(precision)[::-1]  # from the end of the curve, where recall is 0
        for at, value in zip(recalls, best[np.searchsorted(recall[::-1], recalls)], strict=True):
            table.add_data(name, round(float(value), 3), round(float(at), 3))
    strings = {"title": title, "x-axis-title": "Recall", "y-axis-title": "Precision"}
    return CustomChart(_SPEC, table, {"x": "recall", "y": "precision", "class": "class"}, strings, split_table)


def roc_curve(
    y_true: Any = None,
    y_probas: Any = None,
    labels: Sequence[Any] | None = None,
    classes_to_plot: Collection[Any] | None = None,
    title: str = "ROC Curve",
    split_table: bool = False,
) -> CustomChart | None:
    """A chart of true positive rate over false positive rate for each class. For arguments and errors, see
    `pr_curve`."""
    problem = _checked(y_true, y_probas)
    if problem is None:
        return None
    curves = [
        (name, *false_and_true_positive_rates(truth, scores))
        for name, truth, scores in _one_against_rest(*problem, labels, classes_to_plot)
    ]
    keep = max(2, MAX_POINTS // max(len(curves), 1))
    table = Table(columns=["class", "fpr", "tpr"], allow_mixed_types=True)
    for name, fpr, tpr in curves:
        if len(fpr) > keep:
            log.warning("the ROC curve of %r is thinned from %d to %d points", name, len(fpr), keep)
        for at in np.unique(np.linspace(0, len(fpr) - 1, min(keep, len(fpr))).round().astype(int)):
            table.add_data(name, float(fpr[at]), float(tpr[at]))
    strings = {"title": title, "x-axis-title": "False Positive Rate", "y-axis-title": "True Positive Rate"}
    return CustomChart(_SPEC, table, {"x": "fpr", "y": "tpr", "class": "class"}, strings, split_table)


def precision_and_recall(truth: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """Precision and recall as from `sklearn.metrics.precision_recall_curve`: recall falls from 1 to 0."""
    hits, misses = _counts(truth, scores)
    total = hits[-1]
    precision = hits / (hits + misses)
    recall = hits / total if total else np.ones_like(precision)  # the class does not occur, so recall is 1
    return np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0)


def false_and_true_positive_rates(truth: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """The rates of `sklearn.metrics.roc_curve`: from (0, 0) to (1, 1), without points on a straight line between
    others.

    A rate that is undefined is NaN.
    """
    hits, misses = _counts(truth, scores)
    if len(hits) > 2:
        bends = np.logical_or(np.diff(misses, 2), np.diff(hits, 2))
        corners = np.flatnonzero(np.concatenate([[True], bends, [True]]))
        hits, misses = hits[corners], misses[corners]
    hits, misses = np.append(0.0, hits), np.append(0.0, misses)
    nothing = np.full_like(hits, np.nan)
    return misses / misses[-1] if misses[-1] else nothing, hits / hits[-1] if hits[-1] else nothing


def _counts(truth: npt.NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """The numbers of true and false positives at each score as the threshold, from the highest on."""
    order = np.argsort(scores, kind="stable")[::-1]
    truth, scores = truth[order], scores[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(truth, dtype=np.float64)[last]
    return hits, 1.0 + last - hits


def _one_against_rest(
    truth: npt.NDArray[Any], probabilities: Floats, labels: Sequence[Any] | None, to_plot: Collection[Any] | None
) -> list[tuple[Any, npt.NDArray[np.bool_], Floats]]:
    """For each class to draw: its name, whether each sample has it, and the probability that each sample has it."""
    classes = np.unique(truth).tolist()
    if probabilities.shape[1] < len(classes):
        raise DataError(
            f"y_true has {len(classes)} classes, and y_probas {probabilities.shape[1]} columns",
            hint="give y_probas a column for each class that occurs, in the order of the sorted classes",
        )
    wanted = classes if to_plot is None else as_array(to_plot).tolist()
    return [
        (_name(number, labels), truth == number, probabilities[:, column])
        for column, number in enumerate(classes)
        if number in wanted
    ]


def _name(number: Any, labels: Sequence[Any] | None) -> Any:
    if labels is None or not isinstance(number, int):
        return number
    if not 0 <= number < len(labels):
        raise DataError(f"class {number} has no label", detail=f"there are {len(labels)} labels")
    return labels[number]


def _checked(y_true: Any, y_probas: Any) -> tuple[npt.NDArray[Any], Floats] | None:
    for name, given in (("y_true", y_true), ("y_probas", y_probas)):
        if given is None or not (hasattr(given, "__array__") or isinstance(given, list | tuple)):
            log.warning("no curve is drawn: %s must be an array, not %s", name, described(given))
            return None
    truth, probabilities = as_array(y_true), as_array(y_probas)
    if truth.ndim == 2 and truth.shape[1] == 1:
        truth = truth[:, 0]
    if truth.ndim != 1 or probabilities.ndim != 2 or not len(truth) or len(truth) != len(probabilities):
        raise DataError(
            "y_true must have one class, and y_probas one row, for each sample",
            detail=f"their shapes are {truth.shape} and {probabilities.shape}",
        )
    if probabilities.dtype.kind not in "biuf" or not np.isfinite(probabilities.astype(np.float64)).all():
        raise DataError("y_probas must be finite numbers", detail=f"they are of type {probabilities.dtype}")
    return truth, probabilities.astype(np.float64)
