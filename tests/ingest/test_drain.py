"""Stopping and overload: a stopping server loses no accepted frame, and a full one makes its clients wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import pytest

from fixtures.ingest import (
    PATIENCE_S,
    Client,
    Session,
    assert_empty,
    eventually,
    get,
    post,
    start_worker,
    stored_steps,
)
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


@asynccontextmanager
async def held(pg: asyncpg.Connection) -> AsyncIterator[None]:
    """Prevents commits of batches while the block runs."""
    async with pg.transaction():
        await pg.execute("LOCK TABLE stepwell.hot_block IN ACCESS EXCLUSIVE MODE")
        yield


async def taken_in(worker: Worker, size: int) -> None:
    await eventually(lambda: worker.services.room.held_bytes >= size)


async def test_accepted_frames_are_committed_before_exit(worker: Worker, pg: asyncpg.Connection) -> None:
    sessions = [Session(writer=str(rank)) for rank in range(3)]
    clients = [Client(worker) for _ in sessions]
    async with clients[0], clients[1], clients[2]:
        async with held(pg):
            for client, session in zip(clients, sessions, strict=True):
                await client.attach(session)
                for _ in range(10):
                    await client.send(session.frame())
            await eventually(lambda: sum(cursor.tail_seq for cursor in worker.services.catalog.cursors()) == 30)
            draining = asyncio.create_task(worker.drain())
            await eventually(lambda: worker.services.gate.closed)
            assert not draining.done()
        for client in clients:
            await client.hear_acks(10)
            error = await client.hear()
            assert (error["type"], error["code"], error["retryable"]) == ("error", "unavailable", True)
            assert (error["message"], error["hint"]) == ("the server is stopping", "the SDK reconnects automatically")
            assert await client.hear() == {"type": "closed", "code": 1013}
        await asyncio.wait_for(draining, PATIENCE_S)
    assert_empty(worker)
    for session in sessions:
        assert await stored_steps(pg, session.writer) == list(range(10))


async def test_idle_stream_is_told_to_reconnect(worker: Worker) -> None:
    async with Client(worker) as attached, Client(worker) as silent:
        await attached.attach(Session())
        draining = asyncio.create_task(worker.drain())
        for client in (attached, silent):
            assert (await client.hear())["message"] == "the server is stopping"
            assert (await client.hear())["type"] == "closed"
        await asyncio.wait_for(draining, PATIENCE_S)


async def test_stopping_server_accepts_nothing(worker: Worker) -> None:
    session = Session()
    await post(worker, "/v1/attach", session.attach())
    await worker.drain()
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await Client(worker).__aenter__()
    assert caught.value.status == 503
    assert caught.value.headers is not None
    assert caught.value.headers["Retry-After"] == "1"
    status, reply, headers = await post(worker, "/v1/frames", session.frame())
    assert (status, reply["error"]["code"], headers["Retry-After"]) == (503, "unavailable", "1")
    assert (await get(worker, "/readyz"))[0] == 503
    assert (await get(worker, "/healthz"))[0] == 200
    assert_empty(worker)


async def test_pending_post_is_answered_before_exit(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    await post(worker, "/v1/attach", session.attach())
    async with held(pg):
        posting = asyncio.create_task(post(worker, "/v1/frames", session.frame()))
        await eventually(lambda: not worker.services.batcher.idle)
        draining = asyncio.create_task(worker.drain())
        await eventually(lambda: worker.services.gate.closed)
    status, reply, _ = await posting
    assert (status, reply["writers"][0]["stored"]) == (200, 1)
    await asyncio.wait_for(draining, PATIENCE_S)


async def test_drain_ends_without_postgres(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(3)]
    async with start_worker(postgres_dsn, timeouts=Timeouts(drain_s=0.1)) as worker, Client(worker) as client:
        await client.attach(session)
        async with held(pg):
            await client.send(*frames)
            await eventually(lambda: not worker.services.batcher.idle)
            await asyncio.wait_for(worker.drain(), PATIENCE_S)
            # Streams belong to the server, so the stop does not wait for them forever.
            await asyncio.wait_for(worker.stop(), PATIENCE_S)
        reply = await client.hear()
        assert reply["type"] == "closed" or reply["retryable"], reply
    async with start_worker(postgres_dsn) as worker, Client(worker) as client:
        next_seq = (await client.attach(session))["next_seq"]
        await client.send(*frames)
        assert (await client.hear_acks(3))["stored"] == 3 - next_seq
    assert await stored_steps(pg) == [0, 1, 2]


async def test_full_server_stops_reading_and_loses_nothing(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    sessions = [Session(writer=str(rank)) for rank in range(4)]
    frame_size = len(Session().frame(100))
    limits = Limits(memory_bytes=5 * frame_size, connection_bytes=2 * frame_size)
    highest = 0
    async with start_worker(postgres_dsn, limits=limits) as worker:

        async def deliver(session: Session) -> None:
            async with Client(worker) as client:
                await client.attach(session)
                for _ in range(30):
                    await client.send(session.frame(100))
                assert (await client.hear_acks(30))["stored"] == 30

        async def watch() -> None:
            nonlocal highest
            while True:
                highest = max(highest, worker.services.room.held_bytes)
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(deliver(session) for session in sessions))
        watching.cancel()
        # Admitted messages are also charged for their frames and blocks: 3 KiB for one frame with one block; and all
        # streams may have been admitted at the same time.
        assert 0 < highest <= limits.memory_bytes + len(sessions) * 3 * 1024
        assert_empty(worker)
    for session in sessions:
        assert await stored_steps(pg, session.writer) == list(range(3000))


async def test_message_larger_than_all_room_is_admitted_alone(postgres_dsn: str) -> None:
    session = Session()
    limits = Limits(memory_bytes=100, connection_bytes=10)
    async with start_worker(postgres_dsn, limits=limits) as worker:
        async with Client(worker) as client:
            await client.attach(session)
            for _ in range(5):
                await client.send(session.frame(50))
            assert (await client.hear_acks(5))["stored"] == 5
        assert_empty(worker)


async def test_client_that_leaves_gives_up_its_place(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    gone, waiting, stays = Session(writer="gone"), Session(writer="waiting"), Session(writer="stays")
    frame = gone.frame(50)
    async with start_worker(postgres_dsn, limits=Limits(memory_bytes=len(frame) + 10)) as worker:
        async with Client(worker) as last:
            await last.attach(stays)
            async with Client(worker) as first, Client(worker) as second:
                await first.attach(gone)
                await second.attach(waiting)
                async with held(pg):
                    await first.send(frame)
                    await taken_in(worker, len(frame))
                    await second.send(waiting.frame(50))
                    await eventually(lambda: bool(worker.services.room._waiting))
                    await last.send(stays.frame())
                    first.socket._response.close()  # without a close frame
                    second.socket._response.close()
            assert (await last.hear())["stored"] == 1
        await eventually(lambda: not worker.services.streams)
        assert_empty(worker)
    assert await stored_steps(pg, "gone") == list(range(50))


async def test_stream_waiting_for_room_outlives_heartbeats(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame(1000) for _ in range(50)]
    limits, timeouts = Limits(connection_bytes=1000), Timeouts(heartbeat_s=0.05)
    async with start_worker(postgres_dsn, limits=limits, timeouts=timeouts) as worker, Client(worker) as client:
        await client.attach(session)

        async def send() -> None:
            for frame in frames:
                await client.send(frame)

        async with held(pg):
            sending = asyncio.create_task(send())
            await eventually(lambda: not worker.services.batcher.idle)
            await asyncio.sleep(0.3)  # several heartbeats, while nobody reads the client's messages
        assert (await client.hear_acks(50))["stored"] == 50
        await sending
        assert_empty(worker)
    assert await stored_steps(pg) == list(range(50_000))
