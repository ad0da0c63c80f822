"""Rows that another transaction has locked: they are left out and tried again, so that other writers do not wait for
them.

Used by copiers, names and catalog. A row of the ledger or of a run may be locked for a long time, by a worker that has
stalled in the middle of a batch, or by a user of psql. Waiting for it would hold up a connection, and all requests that
share the statement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stepwell.errors import UnavailableError

Answer = TypeVar("Answer")

_HINT = "look for long transactions in pg_stat_activity and pg_blocking_pids(); this ends when they end"


class LockedError(UnavailableError):
    """A required row is locked by another transaction."""

    code = "locked"


def locked_error(what: str, waited_s: float) -> LockedError:
    """The error for `what` ("the run a/b/c"), after trying for `waited_s`."""
    return LockedError(
        f"{what} is locked by another transaction in Postgres", detail=f"for {waited_s:.1f} s", hint=_HINT
    )


def pause_s(tries: int) -> float:
    """The pause in seconds before the next try, after `tries` tries."""
    return min(0.5, 0.01 * 2.0 ** min(tries, 6))


async def until_unlocked(
    work: Callable[[], Awaitable[Answer]], is_locked: Callable[[Answer], bool], most_s: float
) -> Answer:
    """Repeats `work` until its answer is not locked, or `most_s` is over; returns the last answer."""
    began, tries = time.monotonic(), 0
    while True:
        answer = await work()
        if not is_locked(answer) or time.monotonic() - began > most_s:
            return answer
        await asyncio.sleep(pause_s(tries))
        tries += 1
