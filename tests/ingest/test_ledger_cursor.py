"""The position of a writer: every verdict on a seq, compared with a model that stores everything."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stepwell.errors import SequenceConflictError, SequenceGapError
from stepwell.wire import WINDOW_FRAMES, Header
from stepwell_ingest.write.ledger import REMEMBERED_FRAMES, LedgerCursor, Verdict

SESSION = bytes(16)


def cursor(
    next_seq: int = 0, last_step: int = -1, first_step: int | None = None, checksums: bytes = b""
) -> LedgerCursor:
    return LedgerCursor(7, 2, 3, "rank-1", SESSION, next_seq, last_step, first_step, checksums)


def header(seq: int, checksum: int | None = None) -> Header:
    return Header(0, 64, 0, SESSION, seq, 0, 0, 0, 0, 1000 + seq if checksum is None else checksum)


def take_in(where: LedgerCursor, *seqs: int) -> None:
    for seq in seqs:
        assert where.judge(header(seq)) is Verdict.NEW
        where.take_in(header(seq), seq * 10)


def test_next_seq_is_new_and_moves_only_the_tail() -> None:
    where = cursor()
    take_in(where, 0, 1)
    assert (where.tail_seq, where.tail_step) == (2, 10)
    assert (where.committed_seq, where.committed_step) == (0, -1)
    where.commit(1, 0, 0)
    assert (where.committed_seq, where.committed_step, where.first_step) == (1, 0, 0)
    assert where.tail_seq == 2


def test_later_seq_is_a_gap() -> None:
    where = cursor()
    take_in(where, 0)
    with pytest.raises(SequenceGapError, match="seq 5, expected 1") as caught:
        where.judge(header(5))
    assert caught.value.expected == 1
    assert caught.value.retryable


@pytest.mark.parametrize("committed", [0, 2, 3])
def test_accepted_seq_is_duplicate_or_conflict(committed: int) -> None:
    where = cursor()
    take_in(where, 0, 1, 2)
    where.commit(committed, 0, 0)
    for seq in range(3):
        assert where.judge(header(seq)) is Verdict.DUPLICATE
        with pytest.raises(
            SequenceConflictError, match=f"writer rank-1, seq {seq}: checksum 00000001, stored {1000 + seq:08x}"
        ):
            where.judge(header(seq, checksum=1))


def test_reloaded_cursor_gives_the_same_verdicts() -> None:
    where = cursor()
    take_in(where, *range(5))
    where.commit(5, 40, 0)
    again = cursor(where.committed_seq, where.committed_step, where.first_step, where.checksums)
    assert again.judge(header(4)) is Verdict.DUPLICATE
    with pytest.raises(SequenceConflictError):
        again.judge(header(0, checksum=1))
    assert again.judge(header(5)) is Verdict.NEW


def test_checksum_memory_is_bounded() -> None:
    where = cursor()
    count = REMEMBERED_FRAMES + 10
    take_in(where, *range(count))
    where.commit(count, 0, 0)
    assert len(where.checksums) == 4 * REMEMBERED_FRAMES
    assert REMEMBERED_FRAMES >= WINDOW_FRAMES
    with pytest.raises(SequenceConflictError):
        where.judge(header(count - REMEMBERED_FRAMES, checksum=1))
    assert where.judge(header(count - REMEMBERED_FRAMES - 1, checksum=1)) is Verdict.DUPLICATE


class CursorMachine(RuleBasedStateMachine):
    """Frames arrive, commits follow, and the position is sometimes reloaded from the expected ledger row."""

    def __init__(self) -> None:
        super().__init__()
        self.cursor = cursor()
        self.taken: list[int] = []  # checksums by seq
        self.committed = 0

    @rule(checksum=st.integers(0, 2**32 - 1))
    def a_new_frame(self, checksum: int) -> None:
        seq = len(self.taken)
        assert self.cursor.judge(header(seq, checksum)) is Verdict.NEW
        self.cursor.take_in(header(seq, checksum), seq)
        self.taken.append(checksum)

    @rule(checksum=st.integers(0, 2**32 - 1), count=st.integers(1, 300))
    def many_new_frames(self, checksum: int, count: int) -> None:
        for offset in range(count):
            self.a_new_frame((checksum + offset) % 2**32)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), other=st.integers(1, 2**32 - 1))
    def an_old_seq(self, data: st.DataObject, other: int) -> None:
        seq = data.draw(st.integers(0, len(self.taken) - 1))
        assert self.cursor.judge(header(seq, self.taken[seq])) is Verdict.DUPLICATE
        wrong = header(seq, self.taken[seq] ^ other)
        if seq >= self.committed - REMEMBERED_FRAMES:
            with pytest.raises(SequenceConflictError):
                self.cursor.judge(wrong)
        else:
            assert self.cursor.judge(wrong) is Verdict.DUPLICATE

    @rule(ahead=st.integers(1, 2**40))
    def a_gap(self, ahead: int) -> None:
        with pytest.raises(SequenceGapError) as caught:
            self.cursor.judge(header(len(self.taken) + ahead, 0))
        assert caught.value.expected == len(self.taken)

    @rule(data=st.data())
    def a_commit(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, len(self.taken) - self.committed))
        before = self.cursor.checksums_after(count)
        self.committed += count
        self.cursor.commit(count, self.committed - 1, 0 if self.committed else None)
        assert self.cursor.checksums == before

    @rule()
    def a_restart(self) -> None:
        now = self.cursor
        self.cursor = cursor(now.committed_seq, now.committed_step, now.first_step, now.checksums)
        del self.taken[self.committed :]

    @invariant()
    def positions_agree(self) -> None:
        assert self.cursor.committed_seq == self.committed
        assert self.cursor.tail_seq == len(self.taken)
        assert len(self.cursor.in_flight) == len(self.taken) - self.committed
        kept = self.taken[: self.committed][-REMEMBERED_FRAMES:]
        assert self.cursor.checksums == b"".join(item.to_bytes(4, "little") for item in kept)


TestCursorAgainstItsModel = CursorMachine.TestCase
TestCursorAgainstItsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
