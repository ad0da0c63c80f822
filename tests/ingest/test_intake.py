"""The path from messages to queues: the tail of a cursor counts exactly the queued frames."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.ingest import Session, flip, make_frame
from stepwell import wire
from stepwell.errors import UnavailableError
from stepwell_ingest.write import intake as module
from stepwell_ingest.write.batcher import Batcher
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.ledger import LedgerCursor

Frames = Iterator[tuple[wire.Header, memoryview]]


@pytest.fixture
def batcher() -> Batcher:
    return Batcher(1 << 20, 1000)


@pytest.fixture
def intake(batcher: Batcher) -> Intake:
    return Intake(batcher, 1000)


def cursor(session: Session) -> LedgerCursor:
    return LedgerCursor(1, 1, 1, session.writer, session.id, 0, -1, None, b"")


def split(*frames: bytes) -> Frames:
    return wire.split(b"".join(frames))


async def test_accepted_frames_are_queued_and_counted(intake: Intake, batcher: Batcher) -> None:
    session = Session()
    where = cursor(session)
    frames = [session.frame(2), session.frame(3)]
    submission, error = intake.take(where, split(*frames))
    assert (error, where.tail_seq, where.tail_step) == (None, 2, 4)
    assert submission is not None
    assert (submission.last.seq, submission.size, len(submission.entries)) == (1, sum(map(len, frames)), 2)
    assert [item for queue in (await batcher.next_batch()).writers.values() for item in queue] == [submission]


async def test_frames_after_a_bad_one_are_not_queued(intake: Intake) -> None:
    session = Session()
    where = cursor(session)
    frames = [session.frame() for _ in range(4)]
    submission, error = intake.take(where, split(frames[0], frames[1], flip(frames[2]), frames[3]))
    assert submission is not None
    assert (submission.last.seq, where.tail_seq) == (1, 2)
    assert error is not None
    assert error.code == "frame_corrupt"


async def test_no_valid_frame_gives_no_submission(intake: Intake, batcher: Batcher) -> None:
    session = Session()
    where = cursor(session)
    submission, error = intake.take(where, split(flip(session.frame())))
    assert submission is None
    assert error is not None
    assert intake.take(where, []) == (None, None)
    assert (batcher.idle, where.tail_seq, where.stale) == (True, 0, False)


async def test_refused_frame_uses_its_seq_but_not_its_steps(intake: Intake) -> None:
    session = Session()
    where = cursor(session)
    bad = make_frame(session.id, 0, [9, 8])
    submission, error = intake.take(where, split(bad, make_frame(session.id, 1, [0])))
    assert (error, where.tail_seq, where.tail_step) == (None, 2, 0)
    assert submission is not None
    assert [entry.rejection is None for entry in submission.entries] == [False, True]


async def test_stopping_intake_changes_nothing(intake: Intake, batcher: Batcher) -> None:
    session = Session()
    where = cursor(session)
    batcher.close()
    with pytest.raises(UnavailableError, match="the server is stopping"):
        intake.take(where, split(session.frame()))
    assert (where.tail_seq, where.in_flight) == (0, [])


async def test_unknown_failure_reloads_the_position(
    intake: Intake, batcher: Batcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Otherwise the frames before it would count as duplicates although they are not stored.
    def broken(*_: object) -> int:
        raise MemoryError

    session = Session()
    where = cursor(session)
    frames = [session.frame(), session.frame()]

    def then_break() -> Frames:
        pieces = split(*frames)
        yield next(pieces)
        monkeypatch.setattr(module, "check", broken)
        yield next(pieces)

    with pytest.raises(MemoryError):
        intake.take(where, then_break())
    assert where.stale
    assert batcher.idle
