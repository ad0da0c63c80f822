"""Unacknowledged frames: in the spool, or in memory while the disk fails.

Sits between the framer and the stream. Takes frames in order of seq; the stream reads them from here and reports
acknowledgements. `Settings.spool_full` decides what happens when the spool is full:

    keep         keep training: frames wait in memory and are still sent from there; when `Limits.memory_bytes` is
                 reached too, new frames shrink to tombstones
    drop_oldest  the oldest segment of the spool is dropped; the stream sends tombstones for its frames
    block        as keep, but nothing is lost: when memory is full as well, `log()` waits
    raise        as block, but `log()` raises SpoolFullError instead of waiting

Each loss is counted here, logged loudly, and stored by the server as a rejection, so that it can be seen in SQL.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from stepwell import wire
from stepwell.errors import SpoolError, SpoolFullError
from stepwell.settings import WhenFull
from stepwell.spool import Spool
from stepwell.spool import state as spool_state

log = logging.getLogger("stepwell")


@dataclass(slots=True)
class OutboxCounts:
    """Counts of points and objects, by their fate in the outbox."""

    spooled: int = 0
    unspooled: int = 0  # in frames that could not be written to the disk when they were cut
    dropped: int = 0
    notes_dropped: int = 0


class Outbox:
    """The frames of one session that the server has not acknowledged.

    Args:
        spool: the spool on disk; None if it could not be created: then everything waits in memory.
        session: the id of the session, 16 bytes.
        memory_bytes: the most bytes that may wait in memory.
        when_full: the behaviour when the spool is full; see above.

    Attributes:
        given_up: whether all frames, present and future, are dropped.
        losing: whether the last frame was lost and a tombstone took its place. Tombstones wait in memory beyond
            `memory_bytes`, so the caller should make fewer, larger frames.
    """

    def __init__(self, spool: Spool | None, session: bytes, memory_bytes: int, when_full: WhenFull = "keep") -> None:
        self.spool = spool
        self.counts = OutboxCounts()
        self._session = session
        self._memory_limit = memory_bytes
        self._when_full = when_full
        self._memory: deque[bytes] = deque()  # unacknowledged frames with seqs next_seq − len … next_seq − 1
        self._memory_bytes = 0
        self.next_seq = spool.next_seq if spool else 0
        self.first_seq = spool.first_seq if spool else 0
        self._complained = False
        self._disk_fails = False  # until `retry_spool` tries again
        self.given_up = False
        self.losing = False

    @property
    def _memory_first(self) -> int:
        return self.next_seq - len(self._memory)

    @property
    def has_room(self) -> bool:
        """Whether new frames may be appended; False when memory is full and the policy forbids losing them."""
        return self._when_full in ("keep", "drop_oldest") or self._memory_bytes < self._memory_limit

    def append(self, frame: bytes) -> None:
        """Keeps a frame whose seq is `next_seq`. Never raises because of a lack of room."""
        if self.given_up:
            self.next_seq = self.first_seq = self.next_seq + 1
            return
        header = wire.peek(frame)
        values = header.values
        self.losing = False
        if not self._memory and not self._disk_fails and self._spooled(frame, header.seq):
            self.counts.spooled += values
        else:
            if self._when_full in ("keep", "drop_oldest") and self._memory_bytes + len(frame) > self._memory_limit:
                self.losing = True
                self.counts.dropped += values
                self.counts.notes_dropped += header.notes
                log.error(
                    "%d %s were lost: the spool is not writable, and %d bytes already wait in memory",
                    *(header.notes or values, "notes" if header.notes else "values", self._memory_bytes),
                )
                frame = wire.encode_tombstone(self._session, header.seq, min(values, 2**32 - 1))
            else:
                self.counts.unspooled += values
            self._memory.append(frame)
            self._memory_bytes += len(frame)
        self.next_seq += 1

    def retry_spool(self) -> None:
        """Moves frames from memory to the disk, as far as the disk has room. Must be called from time to time."""
        if self.given_up:
            return
        self._disk_fails = False
        while self._memory:
            if not self._spooled(self._memory[0], self._memory_first):
                return
            self._memory_bytes -= len(self._memory.popleft())
        if self.spool is not None:
            self.spool.acknowledge(min(self.first_seq, self.spool.next_seq))

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        """The frames from `from_seq` on, in order: as many as fit both limits, but at least one if there is one.

        Raises:
            SpoolError: the disk cannot be read now.
        """
        if self.spool is not None and from_seq < self._memory_first:
            return self.spool.read(from_seq, max_bytes, max_frames)
        frames: list[bytes] = []
        for index in range(from_seq - self._memory_first, min(len(self._memory), len(self._memory) + max_frames)):
            frame = self._memory[index]
            max_bytes -= len(frame)
            if frames and (max_bytes < 0 or len(frames) >= max_frames):
                break
            frames.append(frame)
        return frames

    def acknowledge(self, next_seq: int) -> None:
        """Removes the frames below `next_seq`, which are safe on the server."""
        next_seq = min(next_seq, self.next_seq)
        self.first_seq = max(self.first_seq, next_seq)
        while self._memory and self._memory_first < next_seq:
            self._memory_bytes -= len(self._memory.popleft())
        if self.spool is not None:
            self.spool.acknowledge(min(next_seq, self.spool.next_seq))

    def give_up(self) -> None:
        """Drops all frames, present and future: the server will never accept anything more from this session.

        Afterwards `first_seq` says nothing about the frames on the server. `close` removes the directory.
        """
        self.given_up = True
        self._memory.clear()
        self._memory_bytes = 0
        self.first_seq = self.next_seq
        if self.spool is not None:
            try:
                self.spool.acknowledge(self.spool.next_seq)
            except SpoolError as error:
                log.error("the frames in the spool could not be removed. %s", error)

    def close(self, finished: bool = True) -> None:
        """Closes the spool; removes its directory if everything is acknowledged and `finished` is true.

        Args:
            finished: whether the server knows that the writer has ended. Otherwise the directory stays, so that
                `stepwell sync` can report the end.

        Raises:
            SpoolError: the remaining frames could not be synced to the disk.
        """
        finished = finished or self.given_up
        if self.spool is not None:
            self.retry_spool()
            if self._memory:
                log.error("%d frames could neither be written to disk nor sent, and are lost", len(self._memory))
            if finished and self.first_seq >= self.next_seq:
                spool_state.remove(self.spool.directory)
            self.spool.close(remove_if_empty=finished)

    def _spooled(self, frame: bytes, seq: int) -> bool:
        if self.spool is None:
            return False
        try:
            if self.spool.next_seq < seq:  # the frames in between were acknowledged while the disk failed
                self.spool.skip_to(seq)
            while True:
                try:
                    self.spool.append(frame)
                    break
                except SpoolFullError:
                    if self._when_full != "drop_oldest" or not self._drop_oldest(self.spool):
                        raise
        except SpoolError as error:
            if not self._complained:
                level = "full" if isinstance(error, SpoolFullError) else "failing"
                log.error("the spool is %s; frames wait in memory until it is writable. %s", level, error)
                self._complained = True
            self._disk_fails = True
            return False
        if self._complained:
            log.warning("the spool is writable again")
            self._complained = False
        return True

    def _drop_oldest(self, spool: Spool) -> bool:
        first = spool.first_seq
        dropped = spool.drop_oldest()
        if dropped is None:
            return False
        self.first_seq = max(self.first_seq, spool.first_seq)
        self.counts.dropped += dropped
        log.error(
            "the spool is full: its oldest frames, seq %d to %d, were dropped with %d values",
            *(first, spool.first_seq - 1, dropped),
        )
        return True
