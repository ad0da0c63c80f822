"""Handles frames that the server has refused for good: logs them, and passes them to the program's callback.

Called by the stream, in the I/O thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stepwell.errors import RejectionError, RunFullError

log = logging.getLogger("stepwell")

OnRejection = Callable[[int, RejectionError], None]


class Rejections:
    """The rejections of one run.

    Args:
        on_rejection: the program's own callback.
    """

    def __init__(self, on_rejection: OnRejection | None) -> None:
        self._on_rejection = on_rejection
        self._full = False

    def __call__(self, seq: int, error: RejectionError) -> None:
        if not isinstance(error, RunFullError):
            log.error(
                "the server rejected a frame (seq %d); it is recorded in the view stepwell.rejections. %s", seq, error
            )
        elif not self._full:  # all frames that follow are rejected for the same reason
            self._full = True
            log.error("values logged from now on are rejected, and counted in the view stepwell.rejections. %s", error)
        if self._on_rejection is not None:
            self._on_rejection(seq, error)
