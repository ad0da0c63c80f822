"""The waiting rows of one key set, and the blocks that the I/O thread gets when it cuts them.

Part of the stage, which holds its lock while it uses a plan. Receives rows of numbers; returns the blocks of a `Cut`.
Pure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, NamedTuple, Protocol

from stepwell.stage.row import Row
from stepwell.values.convert import INT_TYPES, MAX_EXACT_INT
from stepwell.wire import Object, pack_names


class Completion(Protocol):
    """Completes rows before they are closed; implemented by `Definitions`.

    Attributes:
        generation: a number that changes whenever the answers of `needs` may change.
    """

    generation: int

    def complete(self, row: dict[str, float | bytes]) -> None: ...
    def needs(self, keys: Sequence[str]) -> list[int] | None: ...
    def saw(self, keys: Sequence[str], values: Sequence[Any], needed: Sequence[int]) -> None: ...


class CutBlock(NamedTuple):
    """The rows of one key set: its packed names; the number of its keys; int64 steps; float64 Unix seconds; float64
    values, row after row."""

    names: bytes
    keys: int
    steps: array[int]
    times: array[float]
    values: array[float]


class Cut(NamedTuple):
    """All rows closed since the last cut. Each step is in one block; objects belong to these steps.

    `notes` are the notes about the run, in order; their times never decrease.
    """

    blocks: list[CutBlock]
    objects: list[Object]
    notes: list[Object]


class Plan:
    """The plan of a key set: its keys and types, and the rows that wait for the next cut.

    Attributes:
        keys: the keys of its rows, in order.
        steps, times, values: the columns of the waiting rows.
        last: step, time and values of the last row taken.
        counted: the number of waiting rows that are counted already (`stage/latest.py`).
        recent: whether it had rows in a cut since `Plans.forget` last considered it (`stage/plans.py`).
    """

    __slots__ = (
        *("_names", "counted", "generation", "ints", "keys", "last", "needed", "recent", "steps", "times", "types"),
        "values",
    )

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = list(keys)
        self._names: bytes | None = None
        self.types: list[type] | None = None  # the types of the last row that came as one flat dict of numbers
        self.ints: list[bool] | None = None  # which values may exceed 2^53
        self.steps = array("q")
        self.times = array("d")
        self.values = array("d")
        self.last: tuple[int, float, array[float]] | None = None
        self.needed: list[int] | None = (
            None  # the indexes of its step metrics; None: rows lack one (`Completion.needs`)
        )
        self.generation = -1  # the generation of the answer in `needed`
        self.counted = 0
        self.recent = False

    @property
    def names(self) -> bytes:
        """The packed keys, computed when the first rows are cut, not when they are logged."""
        if self._names is None:
            self._names = pack_names(self.keys)
        return self._names

    def remember(self, types: list[type]) -> None:
        """Prepares the fast path for the next call with these types."""
        if types != self.types:
            ints = [kind in INT_TYPES for kind in types]
            self.ints = ints if any(ints) else None
            self.types = types

    def takes(self, values: list[Any]) -> bool:
        """Whether a float64 can hold each integer in `values` exactly. The values must have the known types."""
        return self.ints is None or all(
            -MAX_EXACT_INT <= value <= MAX_EXACT_INT for value in compress(values, self.ints)
        )

    def add(self, step: int, at: float, values: Iterable[Any]) -> None:
        """Appends a row. The stage decides later whether it counts: see `drop_from`."""
        self.values.extend(values)
        self.times.append(at)
        self.steps.append(step)

    def drop_from(self, step: int) -> None:
        """Removes rows from `step` on, and the remains of a row of an interrupted call."""
        steps = self.steps
        while steps and steps[-1] >= step:
            steps.pop()
        del self.times[len(steps) :]
        del self.values[len(steps) * len(self.keys) :]

    def remove(self, step: int) -> None:
        """Removes the row of `step`, if it waits here."""
        if step not in self.steps:
            return
        at, width = self.steps.index(step), len(self.keys)
        steps = self.steps[:at] + self.steps[at + 1 :]
        times = self.times[:at] + self.times[at + 1 :]
        values = self.values[: at * width] + self.values[(at + 1) * width :]
        self.steps, self.times, self.values = steps, times, values  # interrupts come before or after all three

    def take(self) -> TakenRows:
        """Takes the waiting rows, which then belong to the caller."""
        taken = TakenRows(self, self.steps, self.times, self.values)
        self.last = self._row(-1)
        self.counted = 0
        self.steps, self.times, self.values = array("q"), array("d"), array("d")
        return taken

    def last_row(self) -> tuple[list[str], int, float, array[float]] | None:
        """Keys, step, time and values of the last closed row, waiting or taken."""
        last = self._row(-1) if self.steps else self.last
        return None if last is None else (self.keys, *last)

    def _row(self, at: int) -> tuple[int, float, array[float]]:
        row = at % len(self.steps)
        keys = len(self.keys)
        return self.steps[row], self.times[row], self.values[row * keys : (row + 1) * keys]


class TakenRows(NamedTuple):
    """The rows taken from a plan."""

    plan: Plan
    steps: array[int]
    times: array[float]
    values: array[float]

    def as_block(self) -> CutBlock:
        """The same rows with packed keys. Called without the stage's lock, because packing names takes time."""
        return CutBlock(self.plan.names, len(self.plan.keys), self.steps, self.times, self.values)


class ShortRow(NamedTuple):
    """A step that came by the fast path and is still open: further calls may merge into it."""

    plan: Plan
    values: array[float]
    time: float


class LongRow(NamedTuple):
    """An open step with values of any kind. Without values, it waits for its first call."""

    row: Row
    time: float
