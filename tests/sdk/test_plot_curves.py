"""Precision-recall and ROC curves, compared with scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from stepwell import plot
from stepwell.errors import DataError
from stepwell.plot._curves import false_and_true_positive_rates, precision_and_recall

RNG = np.random.default_rng(5)
TRUTH = RNG.integers(0, 3, 200)
SCORES = RNG.random((200, 3)).round(2) + np.eye(3)[TRUTH] * 0.3  # with ties
SAMPLES = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.5, 0.5000001, 0.9, 1.0])), min_size=1)


@given(SAMPLES)
def test_precision_and_recall_match_scikit_learn(samples: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([one[0] for one in samples]), np.array([one[1] for one in samples])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns if there are no positives
        expected = metrics.precision_recall_curve(truth, scores, pos_label=True)[:2]
    np.testing.assert_array_equal(precision_and_recall(truth, scores), expected)


@given(SAMPLES)
def test_roc_rates_match_scikit_learn(samples: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([one[0] for one in samples]), np.array([one[1] for one in samples])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = metrics.roc_curve(truth, scores, pos_label=True)[:2]
    np.testing.assert_array_equal(false_and_true_positive_rates(truth, scores), expected)


def of_class(chart: plot.CustomChart, name: Any) -> np.ndarray[Any, Any]:
    return np.array([row[1:] for row in chart.table.data if row[0] == name])


@pytest.mark.parametrize("size", [21, 5])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_pr_curve_has_21_recalls(size: int, number: int) -> None:
    chart = plot.pr_curve(TRUTH, SCORES, **({} if size == 21 else {"interp_size": size}))  # type: ignore[arg-type]  # an int
    assert chart is not None
    precision, recall, _ = metrics.precision_recall_curve(number == TRUTH, SCORES[:, number])
    expected = [(precision[recall >= at].max().round(3), at.round(3)) for at in np.linspace(0, 1, size)]
    np.testing.assert_array_equal(of_class(chart, number), expected)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_roc_curve_matches_scikit_learn(number: int) -> None:
    chart = plot.roc_curve(TRUTH, SCORES)
    assert chart is not None
    expected = metrics.roc_curve(number == TRUTH, SCORES[:, number])[:2]
    np.testing.assert_array_equal(of_class(chart, number).T, expected)


@pytest.mark.parametrize(
    ("function", "columns", "fields", "strings"),
    [
        (
            plot.pr_curve,
            ["class", "precision", "recall"],
            {"x": "recall", "y": "precision", "class": "class"},
            {"title": "Precision-Recall Curve", "x-axis-title": "Recall", "y-axis-title": "Precision"},
        ),
        (
            plot.roc_curve,
            ["class", "fpr", "tpr"],
            {"x": "fpr", "y": "tpr", "class": "class"},
            {"title": "ROC Curve", "x-axis-title": "False Positive Rate", "y-axis-title": "True Positive Rate"},
        ),
    ],
)
def test_curves_have_the_auc_chart_type(function: Any, columns: Any, fields: Any, strings: Any) -> None:
    chart = function(TRUTH.tolist(), SCORES.tolist())
    assert (chart.spec, chart.table.columns) == ("wandb/area-under-curve/v0", columns)
    assert (chart.fields, chart.strings) == (fields, strings)
    assert function(TRUTH, SCORES, title="T").strings["title"] == "T"


@pytest.mark.parametrize("function", [plot.pr_curve, plot.roc_curve])
def test_labels_and_selected_classes(function: Any) -> None:
    chart = function(TRUTH, SCORES, labels=["cat", "dog", "car"], classes_to_plot=[0, 2])
    assert {row[0] for row in chart.table.data} == {"cat", "car"}
    np.testing.assert_array_equal(of_class(chart, "car"), of_class(function(TRUTH, SCORES), 2))
    with pytest.raises(DataError, match="class 2 has no label"):
        function(TRUTH, SCORES, labels=["cat", "dog"])


@pytest.mark.parametrize("function", [plot.pr_curve, plot.roc_curve])
def test_classes_may_have_names(function: Any) -> None:
    chart = function(np.array(list("abc"))[TRUTH], SCORES, labels=["not", "for", "these"])
    np.testing.assert_array_equal(of_class(chart, "b"), of_class(function(TRUTH, SCORES), 1))


@pytest.mark.parametrize("function", [plot.pr_curve, plot.roc_curve])
@pytest.mark.parametrize("arguments", [(None, None), (TRUTH, None), (None, SCORES), ("text", SCORES), (TRUTH, 5)])
def test_missing_arguments_give_a_warning(function: Any, arguments: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert function(*arguments) is None
    assert "no curve is drawn" in caplog.text


@pytest.mark.parametrize("function", [plot.pr_curve, plot.roc_curve])
@pytest.mark.parametrize(
    ("truth", "scores", "text"),
    [
        (TRUTH, SCORES[:-1], r"their shapes are \(200,\) and \(199, 3\)"),
        (TRUTH, SCORES[:, 0], "their shapes"),
        ([], [], "their shapes"),
        (TRUTH, SCORES[:, :2], "3 classes, and y_probas 2 columns"),
        ([0, 1], [[0.5, np.nan], [0.5, 0.5]], "finite numbers"),
        ([0, 1], [["a", "b"], ["c", "d"]], "finite numbers"),
    ],
)
def test_mismatched_arguments_are_errors(function: Any, truth: Any, scores: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        function(truth, scores)


def test_long_roc_curve_is_thinned(caplog: pytest.LogCaptureFixture) -> None:
    truth = RNG.integers(0, 2, 60_000)
    scores = RNG.random(60_000)
    chart = plot.roc_curve(truth, np.stack([1 - scores, scores], 1))
    assert chart is not None
    assert "thinned" in caplog.text
    assert len(chart.table.data) <= 10_000
    points = of_class(chart, 1)
    np.testing.assert_array_equal(points[[0, -1]], [[0, 0], [1, 1]])
    area = float((np.diff(points[:, 0]) * (points[1:, 1] + points[:-1, 1]) / 2).sum())
    assert area == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-3)
