"""POST /v1/attach and /v1/frames: the verdicts of the stream as HTTP answers, for clients without a WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import pytest

from fixtures.ingest import (
    Session,
    assert_empty,
    eventually,
    flip,
    make_frame,
    post,
    start_worker,
    stored_steps,
)
from stepwell import wire
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def attached(worker: Worker, **more: str) -> Session:
    session = Session(**more)
    status, _, _ = await post(worker, "/v1/attach", session.attach())
    assert status == 200
    return session


async def test_attach_answers_like_the_stream(worker: Worker) -> None:
    session = Session()
    status, reply, headers = await post(worker, "/v1/attach", session.attach())
    expected = {"type": "attached", "protocol": 1, "writer": "0", "epoch": 1, "next_seq": 0, "last_step": -1}
    assert (status, reply) == (
        200,
        {**expected, "run_id": reply["run_id"], "resumed": False, "rejected": [], "pace_ms": 50},
    )
    assert headers["Content-Type"] == "application/json"


async def test_frames_are_stored_when_the_answer_is_200(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    session = await attached(any_worker)
    frames = [session.frame(2), session.frame(2)]
    status, reply, _ = await post(any_worker, "/v1/frames", b"".join(frames))
    checksum = wire.peek(frames[1]).checksum
    told = {"next_seq": 2, "stored": 2, "duplicate": 0, "rejected": [], "checksum": checksum}
    assert (status, reply) == (200, {"writers": [{"session": session.id.hex(), **told}]})
    assert await stored_steps(any_pg) == [0, 1, 2, 3]
    status, reply, _ = await post(any_worker, "/v1/frames", b"".join(frames))
    assert (status, reply["writers"][0]["stored"], reply["writers"][0]["duplicate"]) == (200, 0, 2)
    assert await stored_steps(any_pg) == [0, 1, 2, 3]
    assert_empty(any_worker)


async def test_body_may_contain_several_sessions(worker: Worker, pg: asyncpg.Connection) -> None:
    sessions = [await attached(worker, writer=str(rank), run=f"run-{rank % 2}") for rank in range(4)]
    frames = [session.frame() for _ in range(3) for session in sessions]
    status, reply, _ = await post(worker, "/v1/frames", b"".join(frames))
    assert status == 200
    assert [(item["session"], item["stored"]) for item in reply["writers"]] == [(s.id.hex(), 3) for s in sessions]
    for session in sessions:
        assert await stored_steps(pg, session.writer, session.run) == [0, 1, 2]


async def test_failed_session_does_not_affect_others(worker: Worker, pg: asyncpg.Connection) -> None:
    good, ahead, unknown = await attached(worker), await attached(worker, writer="1"), Session(writer="2")
    ahead.frame()
    status, reply, _ = await post(worker, "/v1/frames", ahead.frame() + unknown.frame() + good.frame())
    assert (status, reply["error"]["code"], reply["error"]["expected"]) == (409, "sequence_gap", 0)
    assert [(item["session"], item["stored"]) for item in reply["writers"]] == [(good.id.hex(), 1)]
    assert await stored_steps(pg) == [0]


async def test_unknown_session_is_404(worker: Worker) -> None:
    for seq in (0, 5):
        status, reply, _ = await post(worker, "/v1/frames", make_frame(bytes(16), seq, [0]))
        assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (404, "unknown_writer", False)
        assert reply["error"]["message"] == "no writer has this session"
        assert reply["error"]["hint"].startswith("attach first (POST /v1/attach, or the first message of a stream)")


async def test_gap_and_conflict_are_409(worker: Worker) -> None:
    session = await attached(worker)
    first, _, third = session.frame(), session.frame(), session.frame()
    status, reply, _ = await post(worker, "/v1/frames", first + third)
    assert (status, reply["error"]["code"], reply["error"]["expected"]) == (409, "sequence_gap", 1)
    assert reply["writers"][0]["stored"] == 1
    status, reply, _ = await post(worker, "/v1/frames", make_frame(session.id, 0, [9]))
    assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (409, "sequence_conflict", False)


async def test_rejected_frame_is_422_and_others_are_stored(worker: Worker, pg: asyncpg.Connection) -> None:
    session = await attached(worker)
    body = make_frame(session.id, 0, [5]) + make_frame(session.id, 1, [5]) + make_frame(session.id, 2, [6])
    for stored in (2, 0):
        status, reply, _ = await post(worker, "/v1/frames", body)
        assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (422, "step_order", False)
        [told] = reply["writers"]
        assert (told["next_seq"], told["stored"], [item["seq"] for item in told["rejected"]]) == (3, stored, [1])
    assert await stored_steps(pg) == [5, 6]
    assert await pg.fetchval("SELECT count(*) FROM stepwell.rejections") == 1


async def test_body_without_frames_is_400(worker: Worker) -> None:
    bodies = [
        (b"", "usage", "the body holds no frame"),
        (b"garbage", "frame_corrupt", "a frame is cut off"),
        (bytes(64), "frame_corrupt", "these bytes are not a frame"),
    ]
    for body, code, message in bodies:
        status, reply, _ = await post(worker, "/v1/frames", body)
        assert (status, reply["error"]["code"], reply["error"]["message"]) == (400, code, message)
    assert_empty(worker)


async def test_damaged_or_newer_frame_is_400(worker: Worker, pg: asyncpg.Connection) -> None:
    session = await attached(worker)
    first, second = session.frame(), session.frame()
    status, reply, _ = await post(worker, "/v1/frames", first + flip(second))
    assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (400, "frame_corrupt", True)
    assert reply["writers"][0]["stored"] == 1
    status, reply, _ = await post(worker, "/v1/frames", first + second[:-8])
    assert (status, reply["error"]["message"]) == (400, "a frame is cut off")
    newer = bytearray(second)
    newer[4] = 9
    status, reply, _ = await post(worker, "/v1/frames", bytes(newer))
    assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (400, "frame_version", False)
    assert await stored_steps(pg) == [0]


async def test_oversized_body_is_413(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn, limits=Limits(message_bytes=1000, attach_bytes=1000)) as worker:
        session = await attached(worker)
        for path in ("/v1/frames", "/v1/attach"):
            status, reply, _ = await post(worker, path, session.frame(1000))
            assert (status, reply["error"]["code"]) == (413, "frame_too_large")
            assert reply["error"]["message"] == "the body is too large"
            assert reply["error"]["detail"].endswith("bytes; the limit is 1000")
            assert reply["error"]["hint"] == "send fewer frames in one body"
        assert_empty(worker)


async def test_compressed_or_unsized_body_is_400(worker: Worker) -> None:
    session = await attached(worker)
    frame = session.frame()

    async def chunks() -> AsyncIterator[bytes]:
        yield frame

    for path in ("/v1/frames", "/v1/attach"):
        status, reply, _ = await post(worker, path, frame, Content_Encoding="gzip")
        assert (status, reply["error"]["message"]) == (400, "a body must not be compressed")
        status, reply, _ = await post(worker, path, chunks())
        assert (status, reply["error"]["message"]) == (400, "a request must declare the length of its body")
        assert reply["error"]["hint"] == "set Content-Length; chunked bodies are not accepted"
    assert_empty(worker)


async def test_overload_is_answered_before_the_body_is_read(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    limits, timeouts = Limits(memory_bytes=1000), Timeouts(retry_after_s=2.5)
    async with start_worker(postgres_dsn, limits=limits, timeouts=timeouts) as worker:
        session = await attached(worker)
        frame = session.frame(100)
        worker.services.room.reserve_now(900)
        host, port = worker.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        # only the head of the request is sent: the answer does not need the body
        writer.write(b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(frame))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 3\r\n" in head
        body = await reader.readline()
        assert b'"code":"overloaded","retryable":true' in body
        assert b'"retry_after_s":2.5' in body
        writer.close()
        await writer.wait_closed()
        assert worker.services.room.held_bytes == 900
        worker.services.room.give_back(900)
        assert (await post(worker, "/v1/frames", frame))[0] == 200
        assert_empty(worker)
    assert await stored_steps(pg) == list(range(100))


async def test_missing_body_releases_its_room(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn, timeouts=Timeouts(body_s=0.05)) as worker:
        host, port = worker.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"the body did not arrive in time" in await reader.readline()
        assert_empty(worker)
        writer.close()
        await writer.wait_closed()


async def test_disconnect_inside_a_body_releases_room(worker: Worker) -> None:
    host, port = worker.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nabc")
    await eventually(lambda: worker.services.room.held_bytes == 5000)
    writer.close()
    await writer.wait_closed()
    await eventually(lambda: worker.services.room.held_bytes == 0)


async def test_frames_are_stored_after_a_disconnect(worker: Worker, pg: asyncpg.Connection) -> None:
    session = await attached(worker)
    async with pg.transaction():
        await pg.execute("LOCK TABLE stepwell.hot_block IN ACCESS EXCLUSIVE MODE")
        async with aiohttp.ClientSession() as http:
            posting = asyncio.create_task(http.post(f"{worker.url}/v1/frames", data=session.frame()))
            await eventually(lambda: not worker.services.batcher.idle)
            posting.cancel()
            await asyncio.gather(posting, return_exceptions=True)
    await eventually(lambda: worker.services.room.held_bytes == 0)
    assert await stored_steps(pg) == [0]
    assert_empty(worker)


async def test_concurrent_posts_of_a_session_are_ordered(worker: Worker, pg: asyncpg.Connection) -> None:
    session = await attached(worker)
    frames = [session.frame() for _ in range(12)]
    left = set(range(12))
    while left:
        replies = await asyncio.gather(*(post(worker, "/v1/frames", frames[seq]) for seq in sorted(left)))
        for seq, (status, reply, _) in zip(sorted(left), replies, strict=True):
            if status == 200:
                left.discard(seq)
            else:
                assert reply["error"]["code"] == "sequence_gap"
    assert await stored_steps(pg) == list(range(12))
    assert_empty(worker)
