"""Admission, the first station after the socket: decides whether new work may enter, and whether there is room for it.

A stream that finds no room stops reading its socket, so TCP slows the sender down and its spool holds the rest. A POST
that finds no room is answered 503 with Retry-After. Either way memory stays below `Limits.memory_bytes` (plus the
excess of one message), and nothing is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from stepwell.errors import OverloadedError, UnavailableError
from stepwell_ingest.room import Room

__all__ = ["Gate", "Rate", "Room"]


class Gate:
    """Decides whether the server still accepts new work.

    Attributes:
        closed: the server is stopping; it only finishes accepted work.
    """

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """Stops new work from entering."""
        self.closed = True

    def check_open(self, hint: str | None = None) -> None:
        """Checks that the gate is open.

        Raises:
            UnavailableError: the server is stopping.
        """
        if self.closed:
            raise UnavailableError("the server is stopping", hint=hint)


class Rate:
    """A limit on incoming bytes: so many at once, and so many more each second.

    It applies to attach messages: their configs are stored in tables that are never emptied, and no limit of a run
    covers them.

    Args:
        burst_bytes: the most bytes at once.
        per_s: the bytes that may follow each second.
        clock: returns monotonic seconds.
    """

    def __init__(self, burst_bytes: int, per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst_bytes = burst_bytes
        self._per_s = per_s
        self._clock = clock
        self._left = float(burst_bytes)
        self._at = clock()

    def take(self, size: int) -> None:
        """Admits `size` bytes; a size above `burst_bytes` counts as `burst_bytes`.

        Raises:
            OverloadedError: the limit is reached; the error says after how many seconds to try again.
        """
        now = self._clock()
        self._left = min(self._burst_bytes, self._left + (now - self._at) * self._per_s)
        self._at, size = now, min(size, self._burst_bytes)
        if size > self._left:
            raise OverloadedError(
                "runs and configs arrive faster than the server accepts them",
                retry_after_s=(size - self._left) / self._per_s,
                detail=f"the limit is {self._burst_bytes:,} bytes at once, and {self._per_s:,} a second",
                hint="the SDK retries automatically; log large values as files, not in the config",
            )
        self._left -= size
