"""Regroups values from the way they are written to the way they are read: from key sets to metrics with equal steps.

Stands between hot history (or short chunks, during a merge) and the chunks. Receives stretches in any order; returns
groups. Promises: every value of every metric is in exactly one group, once, with its step and its time. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array

Int32Array = npt.NDArray[np.int32]


class Stretch(NamedTuple):
    """The values of some metrics at the same steps.

    Attributes:
        metric_ids: int32[K], distinct.
        steps: int64[S], strictly increasing.
        times: int64[S], microseconds since 2000-01-01 UTC, Postgres' epoch.
        values: float64[K][S].
    """

    metric_ids: Int32Array
    steps: Int64Array
    times: Int64Array
    values: Float64Array

    def between(self, from_step: int, to_step: int) -> Stretch:
        """The part whose steps lie in from_step … to_step − 1, as views without a copy."""
        first, last = np.searchsorted(self.steps, (from_step, to_step))
        return Stretch(self.metric_ids, self.steps[first:last], self.times[first:last], self.values[:, first:last])


def join(pieces: Iterable[Stretch]) -> list[Stretch]:
    """Joins pieces with the same metrics in the same order into one stretch each."""
    by_metrics: dict[bytes, list[Stretch]] = {}
    for piece in pieces:
        by_metrics.setdefault(piece.metric_ids.tobytes(), []).append(piece)
    return [_in_order(_joined(same)) for same in by_metrics.values()]


def _joined(pieces: list[Stretch]) -> Stretch:
    steps = np.concatenate([piece.steps for piece in pieces]).astype(np.int64, copy=False)
    times = np.concatenate([piece.times for piece in pieces]).astype(np.int64, copy=False)
    values = np.empty((len(pieces[0].metric_ids), len(steps)))
    at = 0
    for piece in pieces:  # this also converts big-endian values to native ones
        values[:, at : at + len(piece.steps)] = piece.values
        at += len(piece.steps)
    return Stretch(pieces[0].metric_ids.astype(np.int32), steps, times, values)


def regroup(stretches: Sequence[Stretch], begins: Collection[tuple[int, int]] = ()) -> list[Stretch]:
    """Regroups stretches so that every metric appears once, with all of its steps, or once for each of its ranges.

    Args:
        stretches: stretches of one epoch; a metric may be in several of them, at different steps.
        begins: pairs of the index of a stretch and a metric id: there, a new range of the metric begins, which is not
            joined with the values before it.
    """
    all_ids = np.concatenate([stretch.metric_ids for stretch in stretches]) if stretches else np.empty(0, np.int32)
    if len(np.unique(all_ids)) == len(all_ids):
        return [_in_order(stretch) for stretch in stretches]
    ranges: dict[int, list[list[int]]] = {}
    for index, stretch in enumerate(stretches):
        for metric_id in stretch.metric_ids.tolist():
            of_metric = ranges.setdefault(metric_id, [])
            if not of_metric or (index, metric_id) in begins:
                of_metric.append([])
            of_metric[-1].append(index)
    groups: dict[tuple[int, ...], list[int]] = {}
    for metric_id, of_metric in ranges.items():
        for where in of_metric:
            groups.setdefault(tuple(where), []).append(metric_id)
    out = [
        _in_order(stretch) for stretch in stretches if not len(stretch.metric_ids)
    ]  # steps at which nothing was logged
    for indexes, metric_ids in groups.items():
        parts = [_rows(stretches[index], np.array(metric_ids, np.int32)) for index in indexes]
        out.append(_in_order(_joined(parts)))
    return out


def _rows(stretch: Stretch, metric_ids: Int32Array) -> Stretch:
    order = np.argsort(stretch.metric_ids, kind="stable")
    rows = order[np.searchsorted(stretch.metric_ids, metric_ids, sorter=order)]
    return Stretch(metric_ids, stretch.steps, stretch.times, stretch.values[rows])


def _in_order(stretch: Stretch) -> Stretch:
    if (stretch.steps[1:] > stretch.steps[:-1]).all():
        return stretch
    order = np.argsort(stretch.steps, kind="stable")
    return Stretch(stretch.metric_ids, stretch.steps[order], stretch.times[order], stretch.values[:, order])
