"""The confusion matrix: the number of predictions of each class for each actual class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stepwell.data_types._table import Table
from stepwell.errors import DataError
from stepwell.plot._chart import CustomChart
from stepwell.values.convert import as_array


def confusion_matrix(
    probs: Any = None,
    y_true: Any = None,
    preds: Any = None,
    class_names: Sequence[Any] | None = None,
    title: str = "Confusion Matrix Curve",
    split_table: bool = False,
) -> CustomChart:
    """A matrix of true and predicted classes.

    Args:
        probs: the probabilities of the classes, N × classes; the highest is the prediction.
        y_true: the true classes, N.
        preds: the predicted classes, N, instead of `probs`.
        class_names: names of class 0, 1, …; default Class_1, Class_2, … for the classes that occur.
        title: the title of the chart.
        split_table: see `CustomChart`.

    Raises:
        DataError: both or neither of `probs` and `preds` are given, lengths differ, or a class has no name.
    """
    if (probs is None) == (preds is None):
        raise DataError("confusion_matrix needs either probs or preds", hint="confusion_matrix(y_true=..., preds=...)")
    if y_true is None:
        raise DataError("confusion_matrix needs y_true")
    if probs is not None:
        rows = as_array(probs)
        if rows.ndim != 2:
            raise DataError("probs must be samples × classes", detail=f"its shape is {rows.shape}")
        predicted = rows.argmax(axis=1)
    else:
        predicted = as_array(preds).reshape(-1)
    truth = as_array(y_true).reshape(-1)
    if len(predicted) != len(truth):
        raise DataError(f"there are {len(predicted)} predictions for {len(truth)} true classes")
    occurring = np.unique(np.concatenate([truth, predicted])).tolist() if len(truth) else []
    if class_names is None:
        names: list[Any] = [f"Class_{number + 1}" for number in range(len(occurring))]
        places = {number: place for place, number in enumerate(occurring)}
    else:
        names = list(class_names)
        places = {number: number for number in occurring}
        wrong = [number for number in occurring if not isinstance(number, int) or not 0 <= number < len(names)]
        if wrong:
            raise DataError(f"class {wrong[0]!r} has no name", detail=f"there are {len(names)} class_names")
    counts = np.zeros((len(names), len(names)), np.int64)
    for actual, guess in zip(truth.tolist(), predicted.tolist(), strict=True):
        counts[places[actual], places[guess]] += 1
    table = Table(columns=["Actual", "Predicted", "nPredictions"], allow_mixed_types=True)
    for row, actual in enumerate(names):
        for column, guess in enumerate(names):
            table.add_data(actual, guess, int(counts[row, column]))
    fields = {name: name for name in table.columns}
    return CustomChart("wandb/confusion_matrix/v1", table, fields, {"title": title}, split_table)
