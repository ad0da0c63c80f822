"""Fencing: a newer session fences the older one on all workers, and late sessions take over no writer."""

from __future__ import annotations

import asyncpg
import pytest

from fixtures.ingest import Client, Session, assert_empty, make_frame, post, start_worker, stored_steps
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def test_second_session_fences_the_first(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with Client(any_worker) as one, Client(any_worker) as two:
        await one.attach(old)
        await one.exchange(old.frame(5))
        attached = await two.attach(new)
        assert (attached["epoch"], attached["resumed"], attached["next_seq"]) == (2, True, 0)
        error = await one.exchange(old.frame(5))
        assert (error["type"], error["code"], error["retryable"]) == ("error", "fenced", False)
        assert error["message"] == "a newer process has taken over writer 0"
        assert error["detail"] == "epoch 1 is closed"
        assert error["hint"].startswith("two processes log as the same writer of one run: set STEPWELL_WRITER or RANK")
        assert (await one.hear())["type"] == "closed"
    async with Client(any_worker) as client:
        assert (await client.attach(old))["code"] == "fenced"
    status, reply, _ = await post(any_worker, "/v1/frames", make_frame(old.id, 1, [99]))
    assert (status, reply["error"]["code"]) == (409, "fenced")
    assert await stored_steps(any_pg) == [0, 1, 2, 3, 4]
    assert_empty(any_worker)


async def test_fenced_session_cannot_end_the_writer(worker: Worker, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(old)
        await two.attach(new)
        error = await one.finish()
        assert (error["type"], error["code"]) == ("error", "fenced")
        assert await pg.fetchval("SELECT state FROM stepwell.runs") == "running"
        assert await two.finish() == {"type": "finished"}
    assert await pg.fetchval("SELECT state FROM stepwell.runs") == "finished"


async def test_new_epoch_supersedes_from_its_first_step(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with Client(any_worker) as one, Client(any_worker) as two:
        await one.attach(old)
        await one.exchange(old.frame(10))
        assert (await two.attach(new))["last_step"] == -1
        assert await stored_steps(any_pg) == list(range(10))  # until it has stored something
        refused = await two.exchange(make_frame(new.id, 0, [3, 2]))
        assert [item["code"] for item in refused["rejected"]] == ["step_order"]
        assert await stored_steps(any_pg) == list(range(10))
        assert (await two.exchange(make_frame(new.id, 1, [6, 20])))["stored"] == 1
        assert await stored_steps(any_pg) == [0, 1, 2, 3, 4, 5, 6, 20]
        assert (await two.exchange(make_frame(new.id, 2, [21])))["stored"] == 1
    superseded = await any_pg.fetch("SELECT epoch, step FROM stepwell.history_superseded ORDER BY step")
    assert [tuple(row) for row in superseded] == [(1, step) for step in range(6, 10)]
    assert await stored_steps(any_pg) == [0, 1, 2, 3, 4, 5, 6, 20, 21]


async def test_resumed_epoch_continues_after_the_last_step(worker: Worker, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(old)
        await one.exchange(old.frame(10))
        assert (await two.attach(new, resume="allow"))["last_step"] == 9
        ack = await two.exchange(make_frame(new.id, 0, [9]), make_frame(new.id, 1, [10]))
        assert [item["code"] for item in ack["rejected"]] == ["step_order"]
        assert ack["stored"] == 1
    assert await stored_steps(pg) == list(range(11))


async def test_frames_in_flight_of_a_fenced_session_are_not_lost(worker: Worker, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(old)
        for _ in range(50):
            await one.send(old.frame())
        await two.attach(new)
        last_step = await pg.fetchval("SELECT last_step FROM stepwell.ledger WHERE fenced")  # it is final
        acknowledged = 0
        while (reply := await one.hear())["type"] == "ack":
            acknowledged = reply["next_seq"]
            if acknowledged == 50:
                break
        assert acknowledged <= last_step + 1
        stored = await stored_steps(pg)
        assert stored == list(range(last_step + 1))
    assert_empty(worker)


async def test_restarted_writer_reopens_its_run(worker: Worker, pg: asyncpg.Connection) -> None:
    async with Client(worker) as client:
        await client.attach(Session())
        await client.finish(1)
        assert await pg.fetchval("SELECT state FROM stepwell.runs") == "failed"
        await client.attach(Session())
        row = await pg.fetchrow("SELECT state, exit_code, finished_at FROM stepwell.runs")
        assert tuple(row) == ("running", None, None)


async def test_late_session_gets_its_own_writer(worker: Worker, pg: asyncpg.Connection) -> None:
    live, late = Session(), Session()
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(live)
        await one.exchange(live.frame(3))
        attached = await two.attach(late, late=True)
        name = f"0+{late.id.hex()[:8]}"
        assert (attached["writer"], attached["epoch"], attached["last_step"]) == (name, 1, -1)
        await two.exchange(late.frame(4))
        assert (await one.exchange(live.frame(2)))["stored"] == 1
        assert await two.attach(late, late=True) == {**attached, "next_seq": 1, "last_step": 3}
    assert await stored_steps(pg, "0") == [0, 1, 2, 3, 4]
    assert await stored_steps(pg, name) == [0, 1, 2, 3]


async def test_replaced_process_supersedes_nothing(worker: Worker, pg: asyncpg.Connection) -> None:
    heir, old = Session(), Session()
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(heir, age_s=10)
        await one.exchange(heir.frame(5))
        attached = await two.attach(old, age_s=600.5)
        name = f"0+{old.id.hex()[:8]}"
        assert (attached["writer"], attached["epoch"], attached["last_step"]) == (name, 1, -1)
        await two.exchange(old.frame(3))
        assert (await one.exchange(heir.frame(2)))["stored"] == 1
        assert await two.finish(1) == {"type": "finished"}
        assert await pg.fetchval("SELECT state FROM stepwell.runs") == "running"
    assert await stored_steps(pg, "0") == list(range(7))
    assert await stored_steps(pg, name) == [0, 1, 2]
    assert await pg.fetchval("SELECT count(*) FROM stepwell.history_superseded") == 0


async def test_late_session_of_a_new_writer_gets_its_name(worker: Worker) -> None:
    async with Client(worker) as client:
        assert (await client.attach(Session(), late=True))["writer"] == "0"


async def test_remaining_frames_of_a_fenced_session_arrive_once(worker: Worker, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    frames = [old.frame() for _ in range(4)]
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(old)
        await one.exchange(*frames[:2])
        await two.attach(new)
    async with Client(worker) as client:
        attached = await client.attach(old, late=True)
        name = f"0+{old.id.hex()[:8]}"
        expected = {"writer": name, "epoch": 1, "resumed": False, "next_seq": 2, "last_step": 1}
        assert {key: attached[key] for key in expected} == expected
        ack = await client.exchange(*frames)
        assert (ack["next_seq"], ack["stored"], ack["duplicate"], ack["rejected"]) == (4, 2, 2, [])
        again = await client.attach(old, late=True)
        assert (again["writer"], again["resumed"], again["next_seq"]) == (name, False, 4)
        conflict = await client.exchange(make_frame(old.id, 1, [50]))
        assert [item["code"] for item in conflict["rejected"]] == ["sequence_conflict"]
    assert await stored_steps(pg, "0") == [0, 1]
    assert await stored_steps(pg, name) == [2, 3]


async def test_session_belongs_to_one_run(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        session.run = "run-2"
        error = await client.attach(session)
        assert (error["code"], error["message"]) == ("wrong_run", "this session belongs to another run")
        assert error["detail"].startswith("team/mnist/run-2, session ")
        assert error["hint"] == "was a spool copied from another run? Each run needs a spool of its own"


async def test_fencing_works_across_workers(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with (
        start_worker(postgres_dsn) as first,
        start_worker(postgres_dsn) as second,
        Client(first) as one,
        Client(second) as two,
    ):
        await one.attach(old)
        await one.exchange(old.frame(2))
        assert (await two.attach(new))["epoch"] == 2
        assert (await one.exchange(old.frame()))["code"] == "fenced"
        new.step = 2
        assert (await two.exchange(new.frame()))["stored"] == 1
    assert await stored_steps(pg) == [0, 1, 2]
