"""The position of each writer session, as this worker knows it. Postgres decides; this is a cache of the ledger.

A `LedgerCursor` holds two positions: what Postgres has committed, and the tail, which also counts frames that this
worker has accepted but not yet committed. New frames are checked against the tail, so a writer may keep many in flight.
A cursor whose compare-and-set failed, or whose COMMIT may or may not have happened, is `stale` and must be read again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from stepwell.errors import SequenceConflictError, SequenceGapError
from stepwell.wire import WINDOW_FRAMES, Header

_CHECKSUM_BYTES = 4
#: Frames that a sender repeats lie within its window below the committed seq.
REMEMBERED_FRAMES = WINDOW_FRAMES


class Verdict(Enum):
    """The verdict on the seq of a frame."""

    NEW = auto()
    DUPLICATE = auto()


@dataclass(slots=True)
class LedgerCursor:
    """The position of one writer session.

    Attributes:
        run_id, writer_id, epoch: the server's numbers for the session.
        writer: the writer's name.
        session: the id of the session, 16 bytes.
        committed_seq, committed_step: the ledger row in Postgres: the next seq, the last step (−1: none).
        first_step: the first step that the epoch has stored; None: none yet.
        checksums: the checksums of the newest committed frames, 4 bytes each, newest last, as in the ledger.
        key: run_id, writer_id and epoch.
        tail_seq, tail_step: the next seq and last step, including frames in flight.
        in_flight: checksums of the frames between committed_seq and tail_seq, in order.
        late: whether this is a late session, whose frames come from a spool that an earlier process left.
        stale: the ledger may differ from this cursor, so the catalog must read it again before more frames are
            accepted.
    """

    run_id: int
    writer_id: int
    epoch: int
    writer: str
    session: bytes
    committed_seq: int
    committed_step: int
    first_step: int | None
    checksums: bytes
    key: tuple[int, int, int] = field(init=False)
    tail_seq: int = field(init=False)
    tail_step: int = field(init=False)
    in_flight: list[int] = field(init=False, default_factory=list)
    late: bool = field(init=False, default=False)
    stale: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.key = self.run_id, self.writer_id, self.epoch
        self.tail_seq = self.committed_seq
        self.tail_step = self.committed_step

    def judge(self, header: Header) -> Verdict:
        """Decides whether the frame is new or a duplicate.

        Raises:
            SequenceGapError: earlier frames are missing.
            SequenceConflictError: another frame with this seq was accepted.
        """
        if header.seq == self.tail_seq:
            return Verdict.NEW
        if header.seq > self.tail_seq:
            raise SequenceGapError(
                "an earlier frame is missing",
                expected=self.tail_seq,
                detail=f"seq {header.seq}, expected {self.tail_seq}",
            )
        known = self._checksum_of(header.seq)
        if known is not None and known != header.checksum:
            raise SequenceConflictError(
                "another frame with this seq was accepted",
                detail=f"writer {self.writer}, seq {header.seq}: checksum {header.checksum:08x}, stored {known:08x}",
                hint="two processes may be using one spool",
            )
        return Verdict.DUPLICATE

    def take_in(self, header: Header, last_step: int) -> None:
        """Moves the tail past a new frame; `last_step` is unchanged if the frame is refused."""
        self.in_flight.append(header.checksum)
        self.tail_seq += 1
        self.tail_step = last_step

    def checksums_after(self, count: int) -> bytes:
        """The checksums that the ledger keeps once the first `count` frames in flight are committed."""
        fresh = b"".join(checksum.to_bytes(_CHECKSUM_BYTES, "little") for checksum in self.in_flight[:count])
        return (self.checksums + fresh)[-REMEMBERED_FRAMES * _CHECKSUM_BYTES :]

    def commit(self, count: int, last_step: int, first_step: int | None) -> None:
        """Records that Postgres has committed the first `count` frames in flight, with the epoch's steps as of now."""
        self.checksums = self.checksums_after(count)
        del self.in_flight[:count]
        self.committed_seq += count
        self.committed_step = last_step
        self.first_step = first_step

    def _checksum_of(self, seq: int) -> int | None:
        if seq >= self.committed_seq:
            return self.in_flight[seq - self.committed_seq]
        start = len(self.checksums) - (self.committed_seq - seq) * _CHECKSUM_BYTES
        if start < 0:
            return None  # older than the ledger's checksums, and older than all frames in flight
        return int.from_bytes(self.checksums[start : start + _CHECKSUM_BYTES], "little")
