"""Logged tables: the file, media in cells, limits, and a second log in each mode."""

from __future__ import annotations

import datetime
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fixtures.media import Stored
from stepwell.data_types import Histogram, Image, Table
from stepwell.errors import DataError, UsageError

RGB = np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)


def test_table_file_json(stored: Stored) -> None:
    encoded = stored.log(Table(columns=["a", "b"], data=[[1, "x"]]), "val/t", 4)
    data = stored.read(encoded["path"])
    digest = hashlib.sha256(data).hexdigest()
    assert encoded == {
        "_type": "table-file",
        "ncols": 2,
        "nrows": 1,
        "log_mode": "IMMUTABLE",
        "path": f"media/table/val/t_4_{digest[:20]}.table.json",
        "sha256": digest,
        "size": len(data),
    }
    assert data == b'{"columns":["a","b"],"data":[[1,"x"]]}'


@pytest.mark.parametrize("count", [0, 999, 1000, 1001, 2500])
def test_long_table_keeps_every_row(stored: Stored, count: int) -> None:
    encoded = stored.log(Table(columns=["n", "big"], data=[[number, 2**70] for number in range(count)]))
    content = {"columns": ["n", "big"], "data": [[number, 2**70] for number in range(count)]}
    assert (stored.json(encoded["path"]), encoded["nrows"]) == (content, count)


CELLS: list[Any] = [
    pytest.param(float("nan"), {"_type": "float64", "value": "NaN"}, id="NaN"),
    pytest.param(np.float32(0.5), 0.5, id="numpy number"),
    pytest.param(2**70, 2**70, id="long int"),
    pytest.param("größe \ud800", "größe \ufffd", id="lone surrogate"),
    pytest.param(np.arange(100).reshape(50, 2), np.arange(100).reshape(50, 2).tolist(), id="array of any size"),
    pytest.param(np.array(["2024-01-01"], "M8[D]"), ["2024-01-01"], id="dates"),
    pytest.param({1: (1, [np.float64(2)])}, {"1": [1, [2.0]]}, id="nested"),
    pytest.param(datetime.date(2024, 2, 29), "2024-02-29", id="date"),
    pytest.param(
        Histogram([1, 2], num_bins=1), {"_type": "histogram", "values": [2], "bins": [1.0, 2.0]}, id="Histogram"
    ),
]


@pytest.mark.parametrize(("cell", "expected"), CELLS)
def test_cells_are_json(stored: Stored, cell: Any, expected: Any) -> None:
    encoded = stored.log(Table(columns=["c"], data=[[cell]]))
    assert stored.json(encoded["path"])["data"] == [[expected]]


