"""Charts: the table in the row, the layout in the config, and each plot function."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fixtures.media import Stored
from stepwell import plot
from stepwell.data_types import Image, Table
from stepwell.errors import DataError

TABLE = Table(columns=["a", "b", "c"], data=[[1, 2.5, "x"], [2, 3.5, "y"]])


@pytest.mark.parametrize(
    ("chart", "spec", "fields", "strings"),
    [
        pytest.param(plot.line(TABLE, "a", "b"), "wandb/line/v0", {"x": "a", "y": "b"}, {"title": ""}, id="line"),
        pytest.param(
            plot.line(TABLE, x="a", y="b", stroke="c", title="T"),
            "wandb/line/v0",
            {"x": "a", "y": "b", "stroke": "c"},
            {"title": "T"},
            id="line with stroke",
        ),
        pytest.param(
            plot.scatter(TABLE, "a", "b", "T"), "wandb/scatter/v0", {"x": "a", "y": "b"}, {"title": "T"}, id="scatter"
        ),
        pytest.param(
            plot.bar(TABLE, "c", "b", title="T"), "wandb/bar/v0", {"label": "c", "value": "b"}, {"title": "T"}, id="bar"
        ),
        pytest.param(
            plot.histogram(TABLE, "b", "T"), "wandb/histogram/v0", {"value": "b"}, {"title": "T"}, id="histogram"
        ),
        pytest.param(
            plot.plot_table("me/own", TABLE, {"x": "a"}, {"word": "W"}),
            "me/own",
            {"x": "a"},
            {"word": "W"},
            id="plot_table",
        ),
        pytest.param(plot.plot_table("me/own", TABLE, {}), "me/own", {}, {}, id="plot_table of nothing"),
    ],
)
def test_table_charts_name_spec_and_columns(chart: plot.CustomChart, spec: str, fields: Any, strings: Any) -> None:
    config = chart.config_entry("k")["panel_config"]
    assert (config["panelDefId"], config["fieldSettings"], config["stringSettings"]) == (spec, fields, strings)
    assert chart.table is TABLE


def test_chart_table_is_in_the_row_and_layout_in_config(stored: Stored) -> None:
    chart = plot.line(Table(columns=["x", "y"], data=[[1, 2]]), "x", "y", title="T")
    key = chart.row_key("val.curve")
    encoded = stored.log(chart, key, 3)
    assert key == chart.table_key("val.curve") == "val.curve_table"
    assert stored.json(encoded["path"]) == {"columns": ["x", "y"], "data": [[1, 2]]}
    assert encoded["path"].startswith("media/table/val.curve_table_3_")
    assert chart.config_entries("val.curve") == {
        "visualize": {
            "val.curve": {
                "panel_type": "Vega2",
                "panel_config": {
                    "panelDefId": "wandb/line/v0",
                    "fieldSettings": {"x": "x", "y": "y"},
                    "stringSettings": {"title": "T"},
                    "transform": {"name": "tableWithLeafColNames"},
                    "userQuery": {
                        "queryFields": [
                            {
                                "name": "runSets",
                                "args": [{"name": "runSets", "value": "${runSets}"}],
                                "fields": [
                                    {"name": "id", "fields": []},
                                    {"name": "name", "fields": []},
                                    {"name": "_defaultColorIndex", "fields": []},
                                    {
                                        "name": "summaryTable",
                                        "args": [{"name": "tableKey", "value": "val.curve_table"}],
                                        "fields": [],
                                    },
                                ],
                            }
                        ]
                    },
                },
            }
        }
    }


def test_only_charts_change_their_key() -> None:
    assert (TABLE.row_key("k"), Image(np.zeros((1, 1))).row_key("k")) == ("k", "k")


@pytest.mark.parametrize(
    "make",
    [
        lambda: plot.line(TABLE, "a", "b", split_table=True),
        lambda: plot.scatter(TABLE, "a", "b", split_table=True),
        lambda: plot.bar(TABLE, "c", "b", split_table=True),
        lambda: plot.histogram(TABLE, "b", split_table=True),
        lambda: plot.line_series([1], [[2]], split_table=True),
        lambda: plot.pr_curve([0, 1], [[0.9, 0.1], [0.2, 0.8]], split_table=True),
        lambda: plot.roc_curve([0, 1], [[0.9, 0.1], [0.2, 0.8]], split_table=True),
        lambda: plot.confusion_matrix(y_true=[0], preds=[0], split_table=True),
        lambda: plot.plot_table("me/own", TABLE, {"x": "a"}, split_table=True),
    ],
)
def test_split_table_works_for_all_charts(make: Any) -> None:
    chart = make()
    assert chart.table_key("k") == "Custom Chart Tables/k_table"
    [query] = chart.config_entry("k")["panel_config"]["userQuery"]["queryFields"]
    assert query["fields"][-1]["args"] == [{"name": "tableKey", "value": "Custom Chart Tables/k_table"}]


def test_chart_shows_the_table_as_logged(stored: Stored) -> None:
    table = Table(columns=["x", "y"], data=[[1, 2]], log_mode="MUTABLE")
    encoded = stored.log(plot.line(table, "x", "y"), "k_table", change=lambda: table.add_data(3, 4))
    assert stored.json(encoded["path"])["data"] == [[1, 2]]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: plot.line(TABLE, "a", "z"), "the table has no column 'z'"),
        (lambda: plot.bar([[1]], "a", "b"), "a chart needs a Table, not list"),  # type: ignore[arg-type]  # the mistake
        (lambda: plot.plot_table(5, TABLE, {}), "name of the specification must be a string"),  # type: ignore[arg-type]  # likewise
        (lambda: plot.line_series([1, 2], [[1]]), "'line_0' has 1 y values for 2 x values"),
        (lambda: plot.line_series([[1], [2]], [[1]]), "2 sequences of x values for 1 lines"),
        (lambda: plot.line_series([1], [[1], [2]], keys=["a"]), "1 keys for 2 lines"),
        (lambda: plot.line_series(5, [[1]]), "sequence of values .int."),  # type: ignore[arg-type]  # likewise
        (lambda: plot.line_series([1], [5]), "sequence of values .int."),  # type: ignore[list-item]  # likewise
    ],
)
def test_invalid_chart_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


SERIES: list[Any] = [
    pytest.param([0, 1], [[2, 3], [4, 5]], None, id="one xs for all"),
    pytest.param([[0, 1], [0, 1]], [[2, 3], [4, 5]], ["line_0", "line_1"], id="one xs each"),
    pytest.param(np.array([0, 1]), np.array([[2, 3], [4, 5]]), None, id="arrays"),
    pytest.param(range(2), ((2, 3), np.array([4, 5])), None, id="range, tuples"),
]


@pytest.mark.parametrize(("xs", "ys", "keys"), SERIES)
def test_line_series_table(xs: Any, ys: Any, keys: Any) -> None:
    chart = plot.line_series(xs, ys, keys, title="T", xname="epoch")
    assert chart.table.columns == ["step", "lineKey", "lineVal"]
    assert chart.table.data == [[0, "line_0", 2], [1, "line_0", 3], [0, "line_1", 4], [1, "line_1", 5]]
    assert (chart.spec, chart.strings) == ("wandb/lineseries/v0", {"title": "T", "xname": "epoch"})
    assert chart.fields == {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    assert plot.line_series([1], [[2]]).strings == {"title": "", "xname": "x"}


@pytest.mark.parametrize(
    ("given", "names", "expected"),
    [
        pytest.param({"preds": [0, 1, 1]}, None, [[1, 1], [0, 1]], id="preds"),
        pytest.param({"probs": [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]}, None, [[1, 1], [0, 1]], id="probs"),
        pytest.param({"preds": np.array([0, 1, 1])}, ["cat", "dog"], [[1, 1], [0, 1]], id="names"),
        pytest.param(
            {"preds": [0, 1, 1]}, list("abc"), [[1, 1, 0], [0, 1, 0], [0, 0, 0]], id="more names than classes"
        ),
    ],
)
def test_confusion_matrix_has_all_class_pairs(given: Any, names: Any, expected: Any) -> None:
    chart = plot.confusion_matrix(y_true=[0, 0, 1], class_names=names, **given)
    names = names or ["Class_1", "Class_2"]
    assert chart.table.columns == ["Actual", "Predicted", "nPredictions"]
    assert chart.table.data == [
        [actual, predicted, expected[row][column]]
        for row, actual in enumerate(names)
        for column, predicted in enumerate(names)
    ]
    assert chart.spec == "wandb/confusion_matrix/v1"
    assert chart.fields == {name: name for name in chart.table.columns}


def test_confusion_matrix_numbers_occurring_classes() -> None:
    chart = plot.confusion_matrix(y_true=[5, 9], preds=[9, 9], title="T")
    assert chart.table.data == [
        ["Class_1", "Class_1", 0],
        ["Class_1", "Class_2", 1],
        ["Class_2", "Class_1", 0],
        ["Class_2", "Class_2", 1],
    ]
    assert chart.strings == {"title": "T"}


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"y_true": [0]}, "either probs or preds"),
        ({"y_true": [0], "preds": [0], "probs": [[1.0]]}, "either probs or preds"),
        ({"preds": [0]}, "needs y_true"),
        ({"y_true": [0], "preds": [0, 1]}, "2 predictions for 1 true classes"),
        ({"y_true": [0], "probs": [1.0]}, "samples × classes"),
        ({"y_true": [0], "preds": [2], "class_names": ["a"]}, "class 2 has no name .there are 1 class_names."),
        ({"y_true": ["cat"], "preds": ["cat"], "class_names": ["cat"]}, "class 'cat' has no name"),
    ],
)
def test_confusion_matrix_rejects_wrong_arguments(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        plot.confusion_matrix(**given)
