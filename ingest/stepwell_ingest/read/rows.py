"""Joins series and objects into the rows of a step range, as columns.

Receives the series that `arrays` fetched and the objects of the same range; returns a `Page`. A row holds what one
writer logged at one step, so writers that log the same key at the same step stay apart. Rows are ordered by step, then
by writer. A column lists the rows that have it: a missing key is not a NaN, which is a value. Pure: no I/O.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.wire import Int64Array
from stepwell.wire.columns import Column, Numbers
from stepwell_ingest.read.arrays import Series

RowNumbers = npt.NDArray[np.int64]


class ObjectValue(NamedTuple):
    """One object: its JSON text, and its time in µs since the Unix epoch."""

    key: str
    writer: str
    step: int
    time: int
    text: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of a range of steps.

    Attributes:
        steps: int64[R].
        writers: names of writers; `writer`, int32[R], is the index of each row's writer.
        times: int64[R], µs since the Unix epoch; None when not requested.
        columns: columns by key; a key with numbers and objects has two.
        next_step: the page holds every row below this step.
    """

    steps: Int64Array
    writers: list[str]
    writer: npt.NDArray[np.int32]
    times: Int64Array | None
    columns: list[Column]
    next_step: int

    def select(self, rows: npt.NDArray[np.bool_]) -> Page:
        """The page with these rows only; columns without values in them are dropped."""
        if rows.all():
            return self
        number = np.cumsum(rows, dtype=np.int32) - 1  # the new number of each kept row
        count = int(number[-1]) + 1 if len(number) else 0
        columns = [kept for column in self.columns if len((kept := _select(column, rows, number, count)).values)]
        times = None if self.times is None else self.times[rows]
        return Page(self.steps[rows], self.writers, self.writer[rows], times, columns, self.next_step)


def size_of(page: Page) -> int:
    """The approximate number of bytes that a page holds."""
    held = page.steps.nbytes + page.writer.nbytes + (0 if page.times is None else page.times.nbytes)
    for column in page.columns:
        held += 0 if column.rows is None else column.rows.nbytes
        values = column.values
        held += values.nbytes if isinstance(values, np.ndarray) else sum(len(value) + 50 for value in values)
    return held


@dataclass(slots=True)
class _Axis:
    """The steps of one writer that one or more keys share, and later the row of each step."""

    writer: int
    steps: Int64Array
    times: Int64Array | None
    rows: RowNumbers | None = None


def assemble(
    series: Sequence[Series],
    objects: Iterable[ObjectValue],
    next_step: int,
    *,
    with_times: bool = False,
    require: Sequence[str] | None = None,
) -> Page:
    """Makes a page from points and objects.

    Args:
        series: the points of the range, of any metrics and writers.
        objects: the objects of the range.
        next_step: the step below which the page holds every row.
        with_times: whether the page has the times of rows.
        require: keys that each row must have; None: none.
    """
    found = defaultdict[tuple[str, str], dict[int, ObjectValue]](dict)
    for item in objects:
        found[item.key, item.writer][item.step] = item
    writers = sorted({item.writer for item in series} | {writer for _, writer in found})
    index = {name: number for number, name in enumerate(writers)}
    axes = _Axes()
    numbers = [(item.metric, axes.get(index[item.writer], item.steps, item.times), item.values) for item in series]
    texts = []
    for (key, writer), by_step in sorted(found.items()):
        ordered = sorted(by_step.values(), key=lambda item: item.step)
        steps = np.array([item.step for item in ordered], np.int64)
        times = np.array([item.time for item in ordered], np.int64) if with_times else None
        texts.append((key, axes.get(index[writer], steps, times), [item.text for item in ordered]))
    page = axes.page(writers, next_step, with_times)
    page.columns.extend(_columns(numbers, len(page.steps)))
    page.columns.extend(_columns(texts, len(page.steps)))
    if require is None:
        return page
    wanted = np.ones(len(page.steps), np.bool_)
    for key in require:
        has = np.zeros_like(wanted)
        for column in page.columns:
            if column.name == key:
                has[slice(None) if column.rows is None else column.rows] = True
        wanted &= has
    return page.select(wanted)


class _Axes:
    """The distinct axes: metrics that are logged together share one, so their rows are found once."""

    def __init__(self) -> None:
        self._all: list[_Axis] = []
        self._alike: dict[tuple[int, int, int, int], list[_Axis]] = defaultdict(list)

    def get(self, writer: int, steps: Int64Array, times: Int64Array | None) -> _Axis:
        alike = self._alike[writer, len(steps), int(steps[0]), int(steps[-1])]
        for axis in alike:
            if axis.steps is steps or np.array_equal(axis.steps, steps):
                return axis
        axis = _Axis(writer, steps, times)
        alike.append(axis)
        self._all.append(axis)
        return axis

    def page(self, writers: list[str], next_step: int, with_times: bool) -> Page:
        """A page without columns; assigns the rows of each axis."""
        if not self._all:
            empty = np.zeros(0, np.int64)
            return Page(empty, writers, np.zeros(0, np.int32), empty if with_times else None, [], next_step)
        if len(self._all) == 1:
            axis = self._all[0]
            axis.rows = np.arange(len(axis.steps))
            writer = np.full(len(axis.steps), axis.writer, np.int32)
            return Page(axis.steps, writers, writer, axis.times, [], next_step)
        steps, step_of = np.unique(np.concatenate([axis.steps for axis in self._all]), return_inverse=True)
        writer_of = np.repeat([axis.writer for axis in self._all], [len(axis.steps) for axis in self._all])
        codes, row_of = np.unique(step_of * len(writers) + writer_of, return_inverse=True)
        ends = np.cumsum([len(axis.steps) for axis in self._all])
        times = np.zeros(len(codes), np.int64) if with_times else None
        for axis, rows in zip(self._all, np.split(row_of, ends[:-1]), strict=True):
            axis.rows = rows
            if times is not None and axis.times is not None:
                times[rows] = axis.times
        return Page(
            steps[codes // len(writers)], writers, (codes % len(writers)).astype(np.int32), times, [], next_step
        )


def _columns(parts: Iterable[tuple[str, _Axis, Numbers | list[bytes]]], rows: int) -> list[Column]:
    """One column for each key, from the parts of its writers."""
    by_key: dict[str, list[tuple[RowNumbers, Numbers | list[bytes]]]] = defaultdict(list)
    for key, axis, values in parts:
        assert axis.rows is not None
        by_key[key].append((axis.rows, values))
    columns = []
    for key, pieces in by_key.items():
        at, values = pieces[0]
        if len(pieces) > 1:
            at = np.concatenate([rows for rows, _ in pieces])
            order = np.argsort(at, kind="stable")
            at = at[order]
            if isinstance(values, np.ndarray):
                values = np.concatenate([numbers for _, numbers in pieces])[order]
            else:
                texts = [text for _, some in pieces for text in some]
                values = [texts[i] for i in order.tolist()]
        columns.append(Column(key, values, None if len(at) == rows else at.astype(np.int32)))
    return columns


def _select(column: Column, rows: npt.NDArray[np.bool_], number: npt.NDArray[np.int32], count: int) -> Column:
    """The column with the kept rows only, `count` of them, under their new numbers."""
    kept = rows if column.rows is None else rows[column.rows]
    values: Numbers | list[bytes]
    if isinstance(column.values, np.ndarray):
        values = column.values[kept]
    else:
        values = [text for text, keep in zip(column.values, kept.tolist(), strict=True) if keep]
    if column.rows is None or len(values) == count:
        return Column(column.name, values)
    return Column(column.name, values, number[column.rows[kept]])
