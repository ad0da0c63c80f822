"""Fetches the points of a step range in bulk, as numpy arrays.

Receives a run, names and a range of steps; returns arrays, one set for each metric and writer, ordered by step.
Postgres sends the matrices that hold the points (`stepwell.history_arrays_v1`), hot or sealed, in the binary form of
`array_send`, which numpy reads in place. To save bytes, regular steps are sent as a start and a stride, and float4
stays float4.

Format: PostgreSQL's array_send: int32 number of dimensions, flags, element type; per dimension int32 length and lower
bound; per element int32 length (4 or 8) and as many bytes, all big-endian.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array

#: Microseconds from the Unix epoch to Postgres' (2000-01-01 UTC).
_POSTGRES_EPOCH_US = 946_684_800_000_000
_FETCH_ROWS = 1000


class TooMuch(Exception):
    """The range holds more bytes than allowed; nothing was kept. Not a failure: the caller asks for a smaller range."""


class Series(NamedTuple):
    """The points of one metric and one writer.

    Attributes:
        metric, writer: their names.
        steps: int64[S], strictly increasing.
        values: float64[S], bit for bit as logged.
        times: int64[S], microseconds since the Unix epoch; None when not requested.
    """

    metric: str
    writer: str
    steps: Int64Array
    values: Float64Array
    times: Int64Array | None


async def fetch(
    connection: asyncpg.Connection,
    sql: Mapping[str, str],
    run_id: int,
    metrics: Sequence[str] | None,
    min_step: int,
    max_step: int,
    max_bytes: int,
    *,
    with_times: bool,
) -> list[Series]:
    """The visible points of a run with min_step ≤ step < max_step.

    Args:
        connection: a connection in a transaction.
        sql: the named queries.
        metrics: names of metrics; None: all.
        max_bytes: the most bytes to fetch, at about 12 bytes for each value and 24 for each step.

    Raises:
        TooMuch: the range holds more than `max_bytes`.
    """
    names = {
        (row["run_id"], row["metric_id"]): row["name"]
        for row in await connection.fetch(sql["metric_ids"], run_id, metrics)
    }
    # Matrices of the same metrics are joined as they are.
    groups: dict[tuple[int, str, bytes], list[asyncpg.Record]] = defaultdict(list)
    held = 0
    query = sql["arrays_with_times" if with_times else "arrays"]
    cursor = await connection.cursor(query, run_id, metrics, min_step, max_step)
    while rows := await cursor.fetch(_FETCH_ROWS):
        for row in rows:
            groups[row["source_run_id"], row["writer"], row["metric_ids"]].append(row)
            held += len(row["metric_ids"]) // 8 * 12 * row["points"] + 24 * row["points"]
        if held > max_bytes:
            raise TooMuch
        if len(rows) < _FETCH_ROWS:
            break
    found: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for (source, writer, ids), rows in groups.items():
        for series in _join(names, source, writer, decode_array(ids, ">i4").tolist(), rows):
            if len(series.steps):
                found[series.metric, writer].append(series)
    return [parts[0] if len(parts) == 1 else _merge(parts) for _, parts in sorted(found.items())]


def _join(
    names: Mapping[tuple[int, int], str], source: int, writer: str, ids: list[int], rows: list[asyncpg.Record]
) -> Iterator[Series]:
    """The series of one group, whose members share their steps."""
    steps = np.concatenate([_steps(row) for row in rows])
    times = np.concatenate([_times(row) for row in rows]) if "times" in rows[0] else None
    values = np.empty((len(ids), len(steps)))
    at = 0
    for row in rows:
        raw = decode_array(row["vals8"], ">f8") if row["vals8"] is not None else decode_array(row["vals4"], ">f4")
        values[:, at : at + row["points"]] = raw.reshape(len(ids), -1)
        at += row["points"]
    if (np.diff(steps) < 0).any():  # SQL promises no order of rows
        order = np.argsort(steps, kind="stable")
        steps, values, times = steps[order], values[:, order], None if times is None else times[order]
    for id_, row in zip(ids, values, strict=True):
        if (name := names.get((source, id_))) is not None:
            yield Series(name, writer, steps, row, times)


def _merge(parts: list[Series]) -> Series:
    """One series from parts that lay in matrices of different metrics, or that come from an ancestor."""
    steps = np.concatenate([part.steps for part in parts])
    order = np.argsort(steps, kind="stable")
    values = np.concatenate([part.values for part in parts])[order]
    times = np.concatenate([part.times for part in parts if part.times is not None] or [steps])[order]
    return Series(parts[0].metric, parts[0].writer, steps[order], values, None if parts[0].times is None else times)


def _steps(row: asyncpg.Record) -> Int64Array:
    if row["steps"] is not None:
        return decode_array(row["steps"], ">i8").astype(np.int64)
    first, stride = row["first_step"], row["stride"]
    # Not arange(first, end, stride): an end beyond int64 would make the steps float64.
    steps: Int64Array = first + stride * np.arange(row["points"], dtype=np.int64)
    return steps


def _times(row: asyncpg.Record) -> Int64Array:
    """Converts Postgres' times to microseconds since the Unix epoch."""
    if row["times"] is not None:
        return decode_array(row["times"], ">i8").astype(np.int64) + _POSTGRES_EPOCH_US
    return decode_array(row["times_us"], ">i4").astype(np.int64) + int(row["time_lo_us"])


def decode_array(array: bytes, item: str) -> npt.NDArray[Any]:
    """The elements of an array in the form of `array_send`, in Postgres' byte order, without a copy.

    Args:
        item: the dtype of the elements: ">i4", ">i8", ">f4" or ">f8".
    """
    head = 12 + 8 * int.from_bytes(array[:4], "big")
    return np.frombuffer(array, np.dtype([("length", ">i4"), ("value", item)]), offset=head)["value"]
