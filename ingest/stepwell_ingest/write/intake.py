"""Intake: turns frames into submissions in the batcher's queues, after checking seq, rows and quota.

`take` decodes the bytes of a message first, for the stream and for POST; `admit` takes rows that are decoded already,
for the server's own writer sessions (`door.py`). Neither awaits between checking a frame and queueing it, so a cursor's
tail always agrees with its queue. Frames before a bad one are queued; the error then tells the sender where to
continue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from stepwell.errors import Error, RejectionError, SequenceConflictError
from stepwell.wire import KIND_NOTES, KIND_TOMBSTONE, Frame, Header, decode_body
from stepwell_ingest.write.batcher import Batcher, Entry, Submission
from stepwell_ingest.write.ledger import LedgerCursor, Verdict
from stepwell_ingest.write.validation import check, without_bad_notes


class DroppedError(RejectionError):
    """The sender could not keep a frame, and sent a tombstone in its place."""

    code = "dropped"


class Taken(NamedTuple):
    """The submission that was queued (None: no frame was), and the error of the first frame that was not queued (None:
    all were)."""

    submission: Submission | None
    error: Error | None


class Intake:
    """Queues frames.

    Args:
        batcher: holds the queues.
        object_bytes: the most bytes of a JSON value.
        refusal: returns the error with which frames of a run are refused (see `quota`); None: they are stored.
        check_space: raises an error while nothing more may be stored at all (see `space`).
    """

    def __init__(
        self,
        batcher: Batcher,
        object_bytes: int,
        refusal: Callable[[int], Error | None] = lambda _: None,
        check_space: Callable[[], None] = lambda: None,
    ) -> None:
        self._batcher = batcher
        self._object_bytes = object_bytes
        self._refusal = refusal
        self._check_space = check_space

    def take(self, cursor: LedgerCursor, frames: Iterable[tuple[Header, memoryview]]) -> Taken:
        """Decodes and queues `frames` of one writer, up to the first that cannot be queued.

        Args:
            cursor: the cursor of their writer, not stale.
            frames: headers and bytes, as `wire.split` yields them. An `Error` that the iterator raises ends them, and
                is returned in `Taken.error`.

        Raises:
            UnavailableError: the server is stopping.
            OverloadedError: the server's disk is nearly full.
        """
        self._batcher.check_open()
        self._check_space()
        entries: list[Entry] = []
        duplicates: list[int] = []
        conflicts: list[tuple[int, Error]] = []
        last: Header | None = None
        size = 0
        problem: Error | None = None
        try:
            for header, view in frames:
                try:
                    verdict = cursor.judge(header)
                except SequenceConflictError as error:
                    conflicts.append((header.seq, error))
                else:
                    if verdict is Verdict.NEW:
                        entries.append(self._entry(cursor, decode_body(header, view)))
                    else:
                        duplicates.append(header.seq)
                last = header
                size += header.length
        except Error as error:
            problem = error
        except BaseException:
            cursor.stale = True  # its tail may count frames that will never be stored
            raise
        if last is None:
            return Taken(None, problem)
        submission = Submission(cursor, entries, duplicates, conflicts, last, size)
        self._batcher.put(submission)
        return Taken(submission, problem)

    def admit(self, cursor: LedgerCursor, frame: Frame) -> Submission:
        """Queues one decoded frame.

        Args:
            cursor: the cursor of the frame's writer, not stale.
            frame: the frame, as `wire.decode` would return it. Its seq should be the cursor's tail.

        Raises:
            SequenceGapError: the seq is above the cursor's tail.
            SequenceConflictError: another frame with this seq was accepted.
            UnavailableError: the server is stopping.
            OverloadedError: the server's disk is nearly full.
        """
        self._batcher.check_open()
        self._check_space()
        header = frame.header
        entries = [self._entry(cursor, frame)] if cursor.judge(header) is Verdict.NEW else []
        duplicates = [] if entries else [header.seq]
        submission = Submission(cursor, entries, duplicates, [], header, header.length)
        self._batcher.put(submission)
        return submission

    def _entry(self, cursor: LedgerCursor, frame: Frame) -> Entry:
        """The entry for the queue, with a rejection if the frame breaks a rule. Moves the cursor's tail."""
        header = frame.header
        entry = Entry(header, frame, cursor.tail_step)
        if header.kind == KIND_TOMBSTONE:
            entry.rejection = DroppedError(
                "the sender could not keep this frame", detail=f"it held {header.dropped} values"
            )
        elif (refusal := self._refusal(cursor.run_id)) is not None:
            entry.rejection = refusal
        else:
            try:
                if header.kind == KIND_NOTES:
                    entry.frame, entry.refused_notes = without_bad_notes(frame, self._object_bytes)
                else:
                    entry.last_step = check(frame, cursor.tail_step, self._object_bytes)
            except RejectionError as error:
                entry.rejection = error
        cursor.take_in(header, entry.last_step)
        return entry
