"""The rows of one key set while they wait in the stage, and what the I/O thread gets when it cuts them.

Beside the stage, which calls these with its lock held. In come rows of numbers; out go a `Cut`'s blocks. Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol

from stepwell.values.convert import MAX_EXACT_INT
from stepwell.wire import Object, pack_names


class Completion(Protocol):
    """Who completes rows before they are closed: `Definitions` fits.

    Attributes:
        generation: another number whenever the answers of `needs` may be others.
    """

    generation: int

    def complete(self, row: dict[str, float | bytes]) -> None: ...
    def needs(self, keys: Sequence[str]) -> list[int] | None: ...
    def saw(self, keys: Sequence[str], values: Sequence[Any], needed: Sequence[int]) -> None: ...


class CutBlock(NamedTuple):
    """Rows of one key set: packed names; int64 steps; float64 Unix seconds; float64 values, row after row."""

    names: bytes
    keys: int
    steps: array[int]
    times: array[float]
    values: array[float]


class Cut(NamedTuple):
    """All rows that were closed since the last cut. Each step stands in one block; objects belong to these steps.

    `notes` are what was said of the run since then, in order; their times do not go back.
    """

    blocks: list[CutBlock]
    objects: list[Object]
    notes: list[Object]


class Plan:
    """A key set: how its rows are recognised, and the rows that wait for the next cut."""

    __slots__ = (
        *("counted", "generation", "ints", "keys", "last", "names", "needed", "steps", "times", "types", "values"),
    )

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = list(keys)
        self.names = pack_names(keys)
        self.types: list[type] | None = None  # of the last row that came as one flat dict of numbers
        self.ints: list[bool] | None = None  # which of them may be beyond 2^53
        self.steps = array("q")
        self.times = array("d")
        self.values = array("d")
        self.last: tuple[int, float, array[float]] | None = None  # step, time and values of the last row taken
        self.needed: list[int] | None = None  # where its step metrics are; None: rows lack one (`Completion.needs`)
        self.generation = -1  # of that answer
        self.counted = 0  # rows that wait and are counted already (`stage/latest.py`)

    def takes(self, values: list[Any]) -> bool:
        """Whether every integer of a row of the known types fits a float64 exactly."""
        return self.ints is None or all(
            -MAX_EXACT_INT <= value <= MAX_EXACT_INT for value in compress(values, self.ints)
        )

    def add(self, step: int, at: float, values: Any) -> None:
        """Appends a row; an exception in the midst of it (Ctrl-C) leaves none."""
        try:
            self.values.extend(values)
            self.times.append(at)
            self.steps.append(step)
        except BaseException:
            self.repair()
            raise

    def repair(self) -> None:
        """Removes what an interrupted call has left of a row."""
        rows = len(self.steps)
        del self.times[rows:]
        del self.values[rows * len(self.keys) :]

    def take(self) -> CutBlock:
        self.repair()
        block = CutBlock(self.names, len(self.keys), self.steps, self.times, self.values)
        self.last = self._row(-1)
        self.counted = 0
        self.steps, self.times, self.values = array("q"), array("d"), array("d")
        return block

    def last_row(self) -> tuple[list[str], int, float, array[float]] | None:
        """Keys, step, time and values of the last closed row, waiting or taken."""
        last = self._row(-1) if self.steps else self.last
        return None if last is None else (self.keys, *last)

    def _row(self, at: int) -> tuple[int, float, array[float]]:
        row = at % len(self.steps)
        keys = len(self.keys)
        return self.steps[row], self.times[row], self.values[row * keys : (row + 1) * keys]


class OpenRow(NamedTuple):
    """A step that came the short way and is still open: further calls may merge into it."""

    plan: Plan
    values: array[float]
    time: float
