"""Tables: creating and filling them, types of columns, and reading them."""

from __future__ import annotations

import datetime
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.media import Stored
from stepwell.data_types import Image, Media, Table
from stepwell.errors import DataError, Error, UsageError

RGB = np.zeros((2, 3, 3), np.uint8)
DAY = datetime.date(2024, 2, 29)


@pytest.mark.parametrize("name", ["data", "rows"])
def test_table_from_rows(name: str) -> None:
    table = Table(columns=["a", "b"], **{name: [[1, "x"], (2, "y")]})
    assert (table.columns, table.data) == (["a", "b"], [[1, "x"], [2, "y"]])


def test_default_columns() -> None:
    assert Table().columns == ["Input", "Output", "Expected"]


def test_table_from_a_2d_array() -> None:
    assert Table(columns=["a", "b"], data=np.array([[1, 2], [3, 4]])).data == [[1, 2], [3, 4]]
    with pytest.raises(DataError, match="two dimensions"):
        Table(columns=["a"], data=np.array([1]))


@pytest.mark.parametrize("name", ["data", "dataframe"])
def test_table_from_a_dataframe(name: str) -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "f": [0.5, np.nan], "s": ["x", None], 3: [DAY, DAY], "c": pd.Categorical(["a", "b"])}
    )
    table = Table(**{name: frame})
    assert table.columns == ["n", "f", "s", 3, "c"]
    assert table.data[0] == [1, 0.5, "x", DAY, "a"]
    assert table.data[1][0] == 2
    assert np.isnan(table.data[1][1])
    assert table.data[1][2] is None
    pd.testing.assert_frame_equal(Table(dataframe=table.get_dataframe()).get_dataframe(), table.get_dataframe())


def test_dataframe_columns_may_repeat() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    assert Table(dataframe=frame).data == Table(frame).data == [[1, 2]]
    assert Table(["x", "y"], frame).columns == ["x", "y"]
    with pytest.raises(DataError, match="2 columns, but `columns` names 1"):
        Table(["x"], frame)


def test_logged_dataframe_is_a_table(stored: Stored) -> None:
    """Covers the row "pandas DataFrame" of §4."""
    encoded = stored.log(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}))
    assert encoded["_type"] == "table-file"
    assert stored.json(encoded["path"]) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Table(columns=["a"], data=[[1, 2]]), "a row has 2 cells, and the table 1 columns"),
        (lambda: Table(columns=["a"]).add_data(), "a row has 0 cells"),
        (lambda: Table(columns=["a"], data=5), "list of rows"),
        (lambda: Table(columns=["a"], data="text"), "list of rows"),
        (lambda: Table(columns="a"), "list of names"),
        (lambda: Table(columns=[1.5]), "list of names"),
        (lambda: Table(log_mode="SOMETIMES"), "invalid log_mode 'SOMETIMES'"),
        (lambda: Table(columns=["a"], dtype=3), "cannot have this type"),
        (lambda: Table(columns=["a"], dtype=[int, int]), "2 types or options are given for 1"),
        (lambda: Table(columns=["a"]).get_column("b"), "no column 'b'"),
        (lambda: Table(columns=["a"]).get_column("a", "torch"), "converted to 'torch'"),
        (lambda: Table(columns=["a"]).add_column("a", []), "a column 'a' already"),
        (lambda: Table(columns=["a"]).add_column("b", [1]), "a column has 1 cells, and the table 0 rows"),
        (lambda: Table(columns=["a"]).set_pk("b"), "no column 'b'"),
        (lambda: Table(columns=["a"]).set_fk("a", Table(columns=["x"]), "y"), "no column 'y'"),
    ],
)
def test_invalid_table_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


FITTING: list[Any] = [
    pytest.param([1, 2.5, np.float32(1), np.int8(3), float("nan"), None], id="numbers"),
    pytest.param(["a", np.str_("b"), ""], id="strings"),
    pytest.param([True, np.bool_(False)], id="booleans"),
    pytest.param([None, None, "x"], id="None first"),
    pytest.param([[], [1], [2.5, 3], np.array([1, 2]), None], id="lists of numbers"),
    pytest.param([[1, "a"], ["b"], []], id="lists of anything"),
    pytest.param([{"a": 1}, {"b": "x"}], id="dicts"),
    pytest.param([DAY, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), np.datetime64("2024-01-01")], id="times"),
    pytest.param([Image(RGB), Image(RGB)], id="media of a class"),
]


@pytest.mark.parametrize("cells", FITTING)
def test_cells_match_their_column_type(cells: list[Any]) -> None:
    assert len(Table(columns=["c"], data=[[cell] for cell in cells]).data) == len(cells)


CONFLICTING: list[Any] = [
    pytest.param(1, "a", "string does not match the column 'c'", id="number, string"),
    pytest.param("a", 1, "number does not match", id="string, number"),
    pytest.param(1, True, "boolean does not match", id="number, boolean"),
    pytest.param([1], ["a"], "list of string does not match", id="list of numbers, list of strings"),
    pytest.param([1], 1, "number does not match", id="list, number"),
    pytest.param({"a": 1}, "a", "string does not match", id="dict, string"),
    pytest.param(Image(RGB), Media(), "Media does not match", id="two classes of media"),
    pytest.param(DAY, "2024-02-29", "string does not match", id="time, string"),
]


