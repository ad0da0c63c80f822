"""Frames that are inconsistent, of another version or of another session, sent over a real stream."""

from __future__ import annotations

import struct
import zlib

import asyncpg
import pytest

from fixtures.ingest import Client, Session, assert_empty, flip, make_block, make_frame, stored_steps
from stepwell import wire
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


def forged(frame: bytes, offset: int, value: int) -> bytes:
    """`frame` with another uint32 in its header and correct checksums."""
    raw = bytearray(frame)
    struct.pack_into("<I", raw, offset, value)
    struct.pack_into("<I", raw, 12, zlib.crc32(raw[64:]))
    struct.pack_into("<I", raw, 60, zlib.crc32(raw[:60]))
    return bytes(raw)


@pytest.mark.parametrize(
    ("at", "message"),
    [(-1, "a frame is damaged"), (70, "a frame is damaged"), (40, "header of a frame is damaged"), (0, "not a frame")],
)
async def test_flipped_bit_is_retryable(worker: Worker, pg: asyncpg.Connection, at: int, message: str) -> None:
    session = Session()
    frames = [session.frame() for _ in range(3)]
    async with Client(worker) as client:
        await client.attach(session)
        ack = await client.exchange(frames[0], flip(frames[1], at), frames[2])
        assert (ack["next_seq"], ack["stored"]) == (1, 1)
        error = await client.hear()
        assert (error["code"], error["retryable"]) == ("frame_corrupt", True)
        assert message in error["message"]
        assert (await client.hear())["type"] == "closed"
    async with Client(worker) as client:
        assert (await client.attach(session))["next_seq"] == 1
        assert (await client.exchange(*frames[1:]))["stored"] == 2
    assert await stored_steps(pg) == [0, 1, 2]
    assert await pg.fetchval("SELECT count(*) FROM stepwell.rejections") == 0
    assert_empty(worker)


async def test_wrong_counts_are_reported(worker: Worker) -> None:
    lies = [
        (40, 10**9, "the header of a frame has impossible values"),  # blocks
        (40, wire.MAX_BLOCKS, "a block"),
        (44, 10**9, "a frame claims more objects than it holds"),
        (48, 10**9, "a frame miscounts its points"),
        (64, 10**9, "a block exceeds its frame"),  # K
        (68, 10**9, "a block exceeds its frame"),  # S
        (72, 10**9, "a block exceeds its frame"),  # names
        (8, 2**24 + 8, "the header of a frame has impossible values"),  # length
    ]
    for offset, value, message in lies:
        session = Session()
        async with Client(worker) as client:
            await client.attach(session)
            error = await client.exchange(forged(session.frame(), offset, value))
            assert (error["type"], error["code"], error["retryable"]) == ("error", "frame_corrupt", True)
            assert message in error["message"]
    assert_empty(worker)


@pytest.mark.parametrize("kept", [1, wire.HEADER_BYTES - 1, wire.HEADER_BYTES, wire.HEADER_BYTES + 20, -1])
async def test_truncated_frame_is_reported(worker: Worker, pg: asyncpg.Connection, kept: int) -> None:
    session = Session()
    frames = [session.frame() for _ in range(2)]
    async with Client(worker) as client:
        await client.attach(session)
        assert (await client.exchange(frames[0], frames[1][:kept]))["next_seq"] == 1
        error = await client.finish()
        assert (error["type"], error["code"], error["retryable"]) == ("error", "frame_corrupt", True)
        assert error["message"] == "a frame is cut off"
        assert (await client.hear())["type"] == "closed"
        assert await pg.fetchval("SELECT state FROM stepwell.runs") == "running"
        assert_empty(worker)
    async with Client(worker) as client:
        assert (await client.attach(session))["next_seq"] == 1
        assert (await client.exchange(frames[1]))["stored"] == 1
    assert await stored_steps(pg) == [0, 1]


async def test_wrong_length_stores_nothing(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(3)]
    longer = forged(frames[1], 8, len(frames[1]) + 72)
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(frames[0], longer)
        error = await client.exchange(frames[2])
        assert (error["type"], error["code"], error["retryable"]) == ("error", "frame_corrupt", True)
    assert await stored_steps(pg) == [0]
    assert_empty(worker)


async def test_frame_of_a_newer_version_is_rejected(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    newer = bytearray(session.frame())
    newer[4] = 2
    async with Client(worker) as client:
        await client.attach(session)
        error = await client.exchange(bytes(newer))
        assert (error["code"], error["retryable"]) == ("frame_version", False)
        assert error["message"] == "a frame of format version 2 cannot be read"
        assert error["hint"] == "upgrade the older side; the frame stays in the spool until then"
    assert await stored_steps(pg) == []


async def test_frame_of_another_session_is_refused(worker: Worker, pg: asyncpg.Connection) -> None:
    mine, other = Session(), Session(run="run-2")
    async with Client(worker) as client:
        await client.attach(other)
        await client.attach(mine)
        ack = await client.exchange(mine.frame(), other.frame())
        assert (ack["next_seq"], ack["stored"]) == (1, 1)
        error = await client.hear()
        assert (error["code"], error["retryable"]) == ("wrong_run", False)
        assert error["message"] == "a frame belongs to a different writer than the one that attached"
        assert error["detail"] == f"session {other.id.hex()}, attached as {mine.id.hex()}"
    assert await stored_steps(pg) == [0]
    assert await stored_steps(pg, run="run-2") == []
    assert_empty(worker)


async def test_wrong_names_reject_only_their_frame(worker: Worker, pg: asyncpg.Connection) -> None:
    session, neighbour = Session(), Session(writer="1")
    honest = make_block([5])
    lying = wire.Block(honest.names, honest.steps, honest.times, honest.values.repeat(3, axis=0))
    async with Client(worker) as client, Client(worker) as other:
        await client.attach(session)
        await other.attach(neighbour)
        await client.exchange(session.frame())  # from here on, the name is known
        await client.send(make_frame(session.id, 1, [], blocks=[lying]), make_frame(session.id, 2, [6]))
        await other.send(neighbour.frame())
        ack = await client.hear()
        assert (ack["next_seq"], ack["stored"]) == (3, 1)
        assert [(item["seq"], item["code"], item["retryable"]) for item in ack["rejected"]] == [(1, "rows", False)]
        assert (await other.hear())["stored"] == 1
        # the same in one frame, for a new name
        new = make_block([7], ["new"])
        both = [new, lying._replace(names=new.names, steps=new.steps + 1)]
        ack = await client.exchange(make_frame(session.id, 3, [], blocks=both))
        assert [item["code"] for item in ack["rejected"]] == ["rows"]
    assert await stored_steps(pg) == [0, 6]
