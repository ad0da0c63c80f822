"""Requests that arrive at the same time are processed as a group, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from fixtures.ingest import Session, WritePath
from stepwell.errors import FencedError, RunDeletedError, UnavailableError, UsageError
from stepwell_ingest.write.attachment import AttachRequest
from stepwell_ingest.write.grouping import Grouping


class Desk:
    """Answers each number with its square on demand, and records the groups."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = asyncio.Event()

    async def answer(self, numbers: Sequence[int]) -> list[int]:
        self.groups.append(list(numbers))
        await self.open.wait()
        if 13 in numbers:
            raise UnavailableError("thirteen")
        return [number * number for number in numbers]


async def test_requests_are_grouped_while_busy() -> None:
    desk = Desk()
    grouping = Grouping(desk.answer, most=3)
    asked = [asyncio.create_task(grouping.answer(number)) for number in range(6)]
    await asyncio.sleep(0.01)
    desk.open.set()
    assert await asyncio.gather(*asked) == [0, 1, 4, 9, 16, 25]
    assert desk.groups == [[0, 1, 2], [3, 4, 5]]
    assert await grouping.answer(7) == 49


async def test_error_affects_only_its_group() -> None:
    desk = Desk()
    desk.open.set()
    grouping = Grouping(desk.answer, most=2)
    answers = await asyncio.gather(*map(grouping.answer, (1, 13, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [UnavailableError, UnavailableError, int]


async def test_cancelled_request_is_skipped() -> None:
    desk = Desk()
    grouping = Grouping(desk.answer, most=1)
    first, gone, last = (asyncio.create_task(grouping.answer(number)) for number in (1, 2, 3))
    await asyncio.sleep(0.01)
    gone.cancel()
    desk.open.set()
    assert await first == 1
    assert await last == 9
    assert [group for group in desk.groups if group] == [[1], [3]]


def request(session: Session, resume: str | None = None) -> AttachRequest:
    names = (session.entity, session.project, session.run, session.writer)
    return AttachRequest(*names, session.id, False, {}, resume=resume)


@pytest.mark.db
async def test_grouped_attaches_get_their_own_answers(write_path: WritePath) -> None:
    old, deleted = Session(run="gone", writer="7"), Session(run="deleted")
    fenced, newer = Session(run="gone", writer="8"), Session(run="gone", writer="8")
    for session in (old, deleted, fenced, newer):
        await write_path.attach(session)
    await write_path.pool.execute("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run WHERE name = 'deleted'")
    ranks = [Session(run=f"run-{number % 3}", writer=str(number // 3)) for number in range(30)]
    asked = [old, deleted, fenced, *ranks]
    answers = await asyncio.gather(
        *(write_path.catalog.attach(request(session)) for session in asked),
        write_path.catalog.attach(request(Session(run="none"), resume="must")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in (*answers[1:3], answers[-1])] == [RunDeletedError, FencedError, UsageError]
    made = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.cursor.session for answer in made] == [session.id for session in (old, *ranks)]
    assert [answer.cursor.writer for answer in made] == [session.writer for session in (old, *ranks)]
    assert await write_path.pool.fetchval("SELECT count(*) FROM stepwell.run WHERE name LIKE 'run-%'") == 3


@pytest.mark.db
async def test_grouped_finishes_are_recorded_together(write_path: WritePath) -> None:
    sessions = [Session(writer=str(number)) for number in range(10)]
    cursors = [await write_path.attach(session) for session in sessions]
    await write_path.attach(Session(writer="3"))
    codes = [0, 1] * 5
    ends = [write_path.catalog.finish(cursor, code) for cursor, code in zip(cursors, codes, strict=True)]
    outcomes = await asyncio.gather(*ends, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 3 + [FencedError] + [type(None)] * 6
    states = await write_path.pool.fetch("SELECT state FROM stepwell.writer ORDER BY writer_id")
    expected = ["failed" if code else "finished" for code in codes]
    assert [row["state"] for row in states] == [*expected[:3], "running", *expected[4:]]
