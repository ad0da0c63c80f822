"""Retries for rows that another transaction has locked, and the error for rows that stay locked.

Used by copiers, names and catalog. A row of the ledger or of a run may be locked for a long time, by a worker that has
stalled in the middle of a batch, or by a user of psql. Waiting for it would hold up a connection, and all requests that
share the statement. So statements leave out locked rows, and their callers try again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stepwell.errors import UnavailableError

Answer = TypeVar("Answer")

_HINT = "find that transaction with pg_blocking_pids() and pg_stat_activity; its locks are released when it ends"


class LockedError(UnavailableError):
    """A required row is locked by another transaction."""

    code = "locked"


def locked_error(what: str, waited_s: float) -> LockedError:
    """Returns the error for `what`, such as "run a/b/c", which was tried for `waited_s`."""
    return LockedError(
        f"{what} is locked by another transaction in Postgres", detail=f"for {waited_s:.1f} s", hint=_HINT
    )


def pause_s(tries: int) -> float:
    """Returns the pause in seconds before the next try, after `tries` tries."""
    return min(0.5, 0.01 * 2.0 ** min(tries, 6))


async def until_unlocked(
    work: Callable[[], Awaitable[Answer]], is_locked: Callable[[Answer], bool], most_s: float
) -> Answer:
    """Repeats `work` until `is_locked` is false for its answer, or `most_s` have passed; returns the answer."""
    began, tries = time.monotonic(), 0
    while True:
        answer = await work()
        if not is_locked(answer) or time.monotonic() - began > most_s:
            return answer
        await asyncio.sleep(pause_s(tries))
        tries += 1
