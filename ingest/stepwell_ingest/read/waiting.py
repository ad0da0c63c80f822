"""Objects that wait for their files, as a live view's cursor remembers them. Pure: no I/O.

An object is shown when its files are there, which may be long after the frame that named them. So a reader that has
gone past such an object must be told of it later, once. A cursor cannot list ten thousand pictures; but files are
uploaded in the order in which they were logged, so what waits lies together, and a few ranges of places hold all of it.
Every object with files inside of a range has not been told yet, and every one outside of them has.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """Where an object of a writer is: its epoch, the frame's seq and the number in the frame."""

    epoch: int
    seq: int
    number: int


class Range(NamedTuple):
    """Places of one epoch, `end` not among them."""

    start: Place
    end: Place


def still_waiting(ranges: Iterable[Range], found: Sequence[tuple[Place, bool]]) -> list[Range]:
    """What waits of a writer, as few ranges.

    Args:
        ranges: ascending, not overlapping: those that waited, and the frames that are new.
        found: all objects with files in them, ascending, and whether the files are there. (What is superseded is none:
            it is not shown any more.)
    """
    waiting: list[Range] = []
    opened: Place | None = None  # since where nothing but what waits was met
    certain = False  # whether anything was
    end: Place | None = None
    objects = iter(found)
    pending = next(objects, None)
    for item in ranges:
        if end != item.start:
            if opened is not None and certain and end is not None:
                waiting.append(Range(opened, end))
            opened, certain = item.start, False
        while pending is not None and pending[0] < item.end:
            place, there = pending
            if place >= item.start:
                if not there:
                    opened, certain = place if opened is None else opened, True
                else:
                    if opened is not None and certain:
                        waiting.append(Range(opened, place))
                    opened, certain = None, False
            pending = next(objects, None)
        end = item.end
    if opened is not None and certain and end is not None:
        waiting.append(Range(opened, end))
    return waiting


def inside(ranges: Sequence[Range], place: Place) -> bool:
    """Whether a place is in one of these ascending ranges."""
    number = bisect_right(ranges, place, key=lambda item: item.start) - 1
    return number >= 0 and place < ranges[number].end
