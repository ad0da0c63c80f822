"""Encodes groups as rows of track, chunk and metric_total, in COPY's binary format.

Stands between the stretches and Postgres. Receives groups of one epoch; returns the bytes of its tracks and chunks, and
the totals of the chunks. Promises: values that do not all survive float4, bit for bit, are stored as float8; statistics
cover the finite values, and the others are counted. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array
from stepwell_ingest.db.copyrows import ArrayColumn, row_template
from stepwell_ingest.seal.stretches import Stretch
from stepwell_ingest.seal.windows import windows

#: A chunk's values lie in two arrays: one that fills TOAST's pieces of 1,996 bytes almost completely, and the rest,
#: which stays in the row. With 1,024 values in one array, each had a small piece after the large ones, and a page held
#: three large pieces instead of four: 5.7 instead of 4.4 bytes a point for float4 (docs/architecture.md).
FULL_POINTS = 992

_SCALARS = (
    *(("run_id", "int8"), ("step_lo", "int8"), ("step_hi", "int8"), ("track_id", "int8")),
    *(("first", "float8"), ("last", "float8"), ("min", "float8"), ("max", "float8"), ("sum", "float8")),
    *(("metric_id", "int4"), ("writer_id", "int4"), ("epoch", "int4"), ("points", "int4")),
    *(("nans", "int4"), ("pos_infs", "int4"), ("neg_infs", "int4")),
)
CHUNK_COLUMNS = (*(name for name, _ in _SCALARS), "vals8", "rest8", "vals4", "rest4")
_TRACK_SCALARS = (
    *(("run_id", "int8"), ("track_id", "int8"), ("step_lo", "int8"), ("step_hi", "int8"), ("stride", "int8")),
    *(("time_lo", "timestamptz"), ("writer_id", "int4"), ("epoch", "int4"), ("points", "int4"), ("chunks", "int4")),
    *(("level", "int2"), ("pass", "int8"), ("time_min", "timestamptz"), ("time_max", "timestamptz")),
)
TRACK_COLUMNS = (*(name for name, _ in _TRACK_SCALARS), "steps", "times_us", "times")


class EpochKey(NamedTuple):
    """The key of the ledger row whose epoch owns the chunks."""

    run_id: int
    writer_id: int
    epoch: int


class Statistics(NamedTuple):
    """Statistics of the rows of a matrix, one element for each row: min, max and sum cover the finite values only."""

    first: Float64Array
    last: Float64Array
    min: Float64Array
    max: Float64Array
    sum: Float64Array
    nans: Int64Array
    pos_infs: Int64Array
    neg_infs: Int64Array


class Track(NamedTuple):
    """The steps and values of some chunks, which become one row of track and `len(metric_ids)` rows of chunk."""

    track_id: int
    part: Stretch


def statistics(values: Float64Array) -> Statistics:
    """Computes the statistics of each row of float64[K][S], S ≥ 1.

    Without finite values, min and max are inf and −inf, and sum is 0; a sum that exceeds float64 is infinite, or NaN.
    """
    finite = np.isfinite(values)
    none = np.zeros(len(values), np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        sums = (values if finite.all() else np.where(finite, values, 0.0)).sum(1)
    if finite.all():
        return Statistics(values[:, 0], values[:, -1], values.min(1), values.max(1), sums, none, none, none)
    return Statistics(
        values[:, 0],
        values[:, -1],
        np.where(finite, values, np.inf).min(1),
        np.where(finite, values, -np.inf).max(1),
        sums,
        np.isnan(values).sum(1),
        (values == np.inf).sum(1),
        (values == -np.inf).sum(1),
    )


def tracks(groups: Sequence[Stretch], track_ids: Iterator[int]) -> list[Track]:
    """Cuts groups into windows; each becomes a track, with the next of `track_ids`."""
    return [
        Track(next(track_ids), Stretch(ids, steps[a:b], times[a:b], values[:, a:b]))
        for ids, steps, times, values in groups
        for a, b in windows(steps)
    ]


def track_row(epoch: EpochKey, track: Track, level: int, pass_id: int) -> npt.NDArray[Any]:
    """One row of track."""
    _, (metric_ids, steps, times, _) = track
    count = len(steps)
    stride = int(steps[1] - steps[0]) if count > 1 else 1
    regular = bool((steps[1:] - steps[:-1] == stride).all())
    near = int(times.min()) >= int(times[0]) and int(times.max() - times[0]) < 2**31
    row = _track_template(count, regular, near).copy()
    row["run_id"], row["writer_id"], row["epoch"] = epoch
    row["track_id"], row["step_lo"], row["step_hi"] = track.track_id, steps[0], steps[-1]
    row["stride"], row["time_lo"], row["points"] = stride if regular else 0, times[0], count
    row["chunks"], row["level"], row["pass"] = len(metric_ids), level, pass_id
    row["time_min"], row["time_max"] = times.min(), times.max()
    if not regular:
        row["steps"]["value"] = steps
    if near:
        row["times_us"]["value"] = times - times[0]
    else:
        row["times"]["value"] = times
    return row


@lru_cache(maxsize=256)
def _track_template(count: int, regular: bool, near: bool) -> npt.NDArray[Any]:
    return row_template(
        [
            *_TRACK_SCALARS,
            ArrayColumn("steps", "int8", None if regular else (count,)),
            ArrayColumn("times_us", "int4", (count,) if near else None),
            ArrayColumn("times", "timestamptz", None if near else (count,)),
        ]
    )


def chunk_rows(epoch: EpochKey, track: Track) -> tuple[list[npt.NDArray[Any]], Statistics]:
    """The rows of chunk of one track, float4 and float8 apart, and the statistics, in metric order."""
    track_id, (metric_ids, steps, _, part) = track
    values = np.ascontiguousarray(part)
    stats = statistics(values)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        narrow = values.astype(np.float32)
        survives = (narrow.astype(np.float64).view(np.int64) == values.view(np.int64)).all(1)
    out = []
    for chosen, kind, source in ((survives, "float4", narrow), (~survives, "float8", values)):
        if not chosen.any():
            continue
        everything = bool(chosen.all())
        rows = np.repeat(_chunk_template(kind, len(steps)), int(chosen.sum()))
        rows["run_id"], rows["writer_id"], rows["epoch"] = epoch
        rows["track_id"], rows["step_lo"], rows["step_hi"] = track_id, steps[0], steps[-1]
        rows["points"], rows["metric_id"] = len(steps), metric_ids[chosen]
        for name, column in stats._asdict().items():
            rows[name] = column if everything else column[chosen]
        mine = source if everything else source[chosen]
        suffix = kind[-1]
        rows[f"vals{suffix}"]["value"] = mine[:, :FULL_POINTS]
        if len(steps) > FULL_POINTS:
            rows[f"rest{suffix}"]["value"] = mine[:, FULL_POINTS:]
        out.append(rows)
    return out, stats


@lru_cache(maxsize=64)
def _chunk_template(kind: str, points: int) -> npt.NDArray[Any]:
    full, rest = min(points, FULL_POINTS), points - FULL_POINTS
    arrays = [
        ArrayColumn(f"{name}{other[-1]}", other, ((size,) if size > 0 else None) if other == kind else None)
        for other in ("float8", "float4")
        for name, size in (("vals", full), ("rest", rest))
    ]
    return row_template([*_SCALARS, *arrays])


class Totals:
    """The totals of the chunks of a pass, by metric. Add chunks in step order."""

    def __init__(self) -> None:
        self._parts: list[tuple[Stretch, Statistics]] = []

    def add(self, part: Stretch, stats: Statistics) -> None:
        """Adds the chunks of one track."""
        self._parts.append((part, stats))

    def columns(self) -> list[list[Any]]:
        """The columns of metric_total after run, writer and epoch: metric_id, points, nans, pos_infs, neg_infs,
        sum, min, max, first, last, first_step, last_step, last_time in µs since 2000."""
        rows: dict[int, list[Any]] = {}
        for part, stats in self._parts:
            count, begin, end, at = len(part.steps), int(part.steps[0]), int(part.steps[-1]), int(part.times[-1])
            columns = [column.tolist() for column in stats]
            for metric_id, first, last, low, high, total, nans, pos, neg in zip(
                part.metric_ids.tolist(), *columns, strict=True
            ):
                row = rows.get(metric_id)
                if row is None:
                    rows[metric_id] = [count, nans, pos, neg, total, low, high, first, last, begin, end, at]
                    continue
                row[0] += count
                row[1] += nans
                row[2] += pos
                row[3] += neg
                row[4] += total
                row[5] = min(row[5], low)
                row[6] = max(row[6], high)
                row[8], row[10], row[11] = last, end, at
        return [list(column) for column in zip(*([metric, *row] for metric, row in sorted(rows.items())), strict=True)]
