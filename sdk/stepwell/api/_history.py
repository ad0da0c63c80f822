"""The rows of one run in the form that the server sends, and the small result types of the read API.

Sits between the client and `Run`. Receives a query and yields batches of rows in the order of steps. An interrupted
read continues where it stopped, so that no row is missing or repeated.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.api._http import Client, Query
from stepwell.api._table import WRITER, Rows, Shape
from stepwell.errors import Error, FrameCorruptError, ServerError
from stepwell.wire import Float64Array, Int64Array

log = logging.getLogger("stepwell")

#: How often a read that breaks off is repeated without any new row in between.
_TRIES = 3
#: The pause before each try.
_PAUSE_S = 0.5


class Series(NamedTuple):
    """All points of one metric, ordered by step, then by writer.

    Attributes:
        steps: int64[N].
        values: float64[N], bit for bit as logged.
        writer: int32[N], indexes of `writers`.
        writers: names of writers.
    """

    steps: Int64Array
    values: Float64Array
    writer: npt.NDArray[np.int32]
    writers: list[str]


def read_rows(
    client: Client, path: Sequence[str], query: dict[str, Any], end: dict[str, Any], route: str = "history"
) -> Iterator[Rows]:
    """Yields batches of rows; `end` receives the head of the last one. Continues after an answer that breaks off."""
    # `_writer` is in every answer, and is not a key that the server accepts.
    keys = None if query["keys"] is None else [key for key in query["keys"] if key != WRITER]
    asked: Query = {**query, "keys": keys or None}
    failures = 0
    while True:
        try:
            with closing(client.get_batches((*path, route), asked)) as batches:
                for batch in batches:
                    if batch.head.get("end"):
                        end.update(batch.head)
                        _warn_of_unknown(path, batch.head.get("unknown") or {})
                        return
                    rows = Rows(batch)
                    yield rows
                    asked = {**asked, "min_step": rows.next_step}
                    failures = 0
        except (ServerError, FrameCorruptError) as error:
            failures += 1
            if failures > _TRIES or not _may_continue(error, asked):
                raise
            time.sleep(_PAUSE_S)


class HistoryScan:
    """The rows of a run; each iteration reads them again. See `Run.scan_history`."""

    def __init__(self, read: Callable[[], Iterator[dict[str, Any]]]) -> None:
        self._read = read
        self._reading: Iterator[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._read()

    def __next__(self) -> dict[str, Any]:
        self._reading = iter(self) if self._reading is None else self._reading
        return next(self._reading)

    next = __next__


def scan_rows(client: Client, path: Sequence[str], shape: Shape, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yields every row of a query."""
    # Not a method of HistoryScan, which holds it, so that a scan dropped halfway closes its connection at once.
    for rows in read_rows(client, path, query, {}):
        yield from rows.as_dicts(shape)


def joined(parts: list[npt.NDArray[Any]]) -> Any:
    """Concatenates an empty array and others; without a copy if there is only one other."""
    return parts[1] if len(parts) == 2 else np.concatenate(parts)


def _warn_of_unknown(path: Sequence[str], unknown: dict[str, list[str]]) -> None:
    """Warns about keys that the run never logged, most often because they were mistyped."""
    for key, near in unknown.items():
        alike = f"; similar names: {', '.join(near)}" if near else ""
        log.warning("run %s has never logged %r%s", "/".join(path[2:]), key, alike)


def _may_continue(error: Error, query: Query) -> bool:
    """Returns whether a failed read may be continued. A sampled read that has begun may not, since it is one answer."""
    return error.retryable and not (query.get("samples") and query.get("min_step"))
