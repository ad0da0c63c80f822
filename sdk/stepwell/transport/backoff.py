"""Pauses between attempts: exponential back-off with jitter, within bounds, without end. Pure arithmetic, no clock."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that grow from `min_s` to `max_s`.

    Jitter: each pause is drawn between half and all of its bound, so that ten thousand clients of a recovering server
    do not arrive together.
    """

    def __init__(self, min_s: float, max_s: float) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._bound_s = min_s

    def next_s(self, at_least_s: float = 0.0) -> float:
        """The next pause in seconds; at least the one that the server asked for, plus jitter."""
        bound, self._bound_s = self._bound_s, min(self._bound_s * 2, self._max_s)
        return max(at_least_s, bound / 2) + random.random() * bound / 2

    def reset(self) -> None:
        """Resets the pauses after a success."""
        self._bound_s = self._min_s
