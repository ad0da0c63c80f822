"""Points of a step range as numpy arrays: the one place that fetches points in bulk.

In come a run, names and a range of steps; out go arrays, one set a metric and writer, ordered by step. Postgres hands
over the arrays in which the points lie (`stepwell.history_arrays`) in the binary form of `array_send`, which numpy
reads all at once: some 90 ns a point, most of it in Postgres. Whoever stores points in another form
changes that function.

Format: PostgreSQL's array_send: int32 number of dimensions, flags, element type; per dimension int32 length and lower
bound; per element int32 length (8) and 8 bytes, all big-endian.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg
import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array

#: Microseconds from the Unix epoch to Postgres' (2000-01-01 UTC).
_POSTGRES_EPOCH_US = 946_684_800_000_000
_FETCH_ROWS = 1000


class TooMuch(Exception):
    """The range holds more bytes than were allowed; nothing was kept. No failure: the caller asks for less."""


class Series(NamedTuple):
    """Points of one metric and one writer.

    Attributes:
        metric, writer: whose.
        steps: int64[S], strictly increasing.
        values: float64[S], bit for bit as logged.
        times: int64[S], microseconds since the Unix epoch; None when they were not asked for.
    """

    metric: str
    writer: str
    steps: Int64Array
    values: Float64Array
    times: Int64Array | None


async def fetch(
    connection: asyncpg.Connection,
    sql: str,
    run_id: int,
    metrics: Sequence[str] | None,
    min_step: int,
    max_step: int,
    max_bytes: int,
) -> list[Series]:
    """The visible points of a run with min_step ≤ step < max_step.

    Args:
        connection: in a transaction.
        sql: the query `arrays` or `arrays_with_times`.
        metrics: their names; None: all.
        max_bytes: how much may come, as Postgres sends it (24 to 36 bytes a point).

    Raises:
        TooMuch: it would be more.
    """
    parts: dict[tuple[str, str], list[asyncpg.Record]] = defaultdict(list)
    held = 0
    cursor = await connection.cursor(sql, run_id, metrics, min_step, max_step)
    while rows := await cursor.fetch(_FETCH_ROWS):
        for row in rows:
            parts[row["metric"], row["writer"]].append(row)
            held += 3 * len(row["steps"])
        if held > max_bytes:
            raise TooMuch
        if len(rows) < _FETCH_ROWS:
            break
    found = []
    for (metric, writer), rows in sorted(parts.items()):
        series = _join(metric, writer, rows)
        if len(series.steps):
            found.append(series)
    return found


def _join(metric: str, writer: str, rows: list[asyncpg.Record]) -> Series:
    steps = _decode([row["steps"] for row in rows], ">i8")
    values = _decode([row["vals"] for row in rows], ">f8")
    times = None
    if "times" in rows[0]:
        times = _decode([row["times"] for row in rows], ">i8") + _POSTGRES_EPOCH_US
    if (np.diff(steps) < 0).any():  # blocks come in no order that SQL promises
        order = np.argsort(steps, kind="stable")
        steps, values, times = steps[order], values[order], None if times is None else times[order]
    return Series(metric, writer, steps, values, times)


def _decode(arrays: list[bytes], item: str) -> npt.NDArray[Any]:
    """Elements of 8 bytes of many arrays one after the other, in this machine's byte order."""
    native = np.dtype(item).newbyteorder("=")
    words = np.frombuffer(b"".join(arrays), ">i4")
    sizes = np.fromiter(map(len, arrays), np.int64, len(arrays)) // 4
    starts = np.cumsum(sizes) - sizes
    heads = 3 + 2 * words[starts].astype(np.int64)
    if len(arrays) == 1:
        elements = words[int(heads[0]) :]
    else:
        # +1 where a head begins, −1 where it ends: the sum is 1 within heads (an empty array is nothing but a head).
        edges = np.zeros(len(words) + 1, np.int8)
        np.add.at(edges, starts, 1)
        np.add.at(edges, starts + heads, -1)
        elements = words[np.cumsum(edges[:-1], dtype=np.int8) == 0]
    pairs = np.ascontiguousarray(elements.reshape(-1, 3)[:, 1:])
    return pairs.view(item).reshape(-1).astype(native)
