"""Runs blocking calls in threads beside the I/O loop, as far as the host can start threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


async def beside(work: Callable[[], None]) -> None:
    """Runs `work` in a thread while the loop continues, or in the loop itself if no thread can be started.

    No thread can be started while the host is at a limit, which may be temporary, or while the interpreter is ending.
    An executor would keep work that it could not start, and run it a second time later.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the future raises it
            outcome: BaseException | None = error
        else:
            outcome = None
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(resolve, done, outcome)

    try:
        threading.Thread(target=run, name="stepwell-fsync", daemon=True).start()
    except RuntimeError:
        work()
    else:
        await done


def resolve(future: asyncio.Future[None], error: BaseException | None = None) -> None:
    """Sets the outcome of a future unless it has one already."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
