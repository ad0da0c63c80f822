"""A count of bytes with a limit: a request for more than is left waits, or is told to try again later.

Used by `write.admission` for frames that come in, and by `read.database` for answers that go out.
"""

from __future__ import annotations

import asyncio
from collections import deque

from stepwell.errors import OverloadedError


class Room:
    """A count of bytes with a limit, first come, first served.

    Args:
        limit_bytes: the most bytes that may be held. More than that is admitted only when nothing else is held.
        retry_after_s: the pause that the error of `reserve_now` asks the client to make.
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
            # If the turn has come already, its bytes are given back. If not, smaller requests behind it may fit now.
            self.give_back(0 if turn.cancelled() else size)
            raise

    def add(self, size: int) -> None:
        """Holds `size` more bytes for an admitted request, even beyond the limit; later requests wait for them."""
        self.held_bytes += size

    def reserve_now(self, size: int) -> None:
        """Holds `size` bytes.

        Raises:
            OverloadedError: the bytes do not fit now.
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
        """Frees `size` held bytes, and admits waiting requests in order, for as long as they fit."""
        self.held_bytes -= size
        while self._waiting:
            size, turn = self._waiting[0]
            if not turn.cancelled() and not self._fits(size):
                return
            self._waiting.popleft()
            if not turn.cancelled():
                self.held_bytes += size
                turn.set_result(None)
