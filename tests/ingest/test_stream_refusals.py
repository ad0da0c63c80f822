"""Errors of the stream for invalid frames and messages; frames around them are not lost."""

from __future__ import annotations

from typing import Any

import aiohttp
import asyncpg
import pytest

from fixtures.ingest import (
    Client,
    Session,
    assert_empty,
    eventually,
    make_block,
    make_frame,
    post,
    start_worker,
    stored_steps,
)
from stepwell import wire
from stepwell_ingest.config import Limits
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def rejections(pg: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await pg.fetch(
        "SELECT seq, code, points, objects, first_step, last_step FROM stepwell.rejections ORDER BY seq"
    )
    return [tuple(row) for row in rows]


async def test_same_seq_with_other_bytes_is_a_conflict(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(session.frame())
        other = make_frame(session.id, 0, [77])
        ack = await client.exchange(other, session.frame())
        assert (ack["next_seq"], ack["stored"], ack["duplicate"]) == (2, 1, 0)
        [refused] = ack["rejected"]
        assert (refused["seq"], refused["code"], refused["retryable"]) == (0, "sequence_conflict", False)
        assert refused["message"] == "another frame with this seq was accepted"
        assert "writer 0, seq 0: checksum" in refused["detail"]
        assert refused["hint"] == "two processes may be using one spool"
    assert await stored_steps(pg) == [0, 1]


async def test_conflict_with_a_frame_in_flight(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        ack = await client.exchange(session.frame(), make_frame(session.id, 0, [5]))
        assert [item["code"] for item in ack["rejected"]] == ["sequence_conflict"]
    assert await stored_steps(pg) == [0]


async def test_gap_is_refused_with_the_expected_seq(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(4)]
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(frames[0])
        error = await client.exchange(frames[2])
        assert (error["type"], error["code"], error["retryable"]) == ("error", "sequence_gap", True)
        assert error["expected"] == 1
        assert error["detail"] == "seq 2, expected 1"
        assert (await client.hear())["type"] == "closed"
    async with Client(worker) as client:
        assert (await client.attach(session))["next_seq"] == 1
        assert (await client.exchange(*frames[1:]))["stored"] == 3
    assert await stored_steps(pg) == [0, 1, 2, 3]
    assert_empty(worker)


async def test_frames_before_a_gap_are_stored(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(4)]
    async with Client(worker) as client:
        await client.attach(session)
        ack = await client.exchange(frames[0], frames[1], frames[3])
        assert (ack["next_seq"], ack["stored"]) == (2, 2)
        assert (await client.hear())["expected"] == 2
    assert await stored_steps(pg) == [0, 1]


@pytest.mark.parametrize(
    ("steps", "message", "detail"),
    [
        ([[5, 5]], "steps do not increase inside a frame", "step 5 follows 5"),
        ([[5, 9, 7]], "steps do not increase inside a frame", "step 7 follows 9"),
        ([[2, 3]], "steps go back", "the frame begins at step 2, but the writer is already at 2"),
        ([[5, 7], [6, 7]], "a step occurs in two blocks of a frame", "seq 1"),
        ([[-4, 9]], "steps go back", "the frame begins at step -4, but the writer is already at 2"),
    ],
    ids=["equal", "back", "before the last frame", "across blocks", "negative"],
)
async def test_decreasing_steps_are_rejected_and_later_frames_stored(
    worker: Worker, pg: asyncpg.Connection, steps: list[list[int]], message: str, detail: str
) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(session.frame(3))
        blocks = [make_block(item, [f"key{number}", "loss"]) for number, item in enumerate(steps)]
        bad = make_frame(session.id, 1, [], blocks=blocks, objects=[(steps[0][0], "note", 1)])
        ack = await client.exchange(bad, make_frame(session.id, 2, [10]))
        assert (ack["next_seq"], ack["stored"], ack["duplicate"]) == (3, 1, 0)
        [refused] = ack["rejected"]
        assert (refused["seq"], refused["code"], refused["retryable"]) == (1, "step_order", False)
        assert (refused["message"], refused["detail"]) == (message, detail)
        every = [step for item in steps for step in item]
        assert await rejections(pg) == [(1, "step_order", 2 * len(every), 1, min(every), max(every))]
        row = await pg.fetchrow("SELECT points, objects, rejected, last_step FROM stepwell.runs")
        assert tuple(row) == (4, 0, 1, 10)

        again = await client.exchange(bad)
        assert (again["stored"], again["duplicate"], again["next_seq"]) == (0, 1, 2)
        [heard] = again["rejected"]
        assert (heard["seq"], heard["code"]) == (1, "step_order")
        assert message in heard["message"]
        assert detail in heard["message"]
    assert await stored_steps(pg) == [0, 1, 2, 10]
    assert len(await rejections(pg)) == 1


async def test_refused_frame_does_not_move_the_step(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        frames = [make_frame(session.id, 0, [1000, 999]), make_frame(session.id, 1, [0])]
        ack = await client.exchange(*frames)
        assert (ack["stored"], len(ack["rejected"])) == (1, 1)
    assert await stored_steps(pg) == [0]


async def test_invalid_text_message_is_reported(worker: Worker) -> None:
    texts = {
        "garbage": "a text message is not JSON",
        "[1, 2]": "unknown type of message",
        '{"type": "hello"}': "unknown type of message",
        '{"type": "finish", "exit_code": "0"}': "'exit_code' must be a 32-bit integer",
        '{"type": "finish", "exit_code": 4294967296}': "'exit_code' must be a 32-bit integer",
        '{"type": "attach", "protocol": 2}': "protocol version 2 is not supported",
    }
    for text, message in texts.items():
        async with Client(worker) as client:
            await client.attach(Session())
            await client.socket.send_str(text)
            error = await client.hear()
            assert (error["type"], error["code"], error["message"]) == ("error", "usage", message)
            assert (await client.hear()) == {"type": "closed", "code": 1013}


async def test_attach_must_come_first(worker: Worker) -> None:
    async with Client(worker) as client:
        assert (await client.exchange(Session().frame()))["message"] == "frames arrived before the attach message"
    async with Client(worker) as client:
        assert (await client.finish())["message"] == "a finish message arrived before the attach message"
    assert_empty(worker)


async def test_oversized_message_closes_the_stream(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame(), session.frame(5000)]
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(frames[0])
        await client.socket.send_bytes(frames[1][: wire.MAX_MESSAGE_BYTES + 1])
        assert await client.hear() == {"type": "closed", "code": 1009}
    async with Client(worker) as client:
        assert (await client.attach(session))["next_seq"] == 1
        assert (await client.exchange(frames[1]))["stored"] == 1  # in pieces
    assert await stored_steps(pg) == list(range(5001))
    assert_empty(worker)


async def test_message_at_the_limit_is_accepted(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frame = make_frame(session.id, 0, [0], objects=[(0, "filler", "x")])
    filler = "x" * (wire.MAX_MESSAGE_BYTES - len(frame) + 1)
    frame = make_frame(session.id, 0, [0], objects=[(0, "filler", filler)])
    assert len(frame) == wire.MAX_MESSAGE_BYTES
    async with Client(worker) as client:
        await client.attach(session)
        await client.socket.send_bytes(frame)
        assert (await client.hear())["stored"] == 1
    assert await stored_steps(pg) == [0]


async def test_oversized_attach_closes_the_stream_and_works_by_post(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    message = session.attach(info={"config": {"text": "x" * wire.MAX_MESSAGE_BYTES}})
    async with Client(worker) as client:
        await client.say(message)
        assert await client.hear() == {"type": "closed", "code": 1009}
    assert await pg.fetchval("SELECT count(*) FROM stepwell.runs") == 0
    status, reply, _ = await post(worker, "/v1/attach", message)
    assert (status, reply["epoch"]) == (200, 1)
    async with Client(worker) as client:
        assert (await client.attach(session))["run_id"] == reply["run_id"]
    assert await pg.fetchval("SELECT length(config->>'text') FROM stepwell.runs") == wire.MAX_MESSAGE_BYTES


async def test_stream_over_the_limit_is_told_to_retry(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn, limits=Limits(streams=2)) as worker:
        async with Client(worker) as one, Client(worker) as two:
            await one.attach(Session())
            await two.attach(Session(writer="1"))
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await Client(worker).__aenter__()
            assert caught.value.status == 503
            assert caught.value.headers is not None
            assert caught.value.headers["Retry-After"] == "1"
        await eventually(lambda: not worker.services.streams)
        async with Client(worker) as client:
            assert (await client.attach(Session()))["type"] == "attached"


async def test_empty_message_is_ignored(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        await client.send(b"")
        assert (await client.exchange(session.frame()))["stored"] == 1
    assert_empty(worker)


async def test_tombstone_uses_its_seq_and_is_recorded(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        tombstone = wire.encode_tombstone(session.id, 0, dropped=123)
        ack = await client.exchange(tombstone, make_frame(session.id, 1, [0]))
        assert (ack["next_seq"], ack["stored"]) == (2, 1)
        [refused] = ack["rejected"]
        assert (refused["code"], refused["detail"]) == ("dropped", "it held 123 values")
    assert await rejections(pg) == [(0, "dropped", 123, 0, None, None)]
    assert await stored_steps(pg) == [0]
