"""Clocks that do not move when the host's clock is set, for the order of notes and for ages that hosts compare."""

from __future__ import annotations

import sys
import time


def uptime_s() -> float:
    """Seconds of a clock that cannot be set and, on Linux, continues while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class SteadyClock:
    """The time of day at the clock's creation, plus the time passed since. Setting the host's clock does not move it.

    Of two notes about the same thing, the newer one counts; a jump of the host's clock into the future must not make
    the notes of one process win forever.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - uptime_s()

    def now(self) -> float:
        """The time of this clock in Unix seconds."""
        return self._ahead_s + uptime_s()
