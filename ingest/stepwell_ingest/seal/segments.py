"""What was written together becomes what is read together: blocks by key set turn into metrics with equal steps.

Between hot history (or short chunks, when they are merged) and the chunks. In come segments in any order; out go
groups. Promises: every value of every metric is in exactly one group, once, with its step and its time. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array

Int32Array = npt.NDArray[np.int32]


class Segment(NamedTuple):
    """Values of some metrics at the same steps.

    Attributes:
        metric_ids: int32[K], each once.
        steps: int64[S], strictly increasing.
        times: int64[S], microseconds since 2000-01-01 UTC, as Postgres counts.
        values: float64[K][S].
    """

    metric_ids: Int32Array
    steps: Int64Array
    times: Int64Array
    values: Float64Array

    def between(self, from_step: int, to_step: int) -> Segment:
        """The part whose steps lie in from_step … to_step − 1; views, no copies."""
        first, last = np.searchsorted(self.steps, (from_step, to_step))
        return Segment(self.metric_ids, self.steps[first:last], self.times[first:last], self.values[:, first:last])


def join(pieces: Iterable[Segment]) -> list[Segment]:
    """Pieces with the same metrics in the same order become one segment each."""
    by_metrics: dict[bytes, list[Segment]] = {}
    for piece in pieces:
        by_metrics.setdefault(piece.metric_ids.tobytes(), []).append(piece)
    return [_in_order(_joined(same)) for same in by_metrics.values()]


def _joined(pieces: list[Segment]) -> Segment:
    steps = np.concatenate([piece.steps for piece in pieces]).astype(np.int64, copy=False)
    times = np.concatenate([piece.times for piece in pieces]).astype(np.int64, copy=False)
    values = np.empty((len(pieces[0].metric_ids), len(steps)))
    at = 0
    for piece in pieces:  # also where big-endian values become the machine's
        values[:, at : at + len(piece.steps)] = piece.values
        at += len(piece.steps)
    return Segment(pieces[0].metric_ids.astype(np.int32), steps, times, values)


def regroup(segments: Sequence[Segment], begins: Collection[tuple[int, int]] = ()) -> list[Segment]:
    """Segments in which every metric appears once, with all of its steps, or once for each of its ranges of steps.

    Args:
        segments: of one epoch; a metric may be in several of them, then at other steps in each.
        begins: (index of a segment, metric id) at which a new range of the metric begins. What lies before it and
            behind it is not joined.
    """
    all_ids = np.concatenate([segment.metric_ids for segment in segments]) if segments else np.empty(0, np.int32)
    if len(np.unique(all_ids)) == len(all_ids):
        return [_in_order(segment) for segment in segments]
    ranges: dict[int, list[list[int]]] = {}
    for index, segment in enumerate(segments):
        for metric_id in segment.metric_ids.tolist():
            of_metric = ranges.setdefault(metric_id, [])
            if not of_metric or (index, metric_id) in begins:
                of_metric.append([])
            of_metric[-1].append(index)
    groups: dict[tuple[int, ...], list[int]] = {}
    for metric_id, of_metric in ranges.items():
        for where in of_metric:
            groups.setdefault(tuple(where), []).append(metric_id)
    out = [
        _in_order(segment) for segment in segments if not len(segment.metric_ids)
    ]  # steps at which nothing was logged
    for indexes, metric_ids in groups.items():
        parts = [_rows(segments[index], np.array(metric_ids, np.int32)) for index in indexes]
        out.append(_in_order(_joined(parts)))
    return out


def _rows(segment: Segment, metric_ids: Int32Array) -> Segment:
    order = np.argsort(segment.metric_ids, kind="stable")
    rows = order[np.searchsorted(segment.metric_ids, metric_ids, sorter=order)]
    return Segment(metric_ids, segment.steps, segment.times, segment.values[rows])


def _in_order(segment: Segment) -> Segment:
    if (segment.steps[1:] > segment.steps[:-1]).all():
        return segment
    order = np.argsort(segment.steps, kind="stable")
    return Segment(segment.metric_ids, segment.steps[order], segment.times[order], segment.values[:, order])
