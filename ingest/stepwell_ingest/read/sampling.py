"""Samples rows so that every extreme stays visible: chooses the rows of a page to keep.

Receives pages; returns the rows to keep. For every bucket of steps, every writer and every metric, these are the rows
with the first, last, smallest and largest finite value and the first NaN, +Inf and −Inf; if these are fewer than
requested, others are added at even distances. A kept row is complete and stays at its own step. Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array
from stepwell_ingest.read.rows import Page

#: With more metrics than this, keeping the extremes of each would keep most rows.
MAX_METRICS = 100


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of buckets of 2^`shift` steps that begins at step 0.

    Attributes:
        extremes: whether to keep extremes, or only the first and the last row of each bucket.
    """

    shift: int
    extremes: bool

    @property
    def by(self) -> str:
        """The sampling in words, for the answer."""
        width = f"buckets of {1 << self.shift} steps"
        if self.extremes:
            return f"rows with the first, last, smallest and largest value and any NaN or Inf of each key, in {width}"
        return (
            f"the first and last row in {width}; extremes are not kept for more than {MAX_METRICS} keys: "
            "name the keys to read"
        )


class Sampler:
    """Chooses about `samples` rows of all pages of a read, which must come in the order of steps.

    Args:
        samples: the number of rows to aim at. Rows with extremes are kept even if there are more of them.
        end: an estimate of the step below which all rows lie.
        metrics: the number of metrics that the run has, or that the read requests.

    Attributes:
        kept: the number of rows chosen so far.
    """

    def __init__(self, samples: int, end: int, metrics: int) -> None:
        self._samples = samples
        self._end = end
        self._metrics = metrics
        self._points = self._rows = 0
        self._widest = Grid(0, metrics <= MAX_METRICS)
        self.kept = 0

    def choose(self, page: Page) -> npt.NDArray[np.bool_]:
        """Chooses the rows of the next page to keep; all of them, while no more than `samples` rows have been seen."""
        self._points += sum(len(column.values) for column in page.columns)
        self._rows += len(page.steps)
        kept = np.ones(len(page.steps), np.bool_)
        if self._rows > self._samples:
            first, last = int(page.steps[0]), int(page.steps[-1])
            # Assumes that rows lie evenly in the remaining steps.
            share = min(1.0, (page.next_step - first) / max(1, self._end - first))
            target = max(1, round((self._samples - self.kept) * share))
            metrics = min(self._metrics, len(page.columns)) if self._widest.extremes else self._metrics
            grid = choose_grid(target, first, last, metrics, len(page.writers))
            self._widest = max(self._widest, grid, key=lambda item: item.shift)
            kept = _filled(choose_rows(page, grid), target)
        self.kept += int(kept.sum())
        return kept

    def left_out(self) -> dict[str, Any] | None:
        """The description of the sampling for the answer; None when nothing was left out."""
        if self.kept == self._rows:
            return None
        return {"from": self._points, "from_rows": self._rows, "rows": self.kept, "by": self._widest.by}


def _filled(kept: npt.NDArray[np.bool_], target: int) -> npt.NDArray[np.bool_]:
    """Adds rows at even distances to `kept`, up to `target` rows in all, or all rows if there are fewer."""
    missing = target - int(kept.sum())
    if missing > 0:
        others = np.flatnonzero(~kept)
        at = np.arange(min(missing, len(others))) * len(others) // min(missing, max(1, len(others)))
        kept[others[at]] = True
    return kept


def choose_grid(samples: int, first: int, last: int, metrics: int, writers: int) -> Grid:
    """The finest grid that keeps about `samples` rows between these steps."""
    extremes = metrics <= MAX_METRICS
    per_bucket = (4 * max(1, metrics) if extremes else 2) * max(1, writers)
    buckets = max(1, samples // per_bucket)
    shift = 0
    while (last >> shift) - (first >> shift) >= buckets:
        shift += 1
    return Grid(shift, extremes)


def choose_rows(page: Page, grid: Grid) -> npt.NDArray[np.bool_]:
    """The rows of the page to keep."""
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
    """The positions of the values that must be kept."""
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
    """The first of these positions in each group. Positions and groups must be ascending."""
    groups = group[positions]
    first = np.ones(len(groups), np.bool_)
    first[1:] = groups[1:] != groups[:-1]
    return positions[first]
