"""`wandb.sklearn`: charts of fitted models, each under its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression

import stepwell
from stepwell.errors import AbsentNameError, Error, UsageError
from stepwell.integration import sklearn as charts
from stepwell.testing import Capture, capture

SAMPLES, LABELS = load_iris(return_X_y=True)
NAMES = ["setosa", "versicolor", "virginica"]


def table_of(captured: Capture, key: str) -> list[list[Any]]:
    """The rows of a chart's table."""
    import json

    [media] = [media for media in captured.media if media.key == f"{key}_table"]
    [content] = media.files.values()
    rows: list[list[Any]] = json.loads(content)["data"]
    return rows


def test_curves_and_matrices_are_logged() -> None:
    model = LogisticRegression(max_iter=500).fit(SAMPLES, LABELS)
    chances, predicted = model.predict_proba(SAMPLES), model.predict(SAMPLES)
    with capture() as captured:
        stepwell.init()
        charts.plot_roc(LABELS, chances, NAMES)
        charts.plot_precision_recall(LABELS, chances, NAMES)
        charts.plot_confusion_matrix(LABELS, predicted, NAMES)
    assert {row[0] for row in table_of(captured, "roc")} == set(NAMES)
    assert {row[0] for row in table_of(captured, "precision_recall")} == set(NAMES)
    matrix = {(actual, guess): count for actual, guess, count in table_of(captured, "confusion_matrix")}
    assert matrix["setosa", "setosa"] == 50
    assert sum(matrix.values()) == 150
    assert matrix["versicolor", "virginica"] == ((LABELS == 1) & (predicted == 2)).sum()


def test_class_labels_may_be_texts() -> None:
    with capture() as captured:
        stepwell.init()
        charts.plot_confusion_matrix(np.array(["cat", "dog", "dog"]), np.array(["cat", "cat", "dog"]))
    assert table_of(captured, "confusion_matrix") == [
        *(["cat", "cat", 1], ["cat", "dog", 0]),
        *(["dog", "cat", 1], ["dog", "dog", 1]),
    ]


def test_importances_are_sorted() -> None:
    model = RandomForestClassifier(10, random_state=7).fit(SAMPLES, LABELS)
    with capture() as captured:
        stepwell.init()
        charts.plot_feature_importances(model, ["a", "b", "c", "d"], max_num_features=2)
    rows = table_of(captured, "feature_importances")
    order = np.argsort(model.feature_importances_)[::-1][:2]
    assert rows == [["abcd"[at], float(model.feature_importances_[at])] for at in order]


def test_model_without_importances_is_refused() -> None:
    with pytest.raises(UsageError, match="neither feature_importances_ nor coef_"):
        charts.plot_feature_importances(object())


def test_class_proportions_count_both_sets() -> None:
    with capture() as captured:
        stepwell.init()
        charts.plot_class_proportions([0, 0, 1], [1, 1, 1], ["no", "yes"])
    assert table_of(captured, "class_proportions") == [
        *(["no", "train", 2], ["yes", "train", 1]),
        *(["no", "test", 0], ["yes", "test", 3]),
    ]


def test_summary_metrics_depend_on_the_model_type() -> None:
    classifier = LogisticRegression(max_iter=500).fit(SAMPLES, LABELS)
    regression = LinearRegression().fit(SAMPLES[:, :3], SAMPLES[:, 3])
    with capture() as captured:
        stepwell.init()
        charts.plot_summary_metrics(classifier, SAMPLES, LABELS, SAMPLES, LABELS)
        stepwell.finish()
        stepwell.init()
        charts.plot_summary_metrics(regression, None, None, SAMPLES[:, :3], SAMPLES[:, 3])
    [of_classes, of_numbers] = [run.media[0] for run in captured.runs]
    assert of_classes.value["nrows"] == 4
    assert {name: value for name, value in table_of(captured, "summary_metrics")}["r2_score"] == pytest.approx(
        regression.score(SAMPLES[:, :3], SAMPLES[:, 3])
    )
    assert of_numbers.value["nrows"] == 3


def test_other_charts_give_advice() -> None:
    with pytest.raises(AbsentNameError, match=r"plot_elbow_curve(.|\n)*wandb\.plot\.line"):
        _ = charts.plot_elbow_curve


def test_chart_without_a_run_is_an_error() -> None:
    with pytest.raises(Error, match=r"You must call wandb\.init\(\) before plot_confusion_matrix\(\)"):
        charts.plot_confusion_matrix([0, 1], [0, 1])
