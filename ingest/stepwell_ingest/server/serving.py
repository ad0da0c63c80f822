"""The life of a server process, from its start to its drain and stop, and the requests to stop it.

Stands between a command and `Worker` or `Supervisor`. After the first request to stop, accepted frames are still
committed and answered. The second request ends everything at once; nothing is lost, because senders keep frames that
were not acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:  # the parent of several workers does not import what only a worker needs
    from stepwell_ingest.server.worker import Worker

T = TypeVar("T")

#: How long a worker drains after one of its loops has ended unexpectedly. Frames that are committed by then are
#: answered; senders repeat the rest.
_FAILED_DRAIN_S = 3.0


class Stop:
    """Requests to stop the server. Belongs to the event loop that runs when it is created.

    Attributes:
        drain: set by the first request.
        now: set by the second request.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()

    def ask(self) -> None:
        """Requests a stop; a second call requests an immediate one."""
        (self.now if self.drain.is_set() else self.drain).set()

    def on_signals(self) -> None:
        """Makes SIGTERM, SIGINT and SIGHUP request a stop; a SIGHUP that `nohup` ignores stays ignored."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self.ask)

    def on_end_of_stdin(self) -> None:
        """Makes the end of stdin request a stop: it means that the parent has ended, or has closed its end of the
        pipe."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            if not os.read(0, 4096):
                loop.remove_reader(0)
                self.ask()

        loop.add_reader(0, readable)

    async def unless_asked(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None when a stop is requested first, which cancels `work`."""
        task, wish = asyncio.create_task(work), asyncio.create_task(self.drain.wait())
        try:
            await asyncio.wait({task, wish}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        finally:
            wish.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return None

    async def patiently(self, work: asyncio.Task[None]) -> None:
        """Waits for the end of `work`, or until `now` is set; then cancels it."""
        hurry = asyncio.create_task(self.now.wait())
        try:
            await asyncio.wait({work, hurry}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurry.cancel()
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work


async def serve(worker: Worker, stop: Stop, on_ready: Callable[[str], None], on_stop: Callable[[], None]) -> None:
    """Runs one worker until a stop is requested, or one of its background loops ends unexpectedly.

    Args:
        worker: a worker that has not been started.
        stop: the requests to stop.
        on_ready: called with the URL once the worker listens.
        on_stop: called before the drain that a request to stop begins.

    Raises:
        Error: the worker could not start (see `Worker.start`).
        UnavailableError: a background loop has ended unexpectedly (see `Loops`), so the worker has ended.
    """
    try:
        if await stop.unless_asked(_started(worker)) is None:
            return
        on_ready(worker.url)
        failure = await worker.loops.watch(stop.drain)
        if failure is None:
            on_stop()
        patience_s = None if failure is None else _FAILED_DRAIN_S
        await stop.patiently(asyncio.create_task(worker.drain(patience_s)))
        if failure is not None:
            raise failure
    finally:
        await worker.stop()


async def _started(worker: Worker) -> bool:
    await worker.start()
    return True
