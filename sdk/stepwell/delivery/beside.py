"""Runs blocking calls in threads beside the I/O loop, as far as the host has threads to give."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable


async def beside(work: Callable[[], None]) -> None:
    """Runs `work` in a thread while the loop goes on; in the loop itself where no thread can be started.

    That happens at a limit of the host, which may pass, and when the interpreter is ending. An executor would keep
    what it could not start, and do it later again.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the future carries it
            outcome: BaseException | None = error
        else:
            outcome = None
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(resolve, done, outcome)

    try:
        threading.Thread(target=run, name="stepwell-fsync", daemon=True).start()
    except RuntimeError:
        work()
    else:
        await done


def resolve(future: asyncio.Future[None], error: BaseException | None = None) -> None:
    """Sets the outcome of a future that may have one already."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(None)
