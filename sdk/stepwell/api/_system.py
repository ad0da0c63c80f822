"""System metrics of one run, row by row: the load of its hosts. They have times and no steps.

Sits beside `_history`. Receives the run's path and yields dicts with `_timestamp` (Unix seconds), `_runtime` (seconds
since the run began) and the measured numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stepwell.api._http import Client
from stepwell.api._table import RESERVED, RUNTIME, TIMESTAMP, WRITER, Shape, require
from stepwell.errors import UsageError

#: The second name is W&B's older one.
STREAMS = ("system", "events")
_PAGE = 10_000


def is_system(stream: str) -> bool:
    """Returns whether a stream is the system metrics, and not the history.

    Raises:
        UsageError: there is no such stream.
    """
    if stream not in ("default", *STREAMS):
        raise UsageError(f"there is no stream {stream!r}", hint='"default" or "system"')
    return stream in STREAMS


def scan_system(client: Client, path: Sequence[str], shape: Shape) -> Iterator[dict[str, Any]]:
    """Yields every row, in the order of time."""
    cursor: str | None = None
    while True:
        answer = client.get_json((*path, "system"), {"limit": _PAGE, "cursor": cursor})
        yield from _shaped(answer["rows"], shape)
        cursor = answer["next"]
        if cursor is None:
            return


def sample_system(
    client: Client, path: Sequence[str], shape: Shape, samples: int
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Reads about `samples` rows; returns them and the description of the sampling (None: nothing was left out).

    Raises:
        UsageError: `samples` is invalid.
    """
    answer = client.get_json((*path, "system"), {"samples": samples})
    return list(_shaped(answer["rows"], shape)), answer["sampled"]


def as_frame(rows: list[dict[str, Any]], about: dict[str, Any]) -> Any:
    """The rows as a DataFrame: metrics by name, then times.

    Raises:
        UsageError: pandas is not installed.
    """
    pandas = require("pandas", "pandas")
    metrics = sorted({name for row in rows for name in row if name not in RESERVED})
    writer = [WRITER] if rows and WRITER in rows[0] else []
    frame = pandas.DataFrame(rows, columns=[*writer, *metrics, TIMESTAMP, RUNTIME])
    frame.attrs["stepwell"] = about
    return frame


def _shaped(rows: Iterable[dict[str, Any]], shape: Shape) -> Iterator[dict[str, Any]]:
    for row in rows:
        writer, time = row.pop(WRITER), row.pop(TIMESTAMP)
        beside = {WRITER: writer} if shape.has_writers else {}
        # JSON has NaN and infinities as strings.
        yield {
            **beside,
            **{name: float(value) for name, value in row.items()},
            TIMESTAMP: time,
            RUNTIME: time - shape.created_us / 1e6,
        }
