"""Tracks work that must not fail for long (batches, and attaches of writers), and reports persistent failures.

The copiers and the catalog report every batch and attach. A lasting cause (a renamed table, a full disk, a trigger that
raises) makes all of them fail, while Postgres answers and the process looks alive. So after some time without a
success, the worker is no longer ready. It logs the cause at that time and every minute after it, and finally the
recovery.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stepwell.errors import Error, UnavailableError
from stepwell_ingest.write.locked import LockedError

log = logging.getLogger(__name__)

_TELL_EVERY_S = 60.0
#: A failure older than this says nothing about the present: senders may be gone, or may have moved to other workers.
_FORGET_S = 120.0


class Failures:
    """The failures of one kind of work of a worker.

    Args:
        what: the event that messages say did not happen, such as "batch was stored".
        most_s: how long the work may fail before the worker is not ready.
        clock: returns monotonic seconds.
    """

    def __init__(self, what: str, most_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._most_s = most_s
        self._clock = clock
        self._count = 0
        self._since = self._last = 0.0
        self._told: float | None = None
        self._cause: Error | None = None

    def over(self) -> None:
        """Records a success."""
        if self._told is not None and self._cause is not None:
            log.warning(
                "recovered: a %s after %.0f s and %d failures; the last one: %s",
                *(self._what, self._clock() - self._since, self._count, _in_words(self._cause)),
            )
        self._count, self._told, self._cause = 0, None, None

    def add(self, error: Error) -> None:
        """Records a failure."""
        now = self._clock()
        if not self._count or now - self._last > _FORGET_S:
            self._count, self._since, self._told = 0, now, None
        self._count, self._last, self._cause = self._count + 1, now, error
        if now - self._since < self._most_s or (self._told is not None and now - self._told < _TELL_EVERY_S):
            return
        self._told = now
        log.error(
            "no %s for %.0f s, in which %d tries have failed; senders keep their frames: %s",
            *(self._what, now - self._since, self._count, _in_words(error)),
        )

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Records the result of the work in the block. Of errors, only an `UnavailableError` counts, and not if it is a
        `LockedError`, which concerns only one run."""
        try:
            yield
        except UnavailableError as error:
            if not isinstance(error, LockedError):
                self.add(error)
            raise
        self.over()

    def check(self) -> None:
        """Checks that the work has not been failing for `most_s`.

        Raises:
            UnavailableError: it has been failing; the message contains the cause.
        """
        now = self._clock()
        if self._cause is None or now - self._since < self._most_s or now - self._last > _FORGET_S:
            return
        raise UnavailableError(
            f"no {self._what} for {now - self._since:.0f} s: {self._cause.message}",
            detail=f"tries that failed: {self._count}; the last: {self._cause.detail or self._cause.code}",
            hint=self._cause.hint,
        )


def _in_words(error: Error) -> str:
    return " ".join(f"{error.message} ({error.detail})".split()) if error.detail else error.message
