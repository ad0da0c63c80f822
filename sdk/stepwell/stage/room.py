"""The room of a stage: waits until the I/O thread has made room in a full stage, and counts what is dropped if there is
no room in time.

The stage waits here without holding its lock, at the end of a `log()` call or before it adds a note: meanwhile, other
threads may log, and the I/O thread cuts the stage. The stage decides from its own counters whether it is full; while it
is not, this module is not called.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from stepwell.errors import SpoolFullError

log = logging.getLogger("stepwell")


class Room:
    """Waits for room in one stage.

    Args:
        make_room: called without the stage's lock when the stage is full; returns whether there is room again, or
            raises SpoolFullError.

    Attributes:
        dropped: the number of calls and notes for which there was no room.
        dropped_notes: the number of notes among them.
    """

    def __init__(self, make_room: Callable[[], bool]) -> None:
        self._make_room = make_room
        self.dropped = 0
        self.dropped_notes = 0

    def wait_with_row(self, remove: Callable[[], None]) -> None:
        """Waits after a row has filled the stage; if there is no room in time, removes the row.

        Args:
            remove: removes the row, unless it has been cut.

        Raises:
            SpoolFullError: there is no room, and `spool_full` is "raise"; the row is removed.
        """
        try:
            room = self._wait()
        except SpoolFullError:
            remove()
            raise
        if not room:
            remove()

    def wait_for_note(self) -> bool:
        """Waits before a note is added to a full stage; returns whether there is room for it.

        Raises:
            SpoolFullError: there is no room, and `spool_full` is "raise".
        """
        room = self._wait()
        if not room:
            self.dropped_notes += 1
        return room

    def _wait(self) -> bool:
        room = self._make_room()
        if not room:
            self.dropped += 1
            if self.dropped in (1, 10, 100, 1000) or self.dropped % 10_000 == 0:
                log.warning(
                    "%d log() calls or notes were dropped: earlier values could not be written to disk in time",
                    self.dropped,
                )
        return room