def test_media_in_cells_are_files(stored: Stored) -> None:
    boxed = Image(RGB // 2, boxes={"b": {"box_data": [], "class_labels": {1: "cat"}}}, caption="half")
    table = Table(columns=["id", "one", "more"], data=[[1, Image(RGB), [Image(RGB)]], [2, boxed, None]])
    encoded = stored.log(table, "t", 0)
    [[_, one, more], [_, half, nothing]] = stored.json(encoded["path"])["data"]
    assert (one["_type"], half["caption"], more["_type"], nothing) == ("image-file", "half", "images/separated", None)
    assert one["path"].startswith("media/images/t_0_")
    for cell, expected in ((one, RGB), (half, RGB // 2)):
        assert hashlib.sha256(stored.read(cell["path"])).hexdigest() == cell["sha256"]
        np.testing.assert_array_equal(np.asarray(PIL.Image.open(stored.file(cell["path"]))), expected)
    assert set(table.prepare().config_entries("t")) == {"bounding_box/class_labels"}


def test_table_is_logged_as_it_was(stored: Stored) -> None:
    table = Table(columns=["a"], data=[[1]], log_mode="MUTABLE")
    encoded = stored.log(table, change=lambda: (table.add_data(2), table.data[0].append(3)))
    assert (encoded["nrows"], stored.json(encoded["path"])["data"]) == (1, [[1]])


def test_immutable_table_keeps_its_content(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(columns=["a"], data=[[1]])
    first = stored.log(table, "t", 0)
    assert stored.log(table, "t", 1) == first
    assert caplog.text == ""
    table.add_data(2)
    again = stored.log(table, "t", 2)
    assert (again["path"], again["sha256"], again["nrows"]) == (first["path"], first["sha256"], 1)
    assert 'log_mode="MUTABLE"' in caplog.text


def test_mutable_table_is_a_new_file_each_time(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(columns=["a"], data=[[1]], log_mode="MUTABLE")
    first = stored.log(table, "t", 0)
    table.add_data(2)
    second = stored.log(table, "t", 1)
    assert (first["nrows"], second["nrows"], second["log_mode"]) == (1, 2, "MUTABLE")
    assert stored.json(first["path"])["data"] == [[1]]
    assert stored.json(second["path"])["data"] == [[1], [2]]
    assert caplog.text == ""


def test_incremental_table_stores_new_rows(stored: Stored) -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    encoded = []
    for step in range(3):
        table.add_data(step)
        encoded.append(stored.log(table, "t", step))
    assert [stored.json(one["path"])["data"] for one in encoded] == [[[0]], [[1]], [[2]]]
    assert [(one["_type"], one["increment_num"], one["nrows"]) for one in encoded] == [
        ("incremental-table-file", number, number + 1) for number in range(3)
    ]
    assert encoded[2]["previous_increments_paths"] == [encoded[0]["path"], encoded[1]["path"]]


def test_failed_log_loses_no_incremental_row(stored: Stored) -> None:
    table = Table(columns=["a"], data=[[0]], log_mode="INCREMENTAL")
    table.prepare()  # then another value of the same call is refused
    table.add_data(1)
    assert stored.json(stored.log(table)["path"])["data"] == [[0], [1]]


def test_waiting_increments_are_encoded_in_order(stored: Stored) -> None:
    table = Table(columns=["a"], data=[[0]], log_mode="INCREMENTAL")
    first = table.prepare()
    table.add_data(1)
    second = table.prepare()
    table.add_data(2)
    contents = [stored.json(dict(media.encode("t", 0, stored.sink))["path"])["data"] for media in (first, second)]
    assert contents == [[[0]], [[1]]]


def test_incremental_table_names_its_last_100_files(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    table = Table(columns=["a"], log_mode="INCREMENTAL")
    for step in range(102):
        table.add_data(step)
        encoded = stored.log(table, "t", step)
    assert (encoded["increment_num"], len(encoded["previous_increments_paths"])) == (101, 99)
    assert [json for path in encoded["previous_increments_paths"][:1] for json in stored.json(path)["data"]] == [[2]]
    assert "more than 100 increments" in caplog.text


def test_incremental_table_belongs_to_one_run(stored: Stored, tmp_path: Path) -> None:
    table = Table(columns=["a"], data=[[0]], log_mode="INCREMENTAL")
    stored.log(table)
    with pytest.raises(UsageError, match="belongs to the run"):
        Stored(tmp_path / "another").log(table)


def test_incremental_table_continues_after_resume(stored: Stored) -> None:
    table = Table(columns=["a"], data=[[0]], log_mode="INCREMENTAL")
    before = stored.log(table, "t", 0)
    resumed = Table(columns=["a"], data=[[1]], log_mode="INCREMENTAL")
    resumed.continue_from(before)
    after = stored.log(resumed, "t", 1)
    assert (after["increment_num"], after["nrows"]) == (1, 2)
    assert after["previous_increments_paths"] == [before["path"]]
    assert stored.json(after["path"])["data"] == [[1]]
    for table, previous in ((Table(), before), (resumed, {"_type": "table-file"})):
        with pytest.raises(UsageError, match="only INCREMENTAL tables"):
            table.continue_from(previous)
    with pytest.raises(UsageError, match="description of a table increment is incomplete"):
        resumed.continue_from({"_type": "incremental-table-file", "increment_num": 3})


def test_resumed_table_names_its_last_100_files(stored: Stored) -> None:
    table = Table(columns=["a"], data=[[0]], log_mode="INCREMENTAL")
    previous = {"_type": "incremental-table-file", "increment_num": 101, "nrows": 102, "path": "99"}
    table.continue_from({**previous, "previous_increments_paths": [str(number) for number in range(99)]})
    encoded = stored.log(table)
    assert encoded["previous_increments_paths"] == [str(number) for number in range(1, 100)]
    assert (encoded["increment_num"], encoded["nrows"]) == (102, 103)


def test_excess_rows_are_dropped_with_a_warning(
    stored: Stored, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Table.MAX_ROWS == Table.MAX_ARTIFACT_ROWS == 200_000
    monkeypatch.setattr(Table, "MAX_ROWS", 2)
    monkeypatch.setattr(Table, "MAX_ARTIFACT_ROWS", 3)
    encoded = stored.log(Table(columns=["a"], data=[[number] for number in range(5)]))
    assert (encoded["nrows"], stored.json(encoded["path"])["data"]) == (3, [[0], [1], [2]])
    assert "3 of its 5 rows are logged" in caplog.text


def test_list_of_tables_is_a_list_of_objects(stored: Stored) -> None:
    encoded = stored.log([Table(columns=["a"], data=[[1]]), Table(columns=["b"], data=[[2]])])
    assert [stored.json(one["path"])["columns"] for one in encoded] == [["a"], ["b"]]


class Fickle:
    """A cell that can be encoded at first, but not later."""

    def __init__(self) -> None:
        self.asked = 0

    def __stepwell_json__(self) -> Any:
        self.asked += 1
        if self.asked > 1:
            raise ValueError("gone")
        return 5


@pytest.mark.parametrize("cell", [object(), [object()], {"a": {1: object()}}, 2**2000, b"\xff", np.array([object()])])
def test_invalid_cell_is_refused_when_added(cell: Any) -> None:
    table = Table(columns=["a"], data=[[1]], allow_mixed_types=True)
    with pytest.raises(DataError):
        table.add_data(cell)
    with pytest.raises(DataError):
        table.add_column("b", [cell])
    assert table.data == [[1]]


@pytest.mark.parametrize("mode", ["IMMUTABLE", "MUTABLE", "INCREMENTAL"])
def test_row_that_fails_later_is_dropped_alone(stored: Stored, caplog: pytest.LogCaptureFixture, mode: str) -> None:
    table = Table(columns=["a"], data=[[1], [Fickle()], [3]], allow_mixed_types=True, log_mode=mode)
    first = stored.log(table)
    assert (stored.json(first["path"])["data"], first["nrows"]) == ([[1], [3]], 2)
    assert "stored without 1 of its 3 rows. The last error: ValueError: gone" in caplog.text
    if mode == "INCREMENTAL":
        table.add_data(4)
        second = stored.log(table, "t", 1)
        assert (stored.json(second["path"])["data"], second["nrows"]) == ([[4]], 3)


@pytest.mark.parametrize("mode", ["IMMUTABLE", "MUTABLE", "INCREMENTAL"])
def test_cells_are_logged_as_they_were(stored: Stored, mode: str) -> None:
    table = Table(columns=["a", "b"], data=[[[1, [2]], np.zeros(2)]], log_mode=mode)
    logged = table.prepare()
    table.data[0][0][1].append(9)
    table.data[0][1][:] = 7
    table.data[0].append("more")
    encoded = logged.encode("t", 0, stored.sink)
    assert stored.json(encoded["path"])["data"] == [[[1, [2]], [0, 0]]]


def test_nan_in_text_and_number_columns(stored: Stored) -> None:
    nan, json_nan = float("nan"), {"_type": "float64", "value": "NaN"}
    table = Table(
        columns=["text", "number", "late"], data=[[nan, nan, nan], ["a", 1, nan], [np.float64("nan"), 2, "x"]]
    )
    assert stored.json(stored.log(table)["path"])["data"] == [[None, json_nan, None], ["a", 1, None], [None, 2, "x"]]


def test_columns_may_be_a_pandas_index(stored: Stored) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", None]})
    table = Table(data=frame, columns=frame.columns)
    assert table.columns == ["a", "b"]
    assert Table(data=frame.values.tolist(), columns=frame.columns[::-1]).columns == ["b", "a"]
    assert stored.json(stored.log(table)["path"])["data"] == [[1, "x"], [2, None]]
