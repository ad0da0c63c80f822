"""The result of `run.flush()`: asyncio code awaits it; in synchronous code, `flush` has waited already.

Stands between the caller and the I/O thread: turns a future of that thread into True or False.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Generator
from typing import Any


class Flush(Awaitable[bool]):
    """The outcome of `run.flush()`: await it in asyncio code; elsewhere `flush` has waited already.

    True: everything logged before is safe (see `Run.flush`). False: the time was up.
    """

    def __init__(self, done: concurrent.futures.Future[None] | None, timeout_s: float | None) -> None:
        self._done = done
        # Python refuses longer waits, infinite ones too.
        self._timeout_s = None if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX)

    def wait(self) -> bool:
        """Blocks until the flush is done, or the time is up."""
        if self._done is None:
            return True
        try:
            self._done.result(self._timeout_s)
        except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError):
            return False
        return True

    def __await__(self) -> Generator[Any, None, bool]:
        return self._wait().__await__()

    async def _wait(self) -> bool:
        if self._done is None:
            return True
        if self._done.cancelled():  # the time was up when it was awaited before
            return False
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._done), self._timeout_s)
        except TimeoutError:
            return False
        return True

    def __bool__(self) -> bool:
        done = self._done
        return done is None or (done.done() and not done.cancelled() and done.exception() is None)
