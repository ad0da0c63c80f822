"""Admission, the first station after the socket: decides whether new work may enter, and whether there is room for it.

A stream that finds no room stops reading its socket, so TCP slows the sender down and its spool holds the rest. A POST
that finds no room is answered 503 with Retry-After. Either way memory stays below `Limits.memory_bytes` (plus the
excess of one message), and nothing is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque

from stepwell.errors import OverloadedError, UnavailableError


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


class Room:
    """A count of bytes with a limit, first come, first served.

    Args:
        limit_bytes: the most bytes held at a time. A message larger than that is admitted alone.
        retry_after_s: the pause that `reserve_now` tells the client to make.
    """

    def __init__(self, limit_bytes: int, retry_after_s: float) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self._retry_after_s = retry_after_s
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def _fits(self, size: int) -> bool:
        return not self.held_bytes or self.held_bytes + size <= self.limit_bytes

    async def reserve(self, size: int) -> None:
        """Waits until `size` bytes fit, then holds them."""
        if not self._waiting and self._fits(size):
            self.held_bytes += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            # Either the turn came at the moment of the cancellation, or later requests may fit where this one did not.
            self.give_back(0 if turn.cancelled() else size)
            raise

    def add(self, size: int) -> None:
        """Holds `size` more bytes for admitted work, even beyond the limit; later requests wait for it."""
        self.held_bytes += size

    def reserve_now(self, size: int) -> None:
        """Holds `size` bytes without waiting.

        Raises:
            OverloadedError: they do not fit at present.
        """
        if self._waiting or not self._fits(size):
            raise OverloadedError(
                "the server has no room for this request",
                retry_after_s=self._retry_after_s,
                detail=f"{size} bytes; {self.held_bytes} of {self.limit_bytes} are held",
                hint="retry after a pause; the spool keeps the frames",
            )
        self.held_bytes += size

    def give_back(self, size: int) -> None:
        """Frees `size` held bytes, and admits waiting requests that now fit."""
        self.held_bytes -= size
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled() and not self._fits(size):
                return
            self._waiting.popleft()
            if not turn.cancelled():
                self.held_bytes += size
                turn.set_result(None)
