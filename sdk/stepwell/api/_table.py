"""Converts rows to dicts, a pandas DataFrame, an Arrow table or a polars DataFrame.

Receives batches of rows and returns them in the requested form. Missing values are None, or null in Arrow and polars,
as distinct from a logged NaN; pandas has NaN for both.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from stepwell.errors import UsageError
from stepwell.wire.columns import Batch, Column

STEP, TIMESTAMP, RUNTIME, WRITER = "_step", "_timestamp", "_runtime", "_writer"
RESERVED = (STEP, TIMESTAMP, RUNTIME, WRITER)


class Rows:
    """One batch of rows.

    Attributes:
        steps: int64[R].
        times: int64[R], µs since the Unix epoch; None when not sent.
        writer: int32[R], indexes of `writers`.
        next_step: the step below which all rows have arrived.
        columns: the columns of the keys.
    """

    def __init__(self, batch: Batch) -> None:
        index = {column.name: column.values for column in batch.columns[: batch.head["index"]]}
        self.steps: Any = index["step"]
        self.writer: Any = index["writer"]
        self.times: Any = index.get("time")
        self.writers: list[str] = batch.head["writers"]
        self.next_step: int = batch.head["next_step"]
        self.columns: list[Column] = batch.columns[batch.head["index"] :]

    def as_dicts(self, shape: Shape) -> Iterator[dict[str, Any]]:
        """The rows as dicts, each with the keys that it has."""
        index = dict(shape.index(self))
        rows: list[dict[str, Any]] = [{STEP: step} for step in self.steps.tolist()]
        if WRITER in index:
            for row, name in zip(rows, index[WRITER].tolist(), strict=True):
                row[WRITER] = name
        for column in self.columns:
            at = range(len(rows)) if column.rows is None else column.rows.tolist()
            for number, value in zip(at, _plain(column), strict=True):
                rows[number][column.name] = value
        for name in shape.last:
            if name in index:
                for row, value in zip(rows, index[name].tolist(), strict=True):
                    row[name] = value
        return iter(rows)


class Shape:
    """The columns besides those of the keys.

    Args:
        keys: the requested keys; None: whole rows, which have all of these columns.
        created_us: the start of the run, in µs since the Unix epoch.
        several_writers: whether the run has several writers, so that rows name theirs.
    """

    last = (TIMESTAMP, RUNTIME)

    def __init__(self, keys: Iterable[str] | None, created_us: int, several_writers: bool) -> None:
        wanted = RESERVED if keys is None else tuple(key for key in keys if key in RESERVED)
        self._names = [STEP]
        if several_writers or (keys is not None and WRITER in wanted):
            self._names.append(WRITER)
        self._names += [name for name in self.last if name in wanted]
        self.created_us = created_us

    @property
    def has_writers(self) -> bool:
        """Whether rows name their writer."""
        return WRITER in self._names

    def index(self, rows: Rows) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Name and values of each column."""
        for name in self._names:
            if name == STEP:
                yield name, rows.steps
            elif name == WRITER:
                yield name, np.array(rows.writers, object)[rows.writer]
            elif name == TIMESTAMP:
                yield name, rows.times / 1e6
            else:
                yield name, (rows.times - self.created_us) / 1e6


class Table:
    """Joins rows of several batches into columns.

    Args:
        parts: the batches.
        shape: the columns besides those of the keys.
        keys: the columns of the keys and their order; None: those in the batches.
    """

    def __init__(self, parts: Iterable[Rows], shape: Shape, keys: Iterable[str] | None) -> None:
        self._index: dict[str, list[npt.NDArray[Any]]] = {}
        self._columns: dict[str, list[tuple[npt.NDArray[np.int64], Column]]] = {
            key: [] for key in keys or () if key not in RESERVED
        }
        self.rows = 0
        for part in parts:
            for name, values in shape.index(part):
                self._index.setdefault(name, []).append(values)
            for column in part.columns:
                at = np.arange(len(part.steps)) if column.rows is None else column.rows.astype(np.int64)
                self._columns.setdefault(column.name, []).append((at + self.rows, column))
            self.rows += len(part.steps)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any], npt.NDArray[np.bool_] | None]]:
        """Name, values and mask of missing values (None: none are missing) of each column; float64, int64 or Python
        objects."""
        for name in (STEP, WRITER, TIMESTAMP, RUNTIME):
            if name == TIMESTAMP:
                for key, parts in self._columns.items():
                    yield key, *self._column(parts)
            if name in self._index or name == STEP:
                yield name, np.concatenate(self._index.get(name, [np.zeros(0, np.int64)])), None

    def _column(self, parts: list[tuple[npt.NDArray[np.int64], Column]]) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        missing = np.ones(self.rows, np.bool_)
        numbers = all(isinstance(column.values, np.ndarray) for _, column in parts)
        values: Any = np.full(self.rows, np.nan) if numbers else np.full(self.rows, None, object)
        for at, column in parts:
            if numbers:
                values[at] = column.values
            else:
                # One by one, since numpy would turn a list of lists into an array of more dimensions.
                for row, value in zip(at.tolist(), _plain(column), strict=True):
                    values[row] = value
            missing[at] = False
        return values, missing if missing.any() else None

    def pandas(self, about: Mapping[str, Any]) -> Any:
        """The rows as a DataFrame; `attrs["stepwell"]` describes the sampling.

        Raises:
            UsageError: pandas is not installed.
        """
        pandas = require("pandas", "pandas")
        # Explicitly as objects: pandas would convert a column of texts to its own strings, in which None is NaN.
        columns = {
            name: values if values.dtype != object else pandas.Series(values, dtype=object)
            for name, values, _ in self.arrays()
        }
        frame = pandas.DataFrame(columns)
        frame.attrs["stepwell"] = dict(about)
        return frame

    def arrow(self, about: Mapping[str, Any]) -> Any:
        """The rows as a pyarrow.Table; the schema's metadata has "stepwell". Objects are strings of JSON.

        Raises:
            UsageError: pyarrow is not installed.
        """
        arrow = require("pyarrow", "pyarrow")
        made = {}
        for name, values, missing in self.arrays():
            if values.dtype != object or name == WRITER:
                made[name] = arrow.array(values, mask=missing, from_pandas=False)
            else:
                # Each column needs one type, and the numbers and lists of a key have none in common.
                texts = [None if value is None else orjson.dumps(value).decode() for value in values.tolist()]
                made[name] = arrow.array(texts, arrow.string(), mask=missing)
        return arrow.table(made).replace_schema_metadata({"stepwell": orjson.dumps(about)})

    def polars(self, about: Mapping[str, Any]) -> Any:
        """The rows as a polars.DataFrame, converted from Arrow.

        Raises:
            UsageError: polars or pyarrow is not installed.
        """
        polars = require("polars", "polars pyarrow")
        return polars.from_arrow(self.arrow(about))


def require(module: str, packages: str) -> Any:
    """Imports an optional module.

    Raises:
        UsageError: the module is not installed; the hint says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"{module} is not installed", hint=f"pip install {packages}") from error


def _plain(column: Column) -> list[Any]:
    """The values as Python objects."""
    if isinstance(column.values, np.ndarray):
        return list(column.values.tolist())
    return [_loads(text) for text in column.values]


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        import json  # integers of any size

        return json.loads(text)