@pytest.mark.parametrize(("first", "second", "text"), CONFLICTING)
def test_mixed_types_must_be_allowed(first: Any, second: Any, text: str) -> None:
    table = Table(columns=["c"], data=[[first]])
    with pytest.raises(TypeError, match=text):
        table.add_data(second)
    assert len(table.data) == 1
    table.add_data(first)
    mixed = Table(columns=["c"], data=[[first], [second], [None]], allow_mixed_types=True)
    assert len(mixed.data) == 3


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        (int, 1.5, "a"),
        (str, "a", 1),
        (bool, True, 1),
        (np.float32, 2, "a"),
        (list, [1], 1),
        (dict, {"a": 1}, [1]),
        (Image, Image(RGB), 1),
        (datetime.datetime, DAY, 1),
        ("number", 1, "a"),
        ([str], "a", 1),
    ],
)
def test_dtype_sets_the_column_type(dtype: Any, good: Any, bad: Any) -> None:
    table = Table(columns=["c"], dtype=dtype)
    with pytest.raises(TypeError, match="does not match"):
        table.add_data(bad)
    table.add_data(good)
    Table(columns=["c"], dtype=object, data=[[good], [bad]])


@pytest.mark.parametrize("optional", [False, [False]])
def test_none_needs_optional_cells(optional: Any) -> None:
    table = Table(columns=["c"], optional=optional)
    with pytest.raises(TypeError, match="type none does not match"):
        table.add_data(None)
    Table(columns=["c"], data=[[None]])


def test_cells_are_copied() -> None:
    array, items, nested = np.zeros(3), [1, [2]], {"a": [1]}
    table = Table(columns=["a", "b", "c"], data=[[array, items, nested]])
    array[:] = 9
    items[1].append(3)  # type: ignore[attr-defined]  # it is a list
    nested["a"].append(2)
    row = table.data[0]
    assert (row[0].tolist(), row[1], row[2]) == ([0, 0, 0], [1, [2]], {"a": [1]})


def test_columns_are_added_and_read() -> None:
    table = Table(columns=["a"], data=[[1], [2]])
    table.add_column("b", ["x", "y"])
    table.add_column("c", np.array([0.5, 1.5]))
    assert table.data == [[1, "x", 0.5], [2, "y", 1.5]]
    assert table.get_column("b") == ["x", "y"]
    assert table.get_column("c", convert_to="numpy").tolist() == [0.5, 1.5]
    with pytest.raises(TypeError, match="does not match the column 'd'"):
        table.add_column("d", [1, "x"])
    with pytest.raises(TypeError, match="none does not match the column 'd'"):
        table.add_column("d", [1, None])
    table.add_column("d", [1, None], optional=True)
    assert table.columns == ["a", "b", "c", "d"]
    assert table.get_index() == [0, 1]


def test_first_column_sets_the_length() -> None:
    table = Table(columns=[])
    table.add_column("a", [1, 2])
    assert table.data == [[1], [2]]


def test_rows_are_iterated_with_indexes() -> None:
    assert list(Table(columns=["a"], data=[[5], [6]]).iterrows()) == [(0, [5]), (1, [6])]


def test_computed_columns() -> None:
    table = Table(columns=["a"], data=[[1], [2]])
    table.add_computed_columns(lambda number, row: {"twice": 2 * row["a"], "number": number})
    assert (table.columns, table.data) == (["a", "twice", "number"], [[1, 2, 0], [2, 4, 1]])
    with pytest.raises(DataError, match="the same for each row"):
        table.add_computed_columns(lambda number, row: {f"c{number}": 1})


def test_column_can_be_cast() -> None:
    table = Table(columns=["a"], data=[[1], [2]])
    table.cast("a", float)
    with pytest.raises(TypeError, match="does not match"):
        table.cast("a", str)
    table.cast("a", object)
    table.add_data("x")


def test_primary_and_foreign_keys_can_be_named() -> None:
    names = Table(columns=["id"], data=[["a"]])
    names.set_pk("id")
    Table(columns=["name"], data=[["a"]]).set_fk("name", names, "id")


def test_get_dataframe_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(columns=["a", "b"], data=[[1, "x"], [2, None]])
    frame = table.get_dataframe()
    assert (list(frame.columns), frame["a"].tolist()) == (["a", "b"], [1, 2])
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DataError, match="pip install pandas"):
        table.get_dataframe()


@pytest.mark.parametrize("method", ["add_column", "add_computed_columns"])
def test_incremental_tables_have_fixed_columns(method: str) -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    with pytest.raises(Error, match=f"{method} does not work with INCREMENTAL tables") as raised:
        getattr(table, method)(*(["b", []] if method == "add_column" else [lambda *_: {}]))
    assert isinstance(raised.value, UsageError)


CELLS = st.one_of(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)


@given(st.lists(st.tuples(CELLS, CELLS)))
def test_plain_cells_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    stored = Stored(tmp_path_factory.getbasetemp() / "tables")
    encoded = stored.log(Table(columns=["a", "b"], data=rows, allow_mixed_types=True))
    assert stored.json(encoded["path"])["data"] == [list(row) for row in rows]
