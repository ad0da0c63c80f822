"""Several workers on one Postgres: any of them may receive any frame, and none trusts its cache."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from fixtures.ingest import Client, Session, assert_empty, post, start_worker, stored_steps
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write import catalog

pytestmark = pytest.mark.db


async def test_writer_that_changes_workers_gets_its_position(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    session = Session()
    async with start_worker(any_postgres_dsn) as first, start_worker(any_postgres_dsn) as second:
        for round_, worker in enumerate([first, second, first, second, first]):
            async with Client(worker) as client:
                attached = await client.attach(session)
                assert (attached["next_seq"], attached["last_step"]) == (10 * round_, 10 * round_ - 1)
                for _ in range(10):
                    await client.send(session.frame())
                assert (await client.hear_acks(session.seq))["stored"] == 10
    assert await stored_steps(any_pg) == list(range(50))


async def test_alternating_posts_are_no_gap(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session = Session()
    async with start_worker(postgres_dsn) as first, start_worker(postgres_dsn) as second:
        assert (await post(first, "/v1/attach", session.attach()))[0] == 200
        for worker in [first, second, second, first, first, second]:
            status, reply, _ = await post(worker, "/v1/frames", session.frame())
            assert (status, reply["writers"][0]["next_seq"]) == (200, session.seq)
    assert await stored_steps(pg) == list(range(6))


async def test_equal_frames_at_two_workers_are_stored_once(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(30)]

    async def deliver(worker: Worker) -> None:
        while True:
            async with Client(worker) as client:
                next_seq = (await client.attach(session))["next_seq"]
                for frame in frames[next_seq:]:
                    await client.send(frame)
                while next_seq < 30 and (reply := await client.hear())["type"] == "ack":
                    next_seq = reply["next_seq"]
                if next_seq == 30:
                    return
                assert reply["retryable"], reply

    async with start_worker(postgres_dsn) as first, start_worker(postgres_dsn) as second:
        await asyncio.gather(deliver(first), deliver(second), deliver(first))
        assert_empty(first)
        assert_empty(second)
    assert await stored_steps(pg) == list(range(30))


async def test_position_lost_to_another_worker_is_retryable(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session, neighbours = Session(), [Session(writer=str(rank)) for rank in range(1, 6)]
    async with start_worker(postgres_dsn) as first, start_worker(postgres_dsn) as second:
        frames = [session.frame() for _ in range(3)]
        async with Client(first) as client:
            await client.attach(session)
            await client.exchange(frames[0])
            async with Client(second) as elsewhere:
                await elsewhere.attach(session)
                await elsewhere.exchange(frames[1])
            others = [Client(first) for _ in neighbours]
            for other, neighbour in zip(others, neighbours, strict=True):
                await other.__aenter__()
                await other.attach(neighbour)
            await asyncio.gather(
                client.send(frames[2]), *(o.send(n.frame(2)) for o, n in zip(others, neighbours, strict=True))
            )
            error = await client.hear()
            assert (error["type"], error["code"], error["expected"]) == ("error", "sequence_gap", 1)
            for other in others:
                assert (await other.hear())["stored"] == 1
                await other.__aexit__()
        async with Client(first) as client:
            assert (await client.attach(session))["next_seq"] == 2
            assert (await client.exchange(frames[2]))["stored"] == 1
        assert_empty(first)
    assert await stored_steps(pg) == [0, 1, 2]
    for neighbour in neighbours:
        assert await stored_steps(pg, neighbour.writer) == [0, 1]


async def test_frame_stored_by_another_worker_is_a_duplicate(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(3)]
    async with start_worker(postgres_dsn) as first, start_worker(postgres_dsn) as second, Client(first) as client:
        await client.attach(session)
        await client.exchange(frames[0])
        await post(second, "/v1/frames", frames[1])
        # The first worker believes that this seq is new.
        error = await client.exchange(frames[1], frames[2])
        assert (error["code"], error["retryable"], error["expected"]) == ("sequence_gap", True, 2)
        assert error["message"] == "another worker stored frames of this writer"
        async with Client(first) as again:
            assert (await again.attach(session))["next_seq"] == 2
            ack = await again.exchange(frames[1], frames[2])
            assert (ack["stored"], ack["duplicate"]) == (1, 1)
    assert await stored_steps(pg) == [0, 1, 2]


async def test_forgotten_session_is_looked_up_again(
    postgres_dsn: str, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_MAX_CURSORS", 2)
    sessions = [Session(writer=str(rank)) for rank in range(5)]
    async with start_worker(postgres_dsn) as worker:
        for session in sessions:
            await post(worker, "/v1/attach", session.attach())
        for _ in range(2):
            for session in sessions:
                status, reply, _ = await post(worker, "/v1/frames", session.frame())
                assert (status, reply["writers"][0]["stored"]) == (200, 1)
        assert len(worker.services.catalog._cursors) <= 2
    for session in sessions:
        assert await stored_steps(pg, session.writer) == [0, 1]


async def test_stream_of_a_forgotten_session_reattaches(
    postgres_dsn: str, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_MAX_CURSORS", 1)
    session, other = Session(), Session(writer="1")
    frame = session.frame()
    async with start_worker(postgres_dsn) as worker:
        async with Client(worker) as client:
            await client.attach(session)
            await post(worker, "/v1/attach", other.attach())
            # The old position must not coexist with a new one, or both would accept the same seq as new.
            status, _, _ = await post(worker, "/v1/frames", frame)
            assert status == 200
            error = await client.exchange(frame)
            assert (error["code"], error["hint"]) == ("unavailable", "attach again")
        async with Client(worker) as client:
            assert (await client.attach(session))["next_seq"] == 1
            assert (await client.exchange(frame))["duplicate"] == 1
        assert_empty(worker)
    assert await stored_steps(pg) == [0]
