"""Fewer rows that still show everything: which rows of a page stand for the others.

In comes a page and a width; out go the rows to keep: of every bucket of steps and every writer, for each metric the row
with the first value, the last one, the smallest and the largest finite one, and the first NaN, +Inf and −Inf. Each row
that is kept is one that was logged, whole and at its own step. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array
from stepwell_ingest.read.rows import Page

#: With more metrics than this, keeping the extremes of each would keep most rows.
MAX_METRICS = 100


@dataclass(frozen=True, slots=True)
class Grid:
    """Buckets of 2^`shift` steps on a grid that begins at step 0.

    Attributes:
        extremes: keep them; else only the first and the last row of each bucket.
    """

    shift: int
    extremes: bool

    @property
    def by(self) -> str:
        """What was done, in words."""
        width = f"buckets of {1 << self.shift} steps"
        if self.extremes:
            return f"rows with the first, last, smallest and largest value and any NaN or Inf of each key, in {width}"
        return f"the first and last row in {width}; extremes are not kept for more than {MAX_METRICS} keys: name keys"


def choose_grid(samples: int, first: int, last: int, metrics: int, writers: int) -> Grid:
    """The finest grid on which about `samples` rows are kept between these steps."""
    extremes = metrics <= MAX_METRICS
    per_bucket = (4 * max(1, metrics) if extremes else 2) * max(1, writers)
    buckets = max(1, samples // per_bucket)
    shift = 0
    while (last >> shift) - (first >> shift) >= buckets:
        shift += 1
    return Grid(shift, extremes)


def choose_rows(page: Page, grid: Grid) -> npt.NDArray[np.bool_]:
    """Which rows of the page to keep."""
    kept = np.zeros(len(page.steps), np.bool_)
    bucket = page.steps >> grid.shift
    group = (bucket - bucket.min(initial=bucket[0] if len(bucket) else 0)) * max(1, len(page.writers)) + page.writer
    if not grid.extremes:
        kept[_first_and_last(group)] = True
        return kept
    for column in page.columns:
        rows = np.arange(len(page.steps)) if column.rows is None else column.rows
        if isinstance(column.values, np.ndarray):
            kept[rows[_extremes(group[rows], column.values.astype(np.float64, copy=False))]] = True
        else:
            kept[rows[_first_and_last(group[rows])]] = True
    return kept


def _extremes(group: npt.NDArray[np.int64], values: Float64Array) -> npt.NDArray[np.int64]:
    """Positions of what must stay."""
    order = np.argsort(group, kind="stable")
    sorted_group, sorted_values = group[order], values[order]
    starts = np.flatnonzero(np.diff(sorted_group, prepend=sorted_group[0] - 1))
    counts = np.diff(starts, append=len(sorted_group))
    picked = [starts, starts + counts - 1]
    finite = np.isfinite(sorted_values)
    for reduce, neutral in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        bounded = np.where(finite, sorted_values, neutral)
        best = np.repeat(reduce.reduceat(bounded, starts), counts)
        picked.append(_first_of(np.flatnonzero(finite & (bounded == best)), sorted_group))
    odd = (np.isnan(sorted_values), np.isposinf(sorted_values), np.isneginf(sorted_values))
    picked += [_first_of(np.flatnonzero(which), sorted_group) for which in odd]
    return order[np.concatenate(picked)]


def _first_and_last(group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=group[order[0]] - 1))
    ends = np.append(starts[1:], len(order)) - 1
    chosen: npt.NDArray[np.int64] = order[np.concatenate([starts, ends])]
    return chosen


def _first_of(positions: npt.NDArray[np.int64], group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first of these positions in each group; they ascend, and so do the groups."""
    groups = group[positions]
    first = np.ones(len(groups), np.bool_)
    first[1:] = groups[1:] != groups[:-1]
    return positions[first]
