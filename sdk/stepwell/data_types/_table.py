"""Tables: rows of cells of any kind, including pictures and sound, in typed columns.

Runs in the caller's thread up to `prepare()`, which passes the current contents to `TableFile`. A table may be extended
and logged again; `log_mode` decides what is stored then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stepwell.data_types._files import FileSink
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Encoded, Media
from stepwell.data_types._table_file import Increment, Increments, TableFile
from stepwell.data_types._table_types import (
    ANY,
    NONE,
    NUMBER,
    copied,
    is_nan,
    kind_of,
    kind_of_dtype,
    merged,
    owned,
)
from stepwell.errors import DataError, UsageError
from stepwell.values.convert import described

log = logging.getLogger("stepwell")

_LOG_MODES = ("IMMUTABLE", "MUTABLE", "INCREMENTAL")


class Table(Media):
    """Rows and columns.

    Args:
        columns: the names of the columns; default Input, Output, Expected, or those of a DataFrame.
        data: a list of rows, a two-dimensional array, or a pandas DataFrame.
        rows: an older name of `data`.
        dataframe: a pandas DataFrame.
        dtype: the types of the columns, one for all or a list: int, float, str, bool, list, dict, a class of media.
            None: the types of their cells.
        optional: whether cells may be None, one for all or a list.
        allow_mixed_types: whether a column may hold cells of several types.
        log_mode: what to do when the table is logged again. "IMMUTABLE": keep the first contents; "MUTABLE": store all
            rows again; "INCREMENTAL": store the new rows.

    Attributes:
        columns, data: the list of names, and the list of rows, which are lists.

    Raises:
        DataError: a row has another length, a cell does not match the type of its column, or an argument is invalid.
    """

    folder = TableFile.folder
    #: The most rows of a table that are logged, unless it is INCREMENTAL; the larger of the two limits counts.
    MAX_ROWS = 200_000
    MAX_ARTIFACT_ROWS = 200_000

    def __init__(
        self,
        columns: Sequence[Any] | None = None,
        data: Any = None,
        rows: Any = None,
        dataframe: Any = None,
        dtype: Any = None,
        optional: bool | Sequence[bool] = True,
        allow_mixed_types: bool = False,
        log_mode: str = "IMMUTABLE",
    ) -> None:
        if log_mode not in _LOG_MODES:
            raise DataError(f"invalid log_mode {log_mode!r}", hint=f"one of {', '.join(_LOG_MODES)}")
        self.log_mode = log_mode
        self.data: list[list[Any]] = []
        self.increments = Increments()
        self._frozen: TableFile | None = None
        self._has_nan = False
        self._pk: Any = None
        self._fks: dict[Any, tuple[Any, Any]] = {}
        if hasattr(columns, "iloc"):  # Table(frame)
            columns, dataframe = None, columns
        data = next((given for given in (dataframe, data, rows) if given is not None), None)
        is_frame = hasattr(data, "iloc")
        self.columns = _checked_columns(data.columns if is_frame and columns is None else columns)
        self._kinds = (
            [ANY] * len(self.columns) if allow_mixed_types else _per_column(dtype, self.columns, kind_of_dtype)
        )
        self._optional = _per_column(optional, self.columns, bool)
        if is_frame:
            self._take_frame(data)
        elif isinstance(data, np.ndarray):
            if data.ndim != 2:
                raise DataError("an array for a table must have two dimensions", detail=f"it has {data.ndim}")
            data = data.tolist()
        if not is_frame and data is not None:
            if not isinstance(data, Sequence) or isinstance(data, str | bytes):
                raise DataError("the data of a table must be a list of rows", detail=described(data))
            for row in data:
                self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """Appends a row. Lists, dicts and arrays are copied.

        Raises:
            DataError: the row has more or fewer cells than there are columns, or a cell does not match its column or
                has no JSON form.
        """
        if len(data) != len(self.columns):
            raise DataError(
                f"a row has {len(data)} cells, and the table {len(self.columns)} columns",
                detail=described(self.columns),
            )
        row = [self._owned(cell) for cell in data]
        self._kinds = [
            self._checked(number, cell, kind) for number, (cell, kind) in enumerate(zip(row, self._kinds, strict=True))
        ]
        self.data.append(row)

    add_row = add_data

    def add_column(self, name: Any, data: Any, optional: bool = False) -> None:
        """Appends a column with one cell for each row, or with any number of cells when there are no columns yet.

        Raises:
            DataError: the number of cells differs, or the name is taken.
            UsageError: the table is INCREMENTAL.
        """
        self._refuse_if_incremental("add_column")
        given = data.tolist() if isinstance(data, np.ndarray) else list(data)
        cells = [self._owned(cell) for cell in given]
        if name in self.columns:
            raise DataError(f"the table has a column {name!r} already")
        if self.columns and len(cells) != len(self.data):
            raise DataError(f"a column has {len(cells)} cells, and the table {len(self.data)} rows", detail=repr(name))
        if not self.columns:
            self.data = [[] for _ in cells]
        kind = NONE
        for cell in cells:
            kind = self._merged(name, cell, kind, optional=optional)
        for row, cell in zip(self.data, cells, strict=True):
            row.append(cell)
        self.columns.append(name)
        self._kinds.append(kind)
        self._optional.append(optional)

    def add_computed_columns(self, fn: Callable[[int, dict[Any, Any]], Mapping[Any, Any]]) -> None:
        """Appends computed columns: for each row, `fn` gets its index and its cells by column, and returns the new
        cells by column, each time for the same columns.

        Raises:
            DataError: `fn` returned other columns than for the first row, or an existing one.
            UsageError: the table is INCREMENTAL.
        """
        self._refuse_if_incremental("add_computed_columns")
        columns: dict[Any, list[Any]] = {}
        for index, row in self.iterrows():
            computed = fn(index, dict(zip(self.columns, row, strict=True)))
            if index and set(computed) != set(columns):
                raise DataError(
                    "computed columns must be the same for each row",
                    detail=f"{sorted(map(str, computed))} for row {index}, {sorted(map(str, columns))} before",
                )
            for name, cell in computed.items():
                columns.setdefault(name, []).append(cell)
        for name, cells in columns.items():
            self.add_column(name, cells, optional=True)

    def get_column(self, name: Any, convert_to: str | None = None) -> Any:
        """The cells of a column as a new list or, with `convert_to="numpy"`, as an array.

        Raises:
            DataError: there is no such column, or `convert_to` is another word.
        """
        if convert_to not in (None, "numpy"):
            raise DataError(f"a column cannot be converted to {convert_to!r}", hint='"numpy" or None')
        number = self._number(name)
        cells = [row[number] for row in self.data]
        return np.array(cells) if convert_to else cells

    def get_index(self) -> list[int]:
        """The indexes of the rows."""
        return list(range(len(self.data)))

    @classmethod
    def of_frame(cls, frame: Any) -> Table:
        """The table that is logged for a pandas DataFrame."""
        return cls(dataframe=frame, allow_mixed_types=True)

    def get_dataframe(self) -> Any:
        """A pandas DataFrame with the same columns and cells."""
        return library("pandas", "a DataFrame", "pandas").DataFrame.from_records(self.data, columns=self.columns)

    def iterrows(self) -> Iterator[tuple[int, list[Any]]]:
        """Yields the index and the cells of each row."""
        yield from enumerate(self.data)

    def cast(self, name: Any, dtype: Any, optional: bool = False) -> None:
        """Sets the type of a column. Raises DataError when a cell does not match it."""
        number, kind = self._number(name), kind_of_dtype(dtype)
        for row in self.data:
            kind = self._merged(name, row[number], kind, optional=optional)
        self._kinds[number], self._optional[number] = kind, optional

    def set_pk(self, name: Any) -> None:
        """Declares the column that identifies the rows."""
        self._number(name)
        self._pk = name

    def set_fk(self, name: Any, table: Table, table_col: Any) -> None:
        """Declares that a column holds keys of rows of another table."""
        self._number(name)
        table._number(table_col)
        self._fks[name] = (table, table_col)

    def continue_from(self, previous: Mapping[str, Any]) -> None:
        """Continues the increments that an earlier process stored: `previous` is the JSON of the last one.

        A resumed run does this automatically.

        Raises:
            UsageError: the table or the JSON is not INCREMENTAL.
        """
        if self.log_mode != "INCREMENTAL":
            raise UsageError(
                "only INCREMENTAL tables can be continued after a resume", detail=f"log_mode={self.log_mode!r}"
            )
        self.increments.continue_from(previous)

    def prepare(self) -> Media:
        if self.log_mode == "INCREMENTAL":
            stored = self.increments.rows
            return Increment(self, stored, self._copied_rows(stored, len(self.data)))
        if self.log_mode == "MUTABLE" or self._frozen is None:
            limit = max(self.MAX_ROWS, self.MAX_ARTIFACT_ROWS)
            if len(self.data) > limit:
                log.warning("a table is cut off: %d of its %d rows are logged", limit, len(self.data))
            self._frozen = TableFile(list(self.columns), self._copied_rows(0, limit), self.log_mode)
            self._logged = len(self.data), len(self.columns)
            return self._frozen
        if self._logged != (now := (len(self.data), len(self.columns))):
            log.warning(
                "a table was changed after it was logged, and the change is not logged: "
                'make the table with log_mode="MUTABLE" or "INCREMENTAL" to log it again'
            )
            self._logged = now
        return self._frozen

    def encode(self, key: str, step: int | str, sink: FileSink) -> Encoded:
        return self.prepare().encode(key, step, sink)

    def _checked(self, number: int, cell: Any, kind: str) -> str:
        return self._merged(self.columns[number], cell, kind, optional=self._optional[number])

    def _owned(self, cell: Any) -> Any:
        cell = owned(cell, Table.of_frame)
        if is_nan(cell):
            self._has_nan = True
        return cell

    def _copied_rows(self, start: int, stop: int) -> list[list[Any]]:
        """The copy that `log()` keeps: neither its rows nor their cells change with the table."""
        rows = [[copied(cell) for cell in row] for row in self.data[start:stop]]
        if self._has_nan:  # in columns other than numbers, libraries use NaN for missing values
            texts = [number for number, kind in enumerate(self._kinds) if kind not in (ANY, NONE, NUMBER)]
            for row in rows:
                for number in texts:
                    if number < len(row) and is_nan(row[number]):
                        row[number] = None
        return rows

    @staticmethod
    def _merged(name: Any, cell: Any, kind: str, *, optional: bool) -> str:
        found = kind_of(cell)
        if is_nan(cell) and kind != NUMBER:
            found = NONE
            if kind == NONE:  # it may still become a column of numbers
                return kind
        if found == NONE:
            if optional or kind == ANY:
                return kind
        elif (after := merged(kind, found)) is not None:
            return after
        raise DataError(
            f"a cell of type {found} does not match the column {name!r}",
            detail=f"{described(cell)}; the column holds {'values other than None' if kind == NONE else kind}",
            hint="convert the cell, or make the table with allow_mixed_types=True"
            if found != NONE
            else "make the table with optional=True",
        )

    def _number(self, name: Any) -> int:
        if name not in self.columns:
            raise DataError(f"the table has no column {name!r}", detail=f"it has {described(self.columns)}")
        return self.columns.index(name)

    def _refuse_if_incremental(self, method: str) -> None:
        if self.log_mode == "INCREMENTAL":
            raise UsageError(
                f"{method} does not work with INCREMENTAL tables", hint='make the table with log_mode="MUTABLE"'
            )

    def _take_frame(self, frame: Any) -> None:
        if frame.shape[1] != len(self.columns):
            raise DataError(f"the DataFrame has {frame.shape[1]} columns, but `columns` names {len(self.columns)}")
        cells = []
        for number in range(frame.shape[1]):
            column = frame.iloc[:, number]
            missing = column.isna().tolist() if column.dtype.kind != "f" else [False] * len(column)
            cells.append([None if gone else cell for cell, gone in zip(column.tolist(), missing, strict=True)])
        for row in zip(*cells, strict=True):
            self.add_data(*row)


def _checked_columns(columns: Any) -> list[Any]:
    if columns is None:
        return ["Input", "Output", "Expected"]
    if hasattr(columns, "to_list"):  # a pandas index
        columns = columns.to_list()
    if not isinstance(columns, list | tuple | np.ndarray) or not all(isinstance(name, str | int) for name in columns):
        raise DataError("columns must be a list of names", detail=described(columns))
    return list(columns)


def _per_column(given: Any, columns: Sequence[Any], convert: Callable[[Any], Any]) -> list[Any]:
    if isinstance(given, list | tuple):
        if len(given) != len(columns):
            raise DataError(f"{len(given)} types or options are given for {len(columns)} columns")
        return [convert(one) for one in given]
    return [convert(given)] * len(columns)
