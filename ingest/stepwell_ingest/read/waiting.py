"""Objects that wait for their files, as the position of a live view's reader records them. Pure: no I/O.

An object is shown once its files are stored, which may be long after the frame that named them. So a reader that has
passed such an object must be told of it later, once. A cursor cannot list ten thousand pictures, but files are uploaded
in the order in which they were logged, so waiting objects lie together, and a few ranges of places cover them. Objects
with files inside of a range have not been reported yet, and those outside have.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """The place of an object of a writer: its epoch, the frame's seq and the number in the frame."""

    epoch: int
    seq: int
    number: int


class Range(NamedTuple):
    """A range of places of one epoch, `end` exclusive."""

    start: Place
    end: Place


def still_waiting(ranges: Iterable[Range], found: Sequence[tuple[Place, bool]]) -> list[Range]:
    """The waiting objects of a writer, as a few ranges.

    Args:
        ranges: ascending ranges that do not overlap: those that waited, and the new frames.
        found: all objects with files in the ranges, ascending, and whether the files are stored. Superseded objects are
            left out: they are not shown any more.
    """
    waiting: list[Range] = []
    opened: Place | None = None  # the place since which all objects wait
    certain = False  # whether there is any such object
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
    """Returns whether a place is in one of these ascending ranges."""
    number = bisect_right(ranges, place, key=lambda item: item.start) - 1
    return number >= 0 and place < ranges[number].end
