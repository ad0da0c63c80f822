"""Runs the background loops of a process, and makes sure that none of them ends unnoticed.

Used by the worker and the sealer process. Receives coroutines that run for as long as the process does; reports when
one of them ends unexpectedly, by an exception or a return. From then on the process is not ready (`check`), and its
owner ends it (`watch`), so that another process is started: a worker without its heartbeats, for example, would look
alive while other workers mark its writers as crashed. Each loop handles temporary failures, such as an
unreachable Postgres, by itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from stepwell.errors import UnavailableError

log = logging.getLogger(__name__)


class Loops:
    """The background loops of one process. The object belongs to the event loop on which they run.

    Attributes:
        failure: the error of the first loop that ended unexpectedly; None while all loops run.
    """

    def __init__(self) -> None:
        self.failure: UnavailableError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = asyncio.Event()
        self._stopping = False

    def start(self, name: str, work: Coroutine[Any, Any, None], *, may_return: bool = False) -> asyncio.Task[None]:
        """Runs `work` until `stop`.

        Args:
            name: the name of the loop in messages.
            may_return: whether the loop may end when there is nothing to do, to be started again later.
        """
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, may_return))
        return task

    @property
    def names(self) -> set[str]:
        """The names of the running loops."""
        return {task.get_name() for task in self._tasks}

    def check(self) -> None:
        """Checks that all loops run.

        Raises:
            UnavailableError: a loop has ended; the message names it.
        """
        if self.failure is not None:
            raise self.failure

    async def watch(self, asked: asyncio.Event) -> UnavailableError | None:
        """Waits until `asked` is set (None), or until a loop ends unexpectedly (its error)."""
        waits = [asyncio.create_task(event.wait()) for event in (asked, self._failed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        return self.failure

    async def stop(self) -> None:
        """Cancels all loops, and waits until they have ended."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None], may_return: bool) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._stopping and error is None:
            return
        if may_return and error is None and not task.cancelled():
            return
        name = task.get_name()
        why = "it was cancelled" if task.cancelled() else "it returned"
        detail = why if error is None else f"{type(error).__name__}: {str(error)[:500]}"
        log.error("the task %r has ended unexpectedly (%s), so this process ends", name, detail, exc_info=error)
        if self.failure is None:
            self.failure = UnavailableError(
                f"the task {name!r} of this worker has ended unexpectedly",
                detail=detail,
                hint="this worker ends, and another one is started; the log of this worker has the traceback",
            )
        self._failed.set()
