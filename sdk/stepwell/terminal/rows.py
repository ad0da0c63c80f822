"""Writes the rows of a query as a table, CSV or JSON. Pure except for the given output.

Receives column descriptions and batches of rows, from Postgres or over HTTP, and writes text batch by batch, so that a
result of any size needs little memory. Tables and CSV take each value as text, JSON takes values that `json.dumps`
accepts. Promises that integers keep all digits, and that only a table on a terminal cuts long texts.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TextIO

#: The width at which long texts are cut: a SHA-256 in hexadecimal is never cut.
_MAX_WIDTH = 64
_NUMBERS = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric", "oid"})
_CONTROL = {code: " " for code in range(32)}


class Column(NamedTuple):
    """A column: its name in the query, and Postgres' name of its type."""

    name: str
    kind: str


class Writer(Protocol):
    """Receives batches of rows in order, the first one with `begin`.

    Attributes:
        texts: whether it takes values as texts, with None for NULL; otherwise it takes what `json.dumps` accepts.
    """

    texts: bool

    def begin(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None: ...
    def more(self, rows: Sequence[Sequence[Any]]) -> None: ...
    def end(self, count: int) -> None: ...


class TableWriter:
    """Writes a table for people. The first batch determines the widths of the columns.

    Args:
        out: receives the lines.
        columns: the width of the terminal. In wider rows, long texts are cut, with an ellipsis, and the last line says
            so. None: nothing is cut, as `out` is a file or a pipe.
    """

    texts = True

    def __init__(self, out: TextIO, columns: int | None = None) -> None:
        self._out = out
        self._columns = columns
        self._widths: list[int] = []
        self._right: list[bool] = []
        self._cut = False

    def begin(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
        self._right = [column.kind in _NUMBERS for column in columns]
        texts = [[_cell(value) for value in row] for row in rows]
        names = [column.name for column in columns]
        self._widths = [max(map(len, cells)) for cells in zip(names, *texts, strict=True)]
        if self._columns is not None and sum(self._widths) + 2 * (len(columns) - 1) > self._columns:
            # A number must not be cut, and the last column may have any length.
            self._widths[:-1] = [
                width if right else min(width, max(_MAX_WIDTH, len(name)))
                for width, right, name in zip(self._widths, self._right, names, strict=True)
            ][:-1]
        self._line(names)
        self._out.write("  ".join("─" * width for width in self._widths) + "\n")
        for row in texts:
            self._line(row)

    def more(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._line([_cell(value) for value in row])

    def end(self, count: int) -> None:
        note = "; long texts are cut here, but not in a pipe or with --format csv" if self._cut else ""
        self._out.write(f"({count:,} row{'' if count == 1 else 's'}{note})\n")

    def _line(self, cells: Sequence[str]) -> None:
        parts = []
        last = len(cells) - 1
        for place, (cell, width, right) in enumerate(zip(cells, self._widths, self._right, strict=True)):
            if self._columns is not None and not right and place < last and len(cell) > width >= _MAX_WIDTH:
                cell = cell[: width - 1] + "…"
                self._cut = True
            parts.append(cell.rjust(width) if right else cell.ljust(width))
        self._out.write("  ".join(parts).rstrip() + "\n")


class CsvWriter:
    """Writes CSV: a head, then one line for each row; NULL is empty."""

    texts = True

    def __init__(self, out: TextIO) -> None:
        self._csv = csv.writer(out, lineterminator="\n")

    def begin(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
        self._csv.writerow([column.name for column in columns])
        self.more(rows)

    def more(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            self._csv.writerow(row)

    def end(self, count: int) -> None: ...


class JsonWriter:
    """Writes JSON: one array of objects, one row on each line. Columns of the same name get numbers."""

    texts = False

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._names: list[str] = []
        self._separator = "["

    def begin(self, columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> None:
        for column in columns:
            name, number = column.name, 1
            while name in self._names:
                number += 1
                name = f"{column.name}_{number}"
            self._names.append(name)
        self.more(rows)

    def more(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            values = dict(zip(self._names, row, strict=True))
            self._out.write(self._separator + json.dumps(values, ensure_ascii=False, allow_nan=False))
            self._separator = ",\n "

    def end(self, count: int) -> None:
        self._out.write("]\n" if count else "[]\n")


def rows_writer(format_: str) -> Writer:
    """The writer to stdout for `table`, `csv` or `json`."""
    if format_ == "csv":
        return CsvWriter(sys.stdout)
    if format_ == "json":
        return JsonWriter(sys.stdout)
    return TableWriter(sys.stdout, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


def _cell(value: str | None) -> str:
    return "" if value is None else value.translate(_CONTROL)
