"""Collects rows every `linger_s`, from the stage through frames into the outbox, and tracks the durable step.

Belongs to the `Sender` and its thread. Promises: each cut of the stage is in the outbox when `collect` returns.
"""

from __future__ import annotations

import time
from collections import deque

from stepwell import wire
from stepwell.delivery.outbox import Outbox
from stepwell.stage.framer import frames
from stepwell.stage.stage import Stage

QUARANTINE_FILE = "quarantine.jsonl"
#: Above this number, the marks by which `durable_step` moves become coarser: a server may be unreachable for days.
_MAX_MARKS = 4096


class Collector:
    """Moves the contents of a stage into an outbox.

    Args:
        session: the id of the session, 16 bytes.
        outbox: receives the frames.
        frame_bytes: see `framer.frames`.

    Attributes:
        logged: the number of points and objects collected so far.
        notes: the number of notes collected so far.
    """

    def __init__(self, session: bytes, outbox: Outbox, frame_bytes: int) -> None:
        self._session = session
        self._outbox = outbox
        self._frame_bytes = frame_bytes
        self.logged = 0
        self.notes = 0
        self._marks: deque[tuple[int, int]] = deque()  # (the seq after a cut, the last step of the cut)
        self._durable_step: int | None = None
        self._cut_at = 0.0

    @property
    def waited_s(self) -> float:
        """The seconds since the last call of `collect`."""
        return time.monotonic() - self._cut_at

    @property
    def durable_step(self) -> int | None:
        """The step up to which everything is committed in Postgres; None: nothing yet."""
        while not self._outbox.given_up and self._marks and self._marks[0][0] <= self._outbox.first_seq:
            try:
                self._durable_step = self._marks.popleft()[1]
            except IndexError:  # another thread read it at the same time
                break
        return self._durable_step

    def collect(self, stage: Stage, last: bool = False) -> bool:
        """Cuts the stage into the outbox, if the outbox has room; returns whether frames were added.

        Args:
            stage: the stage to cut.
            last: whether to cut even without room, so that no row is left.
        """
        cut = stage.cut() if self._outbox.has_room or last else None
        self._cut_at = time.monotonic()
        if cut is None:
            return False
        for frame in frames(cut, self._session, self._outbox.next_seq, self._frame_bytes):
            header = wire.peek(frame)
            self.logged += header.values
            self.notes += header.notes
            self._outbox.append(frame)
        if cut.blocks:
            if len(self._marks) > _MAX_MARKS:
                self._marks = deque(list(self._marks)[1::2])
            self._marks.append((self._outbox.next_seq, max(block.steps[-1] for block in cut.blocks)))
        return True

    def save_quarantined(self, stage: Stage) -> None:
        """Appends late calls, one JSON line each, to the quarantine file.

        Raises:
            OSError: the file cannot be written; the calls are lost.
        """
        lines = stage.take_quarantined()
        if lines and self._outbox.spool is not None:
            with open(self._outbox.spool.directory / QUARANTINE_FILE, "ab") as file:
                file.writelines(line + b"\n" for line in lines)
