"""The batcher: submissions wait here until a copier takes them, and those that have gathered become one batch.

A transaction costs about as much as thirty small frames, so batches must grow with the load. They grow while copiers
are busy, and while small frames gather: a batch below `gather_frames` and `gather_bytes` starts only some time after
the last one. That time follows from how long batches take (`_GATHER_SHARE`), so an idle server stores a lone frame at
once, and many quiet writers share a transaction. Frames of a writer keep their order, because a writer is in one batch
at a time. Every submission is answered once, with an `Outcome` or an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepwell.errors import Error, UnavailableError
from stepwell.wire import Frame, Header
from stepwell_ingest.write.ledger import LedgerCursor

#: The memory of a frame, block or object besides its bytes. Measured: 730 bytes for a 64-byte frame, 1.3 KiB a block.
_PIECE_BYTES = 1024
#: A small batch starts no earlier than this many average batch durations after the last one started (or `gather_s`, if
#: that is shorter). So small batches take up at most about a quarter of the time, unless one takes longer than a
#: quarter of `gather_s`.
_GATHER_SHARE = 4.0
#: The weight of the newest batch in the average duration.
_SMOOTHING = 0.2


@dataclass(slots=True)
class Entry:
    """A frame that takes up the next seq of its writer, to be stored or to be recorded as rejected (`rejection`).

    `last_step` is the writer's last step once the frame is stored. `refused_notes` is set if the frame is stored
    without some of its notes.
    """

    header: Header
    frame: Frame
    last_step: int
    rejection: Error | None = None
    refused_notes: Error | None = None

    @property
    def refusal(self) -> Error | None:
        """The rejection to record, if any."""
        return self.rejection or self.refused_notes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a submission, after COMMIT.

    Attributes:
        next_seq: the seq after the submission's last frame; all frames below are in Postgres, or recorded as rejected.
        stored, duplicate: the numbers of stored and duplicate frames in this submission.
        rejected: seq and error of each rejected frame, each conflict, and each frame stored without some of its notes.
        checksum: the checksum of the submission's last frame, seq `next_seq` − 1. Clients check it, to tell an
            acknowledgement from anything that a proxy may answer.
    """

    next_seq: int
    stored: int
    duplicate: int
    rejected: list[tuple[int, Error]]
    checksum: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "next_seq": self.next_seq,
            "stored": self.stored,
            "duplicate": self.duplicate,
            "rejected": rejections_as_list(self.rejected),
            "checksum": self.checksum,
        }


def rejections_as_list(rejected: list[tuple[int, Error]]) -> list[dict[str, Any]]:
    """Rejected seqs and their errors, in the form of replies."""
    return [{"seq": seq, **error.as_dict()} for seq, error in rejected]


@dataclass(slots=True, eq=False)
class Submission:
    """The frames of one writer that arrived in one message.

    Attributes:
        cursor: the cursor of the writer.
        entries: frames that take up a seq, in order.
        duplicates: seqs of frames that were stored already.
        conflicts: seqs that were stored already with other bytes.
        last: the header of the last frame.
        size: the size in bytes, for the batch's limit.
        done: the future that is resolved after COMMIT.
        tries, first_try: how often it was put back because its writer was locked, and when it first was (monotonic).
    """

    cursor: LedgerCursor
    entries: list[Entry]
    duplicates: list[int]
    conflicts: list[tuple[int, Error]]
    last: Header
    size: int
    done: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tries: int = 0
    first_try: float = 0.0

    @property
    def overhead(self) -> int:
        """Bytes of memory that the submission needs besides those of its frames; for small frames, this exceeds their
        size."""
        pieces = sum(entry.header.blocks + entry.header.objects for entry in self.entries)
        return _PIECE_BYTES * (1 + len(self.entries) + len(self.duplicates) + len(self.conflicts) + pieces)

    def succeed(self) -> None:
        if self.done.done():
            return  # the caller is gone
        refused = [(entry.header.seq, entry.refusal) for entry in self.entries if entry.refusal is not None]
        stored = sum(entry.rejection is None for entry in self.entries)
        self.done.set_result(
            Outcome(*(self.last.seq + 1, stored, len(self.duplicates), [*refused, *self.conflicts], self.last.checksum))
        )

    def fail(self, error: Error) -> None:
        if not self.done.done():
            self.done.set_exception(error)
            self.done.exception()  # marked as retrieved: a closed connection must not leave a "never retrieved" warning


@dataclass(slots=True, eq=False)
class Batch:
    """The submissions that one transaction stores, by writer and in order."""

    writers: dict[tuple[int, int, int], list[Submission]] = field(default_factory=dict)
    frames: int = 0
    size: int = 0
    began: float = field(default_factory=time.monotonic)

    def submissions(self) -> list[Submission]:
        """All submissions, those of a writer in order."""
        return [item for queue in self.writers.values() for item in queue]

    def parted(self, first: Callable[[Submission], bool]) -> tuple[Batch, Batch]:
        """Splits the batch in two: the writers all of whose submissions pass `first`, and the others."""
        parts = Batch(began=self.began), Batch(began=self.began)
        for key, queue in self.writers.items():
            part = parts[0 if all(map(first, queue)) else 1]
            part.writers[key] = queue
            part.frames += sum(len(item.entries) for item in queue)
            part.size += sum(item.size for item in queue)
        return parts


