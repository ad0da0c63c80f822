"""The queue of answers of one connection."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.errors import UnavailableError
from stepwell.wire import Header
from stepwell_ingest.api.answers import Answers, Finish, Stored
from stepwell_ingest.write.batcher import Submission
from stepwell_ingest.write.ledger import LedgerCursor


def new_cursor(writer_id: int = 1) -> LedgerCursor:
    return LedgerCursor(7, writer_id, 0, "0", bytes(16), 0, -1, None, b"")


def stored(cursor: LedgerCursor) -> Stored:
    header = Header(0, 64, 0, cursor.session, 0, 0, 0, 0, 0, 0)
    return Stored(Submission(cursor, [], [], [], header, 64), 64)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_reader_waits_for_the_first_submission() -> None:
    answers, cursor = Answers(), new_cursor()
    first, second = stored(cursor), stored(cursor)
    reader = asyncio.create_task(answers.next())
    answers.put(first)
    answers.put(second)
    second.submission.succeed()
    await settle()
    assert not reader.done()
    first.submission.succeed()
    assert await reader is first
    assert await answers.next() is second
    assert not answers


@pytest.mark.parametrize("settle_first", [False, True])
async def test_failed_submission_is_ready(settle_first: bool) -> None:
    answers, answer = Answers(), stored(new_cursor())
    error = UnavailableError("no")
    if settle_first:
        answer.submission.fail(error)
    answers.put(answer)
    answer.submission.fail(error)
    assert await asyncio.wait_for(answers.next(), 1) is answer


async def test_answers_keep_their_order() -> None:
    answers, cursor = Answers(), new_cursor()
    first, end, error = stored(cursor), Finish(cursor, 0), UnavailableError("stop")
    for answer in (first, end, error, None):
        answers.put(answer)
    first.submission.succeed()
    assert [await answers.next() for _ in range(4)] == [first, end, error, None]


async def test_only_ready_answers_of_the_writer_join() -> None:
    answers, cursor, other = Answers(), new_cursor(1), new_cursor(2)
    mine, waiting, foreign = stored(cursor), stored(cursor), stored(other)
    for answer in (mine, waiting, foreign):
        answers.put(answer)
    mine.submission.succeed()
    foreign.submission.succeed()
    assert answers.next_stored(cursor) is mine
    assert answers.next_stored(cursor) is None  # under way
    waiting.submission.succeed()
    assert answers.next_stored(cursor) is waiting
    assert answers.next_stored(cursor) is None  # another writer's
    assert answers.next_stored(other) is foreign
    assert answers.next_stored(other) is None  # empty


async def test_dropped_acknowledgements_are_returned() -> None:
    answers, cursor = Answers(), new_cursor()
    first = stored(cursor)
    for answer in (first, Finish(cursor, 0), None):
        answers.put(answer)
    assert answers.drop() == [first]
    assert not answers
