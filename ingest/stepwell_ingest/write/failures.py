"""Whether work that must not fail for long has been failing, and what to say of it: batches, and attaches of writers.

Beside the copiers and the catalog, which tell it of every batch and attach. A cause that lasts (a table that somebody
renamed, a full disk, a trigger that raises) fails each of them, while Postgres answers and the process looks alive. So
the worker is not ready after some time without a success, and its log says why: at that time, then once a minute, and
when it is over.
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
#: A failure that is older says nothing about now: senders may be gone, or sent to other workers because of it.
_FORGET_S = 120.0


class Failures:
    """Of one kind of work of a worker.

    Args:
        what: what has not happened while the work fails, for messages: "batch was stored".
        most_s: how long the work may fail before the worker is not ready.
        clock: seconds that pass.
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
        """The work has succeeded."""
        if self._told is not None and self._cause is not None:
            log.warning(
                "a %s again, after %.0f s and %d failures: %s",
                *(self._what, self._clock() - self._since, self._count, _in_words(self._cause)),
            )
        self._count, self._told, self._cause = 0, None, None

    def add(self, error: Error) -> None:
        """The work has failed because of `error`."""
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
        """Is told what becomes of the work inside; errors other than `UnavailableError` say nothing about it."""
        try:
            yield
        except UnavailableError as error:
            if not isinstance(error, LockedError):  # the matter of one run
                self.add(error)
            raise
        self.over()

    def check(self) -> None:
        """Returns unless the work has been failing for `most_s`.

        Raises:
            UnavailableError: it has; with the cause.
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
