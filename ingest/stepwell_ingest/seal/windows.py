"""Cuts a metric's steps into chunks, at multiples of a power of two and with at most 1,024 points each.

Used by `chunks`. Charts read buckets on a grid of 2^k steps; for a chunk that lies inside one bucket, its statistics
suffice, and its values are not read. Pure numpy.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from stepwell.wire import Int64Array

#: The most points of a chunk.
POINTS = 1024


def grid_of(steps: Int64Array) -> int:
    """The k for which windows of 2^k steps fill a chunk at the average density of `steps`."""
    span = int(steps[-1]) - int(steps[0]) + 1
    return min(62, int(math.log2(POINTS * span / len(steps))))


def windows(steps: Int64Array) -> list[tuple[int, int]]:
    """The index ranges into which `steps` is cut, in order and complete. Each lies inside one window of some grid.

    Args:
        steps: int64[S], strictly increasing.
    """
    return _cut(steps, 0, len(steps), grid_of(steps)) if len(steps) else []


def _cut(steps: Int64Array, start: int, end: int, k: int) -> list[tuple[int, int]]:
    squares = steps[start:end] >> k
    edges = [start, *(np.flatnonzero(squares[1:] != squares[:-1]) + start + 1).tolist(), end]
    out: list[tuple[int, int]] = []
    for first, last in itertools.pairwise(edges):
        if last - first > POINTS:  # denser here than on average
            out += _cut(steps, first, last, k - 1)
        else:
            out.append((first, last))
    return out
