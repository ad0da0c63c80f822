"""What is locked by a transaction of somebody else: it is left out, and tried again, so that others do not wait for it.

Beside copiers, names and catalog. A row of the ledger or of a run may be locked for long: by a worker that stands still
in the middle of a batch, or by a person in psql. Waiting for it would hold a connection, and all that share the
statement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stepwell.errors import UnavailableError

Answer = TypeVar("Answer")

_HINT = "look for long transactions in pg_stat_activity and pg_blocking_pids(); this passes when they end"


class LockedError(UnavailableError):
    """A row that this needs is locked by somebody else."""

    code = "locked"


def locked_error(what: str, waited_s: float) -> LockedError:
    """The error for `what` ("the run a/b/c"), which was tried for `waited_s`."""
    return LockedError(
        f"{what} is locked by another transaction in Postgres", detail=f"for {waited_s:.1f} s", hint=_HINT
    )


def pause_s(tries: int) -> float:
    """How long to wait before the next try, after `tries` of them."""
    return min(0.5, 0.01 * 2.0 ** min(tries, 6))


async def until_unlocked(
    work: Callable[[], Awaitable[Answer]], is_locked: Callable[[Answer], bool], most_s: float
) -> Answer:
    """What `work` answers, asked again until it does not say that something is locked, or `most_s` is over."""
    began, tries = time.monotonic(), 0
    while True:
        answer = await work()
        if not is_locked(answer) or time.monotonic() - began > most_s:
            return answer
        await asyncio.sleep(pause_s(tries))
        tries += 1
