"""The contents of a table when it was logged, and its JSON file.

Sits between `Table.prepare()` and the sink. Receives rows that no longer change; stores `<key>.table.json` with columns
and rows, and a file for each media cell; returns the JSON for the run's row.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from stepwell.data_types._files import FileRef, FileSink, store
from stepwell.data_types._held import held_bytes
from stepwell.data_types._media import Media
from stepwell.errors import SpoolError, UsageError
from stepwell.values.convert import described, jsonable
from stepwell.values.text import dump

log = logging.getLogger("stepwell")

_SUFFIX = ".table.json"
_PIECE_ROWS = 1000
_PLAIN = frozenset({str, int, float, bool, type(None)})
#: How many of the latest increments pages show; the run still has the older ones.
MAX_INCREMENTS = 100


class TableFile(Media):
    """The rows of a table when it was logged.

    Args:
        columns, rows: the contents of the table; never changed afterwards.
        log_mode: the log_mode of the table.
    """

    folder = "table"

    def __init__(self, columns: Sequence[Any], rows: Sequence[Sequence[Any]], log_mode: str) -> None:
        self._columns = columns
        self._rows = rows
        self._log_mode = log_mode

    def config_entries(self, key: str) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for row in self._rows:
            for cell in row:
                if isinstance(cell, Media):
                    for name, entry in cell.config_entries(key).items():
                        entries.setdefault(name, {}).update(entry)
        return entries

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        ref, count = write(self._columns, self._rows, key, step, sink)
        size = {"ncols": len(self._columns), "nrows": count, "log_mode": self._log_mode}
        return {"_type": "table-file", **size, **ref.as_json()}


class Increments:
    """The stored part of an INCREMENTAL table. It grows only when a file is stored, so a failed `log()` loses no row.

    Attributes:
        rows: the number of rows of this table that are finished.
        stored: the number of these in files; the others could not be encoded.
        rows_before: the number of rows that earlier processes of the run stored.
        number: the number of the next increment.
        paths: the paths of the increments so far, the latest last.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.stored = 0
        self.rows_before = 0
        self.number = 0
        self.paths: list[str] = []
        self._sink: weakref.ref[FileSink] | None = None

    @property
    def begun(self) -> bool:
        """Whether the table has increments, from this process or earlier ones."""
        return bool(self.number or self.paths)

    def continue_from(self, previous: Mapping[str, Any]) -> None:
        """Continues after an increment that an earlier table of the same key has stored: `previous` is its JSON.

        Raises:
            UsageError: `previous` is not an increment.
        """
        if previous.get("_type") != "incremental-table-file":
            raise UsageError(
                "only INCREMENTAL tables can be continued after a resume", detail=described(previous.get("_type"))
            )
        try:
            number, rows = int(previous["increment_num"]) + 1, int(previous["nrows"])
            paths = [*previous["previous_increments_paths"], previous["path"]]
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError("the description of a table increment is incomplete", detail=repr(error)) from error
        self.number, self.rows_before, self.paths = number, rows, paths[1 - MAX_INCREMENTS :]

    def check(self, sink: FileSink) -> None:
        """Raises UsageError when the table belongs to another run."""
        if self._sink is not None and self._sink() is not sink:
            raise UsageError(
                "an INCREMENTAL table belongs to the run that it was first logged to",
                hint="make a new Table for each run",
            )
        self._sink = weakref.ref(sink)


class GrowingTable(Protocol):
    """The contents that an increment reads of its table, which may grow meanwhile."""

    columns: list[Any]
    increments: Increments


class Increment(Media):
    """The rows of an INCREMENTAL table when it was logged, from `start` on; earlier ones were stored by then."""

    folder = TableFile.folder

    def __init__(self, table: GrowingTable, start: int, rows: list[list[Any]]) -> None:
        self._table, self._start, self._rows = table, start, rows
        self._last: tuple[dict[str, dict[str, Any]], str] | None = None

    @property
    def held_bytes(self) -> int:
        return held_bytes(self._rows)

    def continue_in(self, tables: dict[str, dict[str, Any]], metric: str) -> None:
        """For a resumed run: a table without increments continues after the last one under the same key.

        Args:
            tables: by key, the JSON of the last increments. Read and written in the thread that encodes.
            metric: the key of this table.
        """
        self._last = tables, metric

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        done = self._table.increments
        done.check(sink)
        if self._last is not None and not done.begun:
            done.continue_from(self._last[0][self._last[1]])
        rows = self._rows[max(0, done.rows - self._start) :]  # without those of increments in progress
        ref, count = write(self._table.columns, rows, key, step, sink)
        if done.number == MAX_INCREMENTS:
            log.warning("table %r has more than %d increments; pages show the latest ones", key, MAX_INCREMENTS)
        encoded = {
            "_type": "incremental-table-file",
            "ncols": len(self._table.columns),
            "nrows": done.rows_before + done.stored + count,
            "log_mode": "INCREMENTAL",
            "increment_num": done.number,
            "previous_increments_paths": list(done.paths),
            **ref.as_json(),
        }
        done.rows, done.stored = done.rows + len(rows), done.stored + count
        done.number += 1
        done.paths = [*done.paths, ref.path][1 - MAX_INCREMENTS :]
        if self._last is not None:
            self._last[0][self._last[1]] = encoded
        return encoded


def write(
    columns: Sequence[Any], rows: Sequence[Sequence[Any]], key: str, step: int | str, sink: FileSink
) -> tuple[FileRef, int]:
    """Stores the media of the cells, then the table; returns its file and the number of its rows.

    A row with a cell that fails, such as a picture that cannot be encoded, is left out, and an error is logged.
    """
    plain, failed = [], 0
    for row in rows:
        try:
            plain.append([_cell(cell, key, step, sink) for cell in row])
        except SpoolError:  # a lack of room is not the row's fault
            raise
        except Exception as error:  # noqa: BLE001 - any error of a cell's code, or of a library
            failed += 1
            reason = f"{type(error).__name__}: {error}"
    if failed:
        log.error("table %r is stored without %d of its %d rows. The last error: %s", key, failed, len(rows), reason)
    # In pieces, because the training loop waits for the GIL meanwhile: 200,000 rows of 4 columns take 12 ms.
    pieces = (dump(plain[first : first + _PIECE_ROWS])[1:-1] for first in range(0, len(plain), _PIECE_ROWS))
    data = b'{"columns":' + dump(jsonable(columns)) + b',"data":[' + b",".join(pieces) + b"]}"
    return store(sink, TableFile.folder, key, step, _SUFFIX, data), len(plain)


def _cell(cell: Any, key: str, step: int | str, sink: FileSink) -> Any:
    """The JSON of a cell: media as in the rows of a run, arrays of any size as lists."""
    if type(cell) in _PLAIN:
        return jsonable(cell)
    if isinstance(cell, Media):
        return cell.encode(key, step, sink)
    if isinstance(cell, np.ndarray):
        return jsonable(cell.tolist() if cell.dtype.kind != "M" else cell.astype(str).tolist())
    if isinstance(cell, list | tuple):
        return [_cell(item, key, step, sink) for item in cell]
    if isinstance(cell, dict):
        return {str(name): _cell(item, key, step, sink) for name, item in cell.items()}
    return jsonable(cell)
