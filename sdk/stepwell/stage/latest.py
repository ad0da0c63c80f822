"""The latest value of each key over the closed rows, and the extremes of a metric if its definition asks for them.

Part of the stage, which holds its lock while it uses this module. Receives the plans with their waiting rows, and
objects; returns the values that `run.summary` shows. `log()` spends no time on this: a plan remembers its last row when
it is cut, and rows are aggregated in bulk, at a cut or when the extremes are read, and only for the metrics whose
definition asks for extremes. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stepwell.stage.plan import Plan
from stepwell.wire import Object

#: Larger values are not kept for `run.summary`; the server has them.
_MAX_KEPT_BYTES = 1024 * 1024


class Seen(NamedTuple):
    """The last value of a key (bytes: JSON), its step, and the time of that row in Unix seconds."""

    value: float | bytes
    step: int
    time: float


@dataclass(slots=True)
class Extremes:
    """Aggregates over all numbers of a metric since it was first followed. NaN is left out, except as the `first`."""

    low: float = math.nan
    high: float = math.nan
    total: float = 0.0
    count: int = 0
    first: float | bytes | None = None

    def add(self, low: float, high: float, total: float, count: int) -> None:
        if not count:
            return
        self.low = low if not self.count else min(self.low, low)
        self.high = high if not self.count else max(self.high, high)
        self.total += total
        self.count += count


class Latest:
    """The last values of one writer."""

    def __init__(self) -> None:
        self._older: dict[str, Seen] = {}  # the values of plans that the stage has dropped
        self._objects: dict[str, Seen] = {}
        self._extremes: dict[str, Extremes] = {}
        self._follows: Callable[[str], bool] | None = None

    def follow(self, follows: Callable[[str], bool], plans: Iterable[Plan]) -> None:
        """From now on, keeps the extremes of the metrics for which `follows` returns True. Of the rows closed before,
        only the last value of each metric counts here; the server counts all of them."""
        plans = list(plans)
        for plan in plans:
            self.count(plan)
        self._follows = follows
        for key, seen in self.read(plans).items():
            if key not in self._extremes and follows(key):
                extremes = self._of(key)
                extremes.first = seen.value
                if isinstance(seen.value, float) and not math.isnan(seen.value):
                    extremes.add(seen.value, seen.value, seen.value, 1)

    def saw(self, objects: Iterable[Object]) -> None:
        """Records objects of closed rows. A JSON null does not count as a value."""
        for step, time_us, key, body in objects:
            if body != b"null":
                known = self._objects.get(key)  # may be of a later step, if media took long to encode
                if len(body) <= _MAX_KEPT_BYTES and (known is None or known.step <= step):
                    self._objects[key] = Seen(body, step, time_us / 1e6)
                if self._follows is not None and self._follows(key) and self._of(key).first is None:
                    self._of(key).first = body

    def count(self, plan: Plan) -> None:
        """Counts the uncounted rows of `plan`; must be called before they are taken."""
        rows, keys = len(plan.steps), len(plan.keys)
        since, plan.counted = min(plan.counted, rows), rows
        if self._follows is None or not keys or since == rows:
            return
        followed = [index for index, key in enumerate(plan.keys) if self._follows(key)]
        if not followed:
            return
        matrix = np.frombuffer(plan.values, np.float64, rows * keys).reshape(rows, keys)[since:, followed]
        numbers = ~np.isnan(matrix)
        lows, highs = np.fmin.reduce(matrix).tolist(), np.fmax.reduce(matrix).tolist()
        totals, counts = np.where(numbers, matrix, 0.0).sum(0).tolist(), numbers.sum(0).tolist()
        for index, low, high, total, count, first in zip(
            followed, lows, highs, totals, counts, matrix[0].tolist(), strict=True
        ):
            extremes = self._of(plan.keys[index])
            extremes.add(low, high, total, count)
            if extremes.first is None:
                extremes.first = first

    def keep(self, plans: Iterable[Plan]) -> None:
        """Keeps the last values of plans that the stage forgets. All rows of these plans must have been taken."""
        for key, seen in self.read(plans, objects=False).items():
            self._older[key] = seen

    def read(self, plans: Iterable[Plan], objects: bool = True) -> dict[str, Seen]:
        """The last value of each key: that of the highest step, over all plans and, if asked for, objects."""
        rows = sorted((last for plan in plans if (last := plan.last_row()) is not None), key=lambda row: row[1])
        out = dict(self._older)
        for keys, step, time, values in rows:
            for key, value in zip(keys, values, strict=True):
                out[key] = Seen(value, step, time)
        if objects:
            for key, seen in self._objects.items():
                # At the same step, the later value counts; if one call logged a number and an object, the number.
                # SQL does the same.
                if key not in out or _order(out[key]) < _order(seen):
                    out[key] = seen
        return out

    def extremes(self, plans: Iterable[Plan]) -> dict[str, Extremes]:
        """The extremes of the followed metrics, including the waiting rows."""
        for plan in plans:
            self.count(plan)
        return self._extremes

    def _of(self, key: str) -> Extremes:
        extremes = self._extremes.get(key)
        if extremes is None:
            extremes = self._extremes[key] = Extremes()
        return extremes


def _order(seen: Seen) -> tuple[int, int]:
    return seen.step, round(seen.time * 1e6)
