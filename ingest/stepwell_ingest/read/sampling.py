"""Fewer rows that still show everything: which rows of a page stand for the others.

Takes pages; gives the rows to keep: of every bucket of steps and every writer, for each metric the row with the first
value, the last one, the smallest and the largest finite one, and the first NaN, +Inf and −Inf; and where these are
fewer than were asked for, others at even distances. Each row that is kept is one that was logged, whole and at its own
step. Pure: no I/O.
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


class Sampler:
    """Chooses about `samples` rows of all pages of a read, which come in the order of steps.

    Args:
        samples: how many rows to aim at. Rows with extremes are kept even where they are more.
        end: about the step below which all rows lie.
        metrics: how many the run has, or the read asks for.

    Attributes:
        kept: how many rows were chosen so far.
    """

    def __init__(self, samples: int, end: int, metrics: int) -> None:
        self._samples = samples
        self._end = end
        self._metrics = metrics
        self._points = self._rows = 0
        self._widest = Grid(0, metrics <= MAX_METRICS)
        self.kept = 0

    def choose(self, page: Page) -> npt.NDArray[np.bool_]:
        """Which rows of the next page to keep; all, while all rows so far are no more than `samples`."""
        self._points += sum(len(column.values) for column in page.columns)
        self._rows += len(page.steps)
        kept = np.ones(len(page.steps), np.bool_)
        if self._rows > self._samples:
            first, last = int(page.steps[0]), int(page.steps[-1])
            # Rows are taken to lie evenly in the steps that are left.
            share = min(1.0, (page.next_step - first) / max(1, self._end - first))
            target = max(1, round((self._samples - self.kept) * share))
            metrics = min(self._metrics, len(page.columns)) if self._widest.extremes else self._metrics
            grid = choose_grid(target, first, last, metrics, len(page.writers))
            self._widest = max(self._widest, grid, key=lambda item: item.shift)
            kept = _filled(choose_rows(page, grid), target)
        self.kept += int(kept.sum())
        return kept

    def left_out(self) -> dict[str, Any] | None:
        """What was chosen of how much, and how; None when nothing was left out."""
        if self.kept == self._rows:
            return None
        return {"from": self._points, "from_rows": self._rows, "rows": self.kept, "by": self._widest.by}


def _filled(kept: npt.NDArray[np.bool_], target: int) -> npt.NDArray[np.bool_]:
    """The same rows and others at even distances, `target` in all, or all there are."""
    missing = target - int(kept.sum())
    if missing > 0:
        others = np.flatnonzero(~kept)
        at = np.arange(min(missing, len(others))) * len(others) // min(missing, max(1, len(others)))
        kept[others[at]] = True
    return kept


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
