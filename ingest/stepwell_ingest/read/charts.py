"""Metrics of runs for charts: buckets on one grid, with the writers of a run merged.

Stands between the route `POST /v1/charts` and `stepwell.history_sample`. Receives a run, a metric and a number of
buckets; returns the columns of one batch. Buckets cover all points of all writers, so a chart hides nothing. If every
bucket is a single point, only its step and its value are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array
from stepwell.wire.columns import Column
from stepwell_ingest.read.arrays import decode_array
from stepwell_ingest.read.database import Database

_INTEGERS = ("bucket_step", "count", "first_step", "last_step", "nans", "pos_infs", "neg_infs")
_DOUBLES = ("min", "max", "mean", "first", "last")
_INT32 = 2**31


@dataclass(frozen=True, slots=True)
class Sample:
    """Buckets of one metric of a run, ordered by step; every array has one element for each bucket.

    Attributes:
        width: the number of steps of a bucket, a power of two.
        writers: names of writers; `min_writer` and `max_writer` are indexes into it.
        integers: int64 arrays by name: bucket_step (the first step of a bucket), count, first_step, last_step, nans,
            pos_infs and neg_infs.
        doubles: float64 arrays by name: min, max and mean of the finite values, NaN for a bucket without any; first and
            last, the values at the lowest and the highest step.
        min_writer, max_writer: int32, the writers of the smallest and the largest value; None: there is one writer.
    """

    width: int
    writers: list[str]
    integers: Mapping[str, Int64Array]
    doubles: Mapping[str, Float64Array]
    min_writer: npt.NDArray[np.int32] | None = None
    max_writer: npt.NDArray[np.int32] | None = None


async def read_chart(
    connection: asyncpg.Connection,
    database: Database,
    run_id: int,
    key: str,
    buckets: int,
    min_step: int | None,
    max_step: int | None,
    *,
    with_times: bool,
) -> tuple[list[Column], int, dict[str, Any]]:
    """Returns the columns, the number of rows and the head of the batch of one metric; no rows if it has no points.

    Args:
        connection: a connection in a transaction.
        key: the metric.
        buckets: the maximum number of buckets.
        min_step, max_step: bounds of the steps, min_step ≤ step < max_step; None: no bound.
        with_times: whether to add the time of each bucket's first point, in Unix seconds.
    """
    row = await connection.fetchrow(database.sql["chart"], run_id, key, buckets, min_step, max_step)
    if row is None:
        return [], 0, {"writers": [], "bucket_width": 1, "origin": "0", "points": 0}
    sample = merge_writers(
        row["bucket_width"],
        row["writers"],
        decode_array(row["writer"], ">i8"),
        {name: decode_array(row[name], ">i8").astype(np.int64) for name in _INTEGERS},
        {name: decode_array(row[name], ">f8").astype(np.float64) for name in _DOUBLES},
    )
    columns = chart_columns(sample)
    first_steps = sample.integers["first_step"].tolist()
    if with_times:
        found = await connection.fetch(database.sql["times_of_steps"], run_id, key, first_steps)
        times = {item["step"]: item["time_us"] / 1e6 for item in found}
        columns.append(Column("time", np.array([times.get(step, np.nan) for step in first_steps])))
    head = {
        "writers": sample.writers,
        "bucket_width": sample.width,
        # As text: JavaScript's numbers cannot hold every step.
        "origin": str(sample.integers["bucket_step"][0]),
        "points": int(sample.integers["count"].sum()),
    }
    return columns, len(first_steps), head


def merge_writers(
    width: int,
    writers: Sequence[str],
    writer: npt.NDArray[Any],
    integers: Mapping[str, Int64Array],
    doubles: Mapping[str, Float64Array],
) -> Sample:
    """Merges rows, one for each bucket and writer, ordered by bucket and then by writer, into one row for each bucket.

    The mean is that of the finite values of all writers; `first` is the value at the lowest step, of the first writer
    that has it.
    """
    if len(writers) == 1:
        return Sample(width, list(writers), integers, doubles)
    step = integers["bucket_step"]
    starts = np.flatnonzero(np.diff(step, prepend=step[0] - 1))
    group = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(step)))
    summed = {name: np.add.reduceat(integers[name], starts) for name in ("count", "nans", "pos_infs", "neg_infs")}
    finite = integers["count"] - integers["nans"] - integers["pos_infs"] - integers["neg_infs"]
    whole = np.add.reduceat(finite, starts)
    # Weights first: a sum of large means would overflow.
    share = finite / np.maximum(whole, 1)[group]
    mean = np.add.reduceat(np.where(finite > 0, doubles["mean"], 0.0) * share, starts)
    least = _first_best(np.where(finite > 0, doubles["min"], np.inf), group, starts)
    greatest = _first_best(-np.where(finite > 0, doubles["max"], -np.inf), group, starts)
    first = _first_best(integers["first_step"], group, starts)
    last = _first_best(-integers["last_step"], group, starts)
    return Sample(
        width,
        list(writers),
        {
            "bucket_step": step[starts],
            **summed,
            "first_step": integers["first_step"][first],
            "last_step": integers["last_step"][last],
        },
        {
            "min": doubles["min"][least],
            "max": doubles["max"][greatest],
            "mean": np.where(whole > 0, mean, np.nan),
            "first": doubles["first"][first],
            "last": doubles["last"][last],
        },
        writer[least].astype(np.int32),
        writer[greatest].astype(np.int32),
    )


def chart_columns(sample: Sample) -> list[Column]:
    """The columns of a batch (docs/column-format.md); columns that can be derived from others are left out."""
    start = sample.integers["bucket_step"]
    count = sample.integers["count"]
    columns = [
        Column("bucket", ((start - start[0]) // sample.width).astype(np.int32)),
        Column("first_step", _small(sample.integers["first_step"] - start)),
    ]
    if (count == 1).all():
        return [*columns, Column("first", sample.doubles["first"])]
    columns += [
        Column("last_step", _small(sample.integers["last_step"] - start)),
        Column("count", _small(count)),
        *(Column(name, sample.doubles[name]) for name in _DOUBLES),
    ]
    for name in ("nans", "pos_infs", "neg_infs"):
        rows = np.flatnonzero(sample.integers[name])
        if len(rows):
            columns.append(Column(name, _small(sample.integers[name][rows]), rows.astype(np.int32)))
    if sample.min_writer is not None and sample.max_writer is not None:
        columns += [Column("min_writer", sample.min_writer), Column("max_writer", sample.max_writer)]
    return columns


def _small(values: Int64Array) -> npt.NDArray[np.int32] | Int64Array:
    return values.astype(np.int32) if len(values) and values.max() < _INT32 else values


def _first_best(key: npt.NDArray[Any], group: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> Int64Array:
    """For each group, the index of the row with the smallest key; among equal keys, the first."""
    best = np.minimum.reduceat(key, starts)[group]
    rows = np.flatnonzero(key == best)
    chosen: Int64Array = rows[np.unique(group[rows], return_index=True)[1]]
    return chosen
