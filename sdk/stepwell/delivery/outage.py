"""Tells the user once when the server is unavailable or stores nothing, and once when it has recovered.

Sits beside the stream: `look` is called every second with the state of the stream and sometimes returns a line to
print. Pure apart from the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from stepwell.errors import Error
from stepwell.terminal.display import duration, number
from stepwell.transport.reasons import LostError, RefusedError, in_plain_words


class Seen(NamedTuple):
    """The state of a stream at one moment.

    Attributes:
        connected: whether it is attached to the server.
        attached: the number of attaches so far.
        first_seq: the seq of the oldest unacknowledged frame.
        waiting: the number of unacknowledged frames.
        error: why the last connection ended, or could not be made.
    """

    connected: bool
    attached: int
    first_seq: int
    waiting: int
    error: Exception | None


class Outage:
    """Watches one stream for outages.

    Args:
        url: the URL of the server, for messages.
        queue: the place where frames wait, for messages.
        away_s: how long the server may be unreachable before a line says so. A refused key or client is reported at
            once.
        stalled_s: how long the server may be reachable without storing any waiting frame before a line says so.
        clock: returns a monotonic time in seconds.
        tells_away: whether to report an unreachable server; one that stores nothing is always reported.
    """

    def __init__(
        self,
        url: str,
        queue: str,
        away_s: float,
        stalled_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        tells_away: bool = True,
    ) -> None:
        self._url = url
        self._queue = queue
        self._away_s = away_s
        self._stalled_s = stalled_s
        self._clock = clock
        self._tells_away = tells_away
        self._heard_at = self._moved_at = clock()
        self._attached = 0
        self._first_seq = -1
        self._told: Literal["away", "stalled"] | None = None
        self._since = 0.0
        self._overcome: Exception | None = None  # the error before frames were last stored: explains nothing now

    def look(self, seen: Seen) -> str | None:
        """Returns a line to print, if there is news."""
        now = self._clock()
        moved = seen.first_seq > self._first_seq >= 0 or (seen.connected and not seen.waiting)
        if moved or self._first_seq < 0:
            self._moved_at = now
            self._overcome = seen.error if moved else None
        self._first_seq = seen.first_seq
        if seen.connected or seen.attached > self._attached:
            self._heard_at = now
        self._attached = seen.attached
        if self._told is not None:
            return self._over(seen, now) if moved else None
        refused = isinstance(seen.error, RefusedError) and not seen.connected  # waiting does not help
        if refused or now - self._heard_at >= self._away_s:
            if not self._tells_away:
                self._moved_at = now  # nothing can be stored meanwhile
                return None
            return self._tell("away", seen, self._heard_at)
        if seen.waiting and now - self._moved_at >= self._stalled_s:
            return self._tell("stalled", seen, self._moved_at)
        return None

    def _tell(self, what: Literal["away", "stalled"], seen: Seen, since: float) -> str:
        self._told, self._since = what, since
        error = None if seen.error is self._overcome else seen.error
        why = in_plain_words(error)
        kept = f"What is logged is queued in {self._queue} until the server"
        if what == "away":
            answers = isinstance(error, Error) and not isinstance(error, LostError)
            happens = "accepts nothing" if answers else "cannot be reached"
            return f"the server at {self._url} {happens}: {why}. {kept} is back"
        lag = duration(self._clock() - since)
        cause = f": {why}" if error is not None else ""
        return f"the server at {self._url} has stored nothing for {lag}{cause}. {kept} stores it"

    def _over(self, seen: Seen, now: float) -> str:
        was, self._told = self._told, None
        text = "is back" if was == "away" else "is storing again"
        rest = f"; {number(seen.waiting, 'frame')} in the queue" if seen.waiting else "; nothing is left in the queue"
        return f"the server at {self._url} {text} after {duration(now - self._since)}{rest}"