class Batcher:
    """Queues of submissions by writer, handed out in batches.

    Args:
        batch_bytes, batch_frames: the limits of a batch.
        gather_s: the longest time for which small frames gather.
        gather_bytes, gather_frames: the size at which a batch starts at once.
    """

    def __init__(
        self,
        batch_bytes: int,
        batch_frames: int,
        gather_s: float = 0.05,
        gather_bytes: int = 256 * 1024,
        gather_frames: int = 64,
    ) -> None:
        self._batch_bytes = batch_bytes
        self._batch_frames = batch_frames
        self._gather_s = gather_s
        self._gather_bytes = gather_bytes
        self._gather_frames = gather_frames
        self._queues: dict[tuple[int, int, int], deque[Submission]] = {}
        self._ready: deque[tuple[int, int, int]] = deque()  # writers with a queue that are not in a batch
        self._in_batch: set[tuple[int, int, int]] = set()
        self._queued_frames = 0
        self._queued_bytes = 0
        self._arrived = asyncio.Event()
        self._enough = asyncio.Event()
        self._turn = asyncio.Lock()  # held by the copier that waits for the next batch; other copiers wait for the lock
        self._batch_s = 0.0
        self._next_at = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """The number of submissions that are not in a batch yet."""
        return sum(map(len, self._queues.values()))

    @property
    def batch_s(self) -> float:
        """The duration of a batch, from its cut to its answers: a moving average, in seconds."""
        return self._batch_s

    @property
    def idle(self) -> bool:
        return not self._queues and not self._in_batch

    def check_open(self) -> None:
        """Checks that the batcher accepts submissions.

        Raises:
            UnavailableError: the server is stopping.
        """
        if self._closed:
            raise UnavailableError("the server is stopping", hint="the SDK reconnects automatically")

    def put(self, submission: Submission) -> None:
        """Queues a submission behind those of its writer."""
        key = submission.cursor.key
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = deque()
            if key not in self._in_batch:
                self._ready.append(key)
                self._arrived.set()
        queue.append(submission)
        self._queued_frames += len(submission.entries)
        self._queued_bytes += submission.size
        if self._is_enough():
            self._enough.set()

    async def next_batch(self) -> Batch:
        """Waits for the first submission, lets small ones gather, then takes all there are, up to the limits.

        The caller answers every submission of the batch and calls `release`.
        """
        async with self._turn:
            while True:
                while not self._ready:
                    self._arrived.clear()
                    await self._arrived.wait()
                await self._gather()
                if self._ready:
                    break  # otherwise all waiting submissions were answered meanwhile
            self._next_at = time.monotonic() + min(self._gather_s, _GATHER_SHARE * self._batch_s)
            return self._cut()

    async def _gather(self) -> None:
        wait_s = self._next_at - time.monotonic()
        if wait_s <= 0 or self._closed or self._is_enough():
            return
        self._enough.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._enough.wait()

    def _is_enough(self) -> bool:
        return self._queued_frames >= self._gather_frames or self._queued_bytes >= self._gather_bytes

    def _cut(self) -> Batch:
        batch = Batch()
        while self._ready and batch.size < self._batch_bytes and batch.frames < self._batch_frames:
            key = self._ready.popleft()
            queue = self._queues[key]
            taken: list[Submission] = []
            while queue and (not batch.frames or batch.size + queue[0].size <= self._batch_bytes):
                submission = queue.popleft()
                taken.append(submission)
                batch.size += submission.size
                batch.frames += len(submission.entries)
                if batch.frames >= self._batch_frames:
                    break
            if not taken:
                self._ready.appendleft(key)
                break
            if not queue:
                del self._queues[key]
            self._in_batch.add(key)
            batch.writers[key] = taken
        self._queued_frames -= batch.frames
        self._queued_bytes -= batch.size
        return batch

    def release(self, batch: Batch) -> None:
        """Releases the writers of an answered batch, so that they may be in another one."""
        self._batch_s += _SMOOTHING * (time.monotonic() - batch.began - self._batch_s)
        for key in batch.writers:
            self._in_batch.discard(key)
            if key in self._queues:
                self._ready.append(key)
                self._arrived.set()

    def put_back(self, batch: Batch, cursor: LedgerCursor, pause_s: float) -> None:
        """Takes a writer's submissions out of a batch; after `pause_s`, they are queued ahead of those that the writer
        has sent since."""
        taken = batch.writers.pop(cursor.key)
        batch.frames -= sum(len(item.entries) for item in taken)
        batch.size -= sum(item.size for item in taken)
        asyncio.get_running_loop().call_later(pause_s, self._return, cursor.key, taken)

    def _return(self, key: tuple[int, int, int], taken: list[Submission]) -> None:
        self._queues[key] = deque([*taken, *self._queues.get(key, ())])
        self._queued_frames += sum(len(item.entries) for item in taken)
        self._queued_bytes += sum(item.size for item in taken)
        self._in_batch.discard(key)
        self._ready.append(key)
        self._arrived.set()

    def fail_queue(self, cursor: LedgerCursor, error: Error) -> None:
        """Fails all queued submissions of a cursor that has become stale."""
        queue = self._queues.get(cursor.key)
        if queue is None:
            return
        kept = deque(item for item in queue if item.cursor is not cursor)
        for item in queue:
            if item.cursor is cursor:
                item.fail(error)
                self._queued_frames -= len(item.entries)
                self._queued_bytes -= item.size
        if kept:
            self._queues[cursor.key] = kept
        else:
            del self._queues[cursor.key]
            if cursor.key in self._ready:
                self._ready.remove(cursor.key)

    def close(self) -> None:
        """Refuses new submissions; queued ones are still handed out, without gathering."""
        self._closed = True
        self._enough.set()
