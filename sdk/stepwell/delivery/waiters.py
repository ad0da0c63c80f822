"""Tasks that wait for a stream: for the acknowledgement of a frame, or for the first answer to the attach message.

Belongs to one `Stream` and to its event loop. A waiter that was cancelled is skipped. No I/O.
"""

from __future__ import annotations

import asyncio
from typing import Any

from stepwell.errors import Error


class Waiters:
    """The futures of all waiting tasks."""

    def __init__(self) -> None:
        self._for_seq: list[tuple[int, asyncio.Future[None]]] = []
        self._for_attach: list[asyncio.Future[dict[str, Any]]] = []

    def acknowledged(self, next_seq: int) -> asyncio.Future[None]:
        """Returns a future that is done when all frames below `next_seq` are acknowledged."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._for_seq.append((next_seq, future))
        return future

    def attached(self) -> asyncio.Future[dict[str, Any]]:
        """Returns a future for the server's answer to the attach message."""
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._for_attach.append(future)
        return future

    def tell_acknowledged(self, next_seq: int) -> None:
        """Resolves the futures of frames below `next_seq`, which are now acknowledged."""
        reached = [future for goal, future in self._for_seq if goal <= next_seq]
        self._for_seq = [(goal, future) for goal, future in self._for_seq if goal > next_seq]
        for future in reached:
            if not future.done():
                future.set_result(None)

    def tell_attached(self, reply: dict[str, Any]) -> None:
        """Resolves the futures that wait for the server's answer to the attach message."""
        for future in self._for_attach:
            if not future.done():
                future.set_result(reply)
        self._for_attach = []

    def tell_failed(self, error: Error) -> None:
        """Fails all waiting futures with the final error."""
        for _, future in self._for_seq:
            if not future.done():
                future.set_exception(error)
        for attached in self._for_attach:
            if not attached.done():
                attached.set_exception(error)
        self._for_seq, self._for_attach = [], []
