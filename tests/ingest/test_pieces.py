"""Frames in pieces: whatever the cuts, the frames are the same, and partial frames never stop other connections."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.frames import frames
from fixtures.ingest import (
    PATIENCE_S,
    Client,
    Session,
    assert_empty,
    eventually,
    post,
    start_worker,
    stored_steps,
)
from stepwell import wire
from stepwell.errors import Error
from stepwell_ingest.api.pieces import Pieces
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.server.worker import Worker


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    """`raw` in pieces, cut at `places`; two equal places give an empty piece."""
    ends = [0, *sorted(place % (len(raw) + 1) for place in places), len(raw)]
    return [raw[start:end] for start, end in itertools.pairwise(ends)]


PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


@settings(max_examples=150, deadline=None)
@given(made=st.lists(frames(), max_size=5), places=PLACES)
def test_any_split_gives_the_same_frames(made: list[bytes], places: list[int]) -> None:
    pieces, whole, fed = Pieces(), [], 0
    for piece in cut(b"".join(made), places):
        fed += len(piece)
        for header, view in pieces.feed(piece):
            assert header == wire.peek(view)
            whole.append(bytes(view))
        assert pieces.kept == fed - sum(map(len, whole))
        begun = made[len(whole)] if pieces.kept >= wire.HEADER_BYTES else b""
        assert pieces.missing == (len(begun) - pieces.kept if begun else 0)
    assert (whole, pieces.kept, pieces.missing) == (made, 0, 0)


@given(made=frames())
@settings(max_examples=20, deadline=None)
def test_frame_may_arrive_byte_by_byte(made: bytes) -> None:
    pieces = Pieces()
    whole = [bytes(view) for at in range(len(made)) for _, view in pieces.feed(made[at : at + 1])]
    assert whole == [made]


@settings(max_examples=200, deadline=None)
@given(before=st.lists(frames(), max_size=2), garbage=st.binary(min_size=64, max_size=300), places=PLACES)
def test_garbage_is_an_error_after_valid_frames(before: list[bytes], garbage: bytes, places: list[int]) -> None:
    pieces, whole = Pieces(), []
    with pytest.raises(Error) as caught:
        for piece in cut(b"".join(before) + garbage, places):
            for _, view in pieces.feed(piece):
                whole.append(bytes(view))
    assert caught.value.code in ("frame_corrupt", "frame_version")
    assert whole == before


@settings(max_examples=100, deadline=None)
@given(made=frames(), at=st.integers(0, wire.HEADER_BYTES - 1), bit=st.integers(0, 7), places=PLACES)
def test_damaged_header_claims_no_bytes(made: bytes, at: int, bit: int, places: list[int]) -> None:
    damaged = bytearray(made)
    damaged[at] ^= 1 << bit
    pieces = Pieces()
    with pytest.raises(Error):
        for piece in cut(bytes(damaged), places):
            assert list(pieces.feed(piece)) == []
            assert pieces.missing == 0


LARGE = 12_000  # steps, for a frame of about 280 KiB


async def send(client: Client, raw: bytes, size: int = wire.MAX_MESSAGE_BYTES) -> None:
    for start in range(0, len(raw), size):
        await client.socket.send_bytes(raw[start : start + size])


@pytest.mark.db
@pytest.mark.parametrize("seed", range(4))
async def test_stream_split_anywhere_is_stored_once(worker: Worker, pg: asyncpg.Connection, seed: int) -> None:
    chance, session = random.Random(seed), Session()
    steps = [chance.choice([1, 10, 500, 5000]) for _ in range(20)]
    raw = b"".join(session.frame(count) for count in steps)
    async with Client(worker) as client:
        await client.attach(session)

        async def send_all() -> None:
            at = 0
            while at < len(raw):
                size = min(chance.choice([1, 63, 64, 65, 1000, 40_000, wire.MAX_MESSAGE_BYTES]), len(raw) - at)
                await client.socket.send_bytes(raw[at : at + size])
                at += size

        _, acks = await asyncio.gather(send_all(), client.hear_acks(20))
        assert (acks["stored"], acks["duplicate"], acks["rejected"]) == (20, 0, [])
    assert await stored_steps(pg) == list(range(sum(steps)))
    assert_empty(worker)


@pytest.mark.db
async def test_large_frame_holds_room_until_committed(worker: Worker) -> None:
    session = Session()
    small, large = session.frame(), session.frame(LARGE)
    async with Client(worker) as client:
        await client.attach(session)
        # the large frame begins in the message of a small one
        await client.socket.send_bytes(small + large[:100])
        assert (await client.hear())["next_seq"] == 1
        await eventually(lambda: worker.services.room.held_bytes == len(large))
        await send(client, large[100:-1], 30_000)
        assert cut_off(await client.attach(session))
        assert (await client.hear())["type"] == "closed"
        await eventually(lambda: not worker.services.streams)
        assert_empty(worker)
    async with Client(worker) as client:
        await client.attach(session)
        await send(client, large[:-1])
        await eventually(lambda: worker.services.room.held_bytes == len(large))
        await client.socket.send_bytes(large[-1:])
        assert (await client.hear())["stored"] == 1
    assert_empty(worker)


def cut_off(reply: dict[str, object]) -> bool:
    """Whether something other than the rest of a frame arrived."""
    return (reply["type"], reply["code"], reply["retryable"]) == ("error", "frame_corrupt", True)


@pytest.mark.db
async def test_disconnect_inside_a_frame_releases_room(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    large = session.frame(LARGE)
    async with Client(worker) as client:
        await client.attach(session)
        await send(client, large[:150_000])
        await eventually(lambda: worker.services.room.held_bytes == len(large))
        client.socket._response.close()  # without a close frame
        await eventually(lambda: not worker.services.streams)
    assert_empty(worker)
    async with Client(worker) as client:
        assert (await client.attach(session))["next_seq"] == 0
        assert (await client.exchange(large))["stored"] == 1
    assert await stored_steps(pg) == list(range(LARGE))


@pytest.mark.db
async def test_late_frame_releases_its_room(postgres_dsn: str) -> None:
    session = Session()
    large = session.frame(LARGE)
    async with start_worker(postgres_dsn, timeouts=Timeouts(body_s=0.05)) as worker:
        async with Client(worker) as client:
            await client.attach(session)
            error = await client.exchange(large[:1000])
            assert (error["type"], error["code"], error["retryable"]) == ("error", "unavailable", True)
            assert error["message"] == "a frame did not arrive in time"
            assert error["detail"] == f"{len(large) - 1000} bytes are missing after 0.05 s"
            assert (await client.hear())["type"] == "closed"
        await eventually(lambda: not worker.services.streams)
        assert_empty(worker)
        async with Client(worker) as client:
            await client.attach(session)
            await client.socket.send_bytes(large[:10])  # no header yet, so it claims nothing and has no deadline
            await asyncio.sleep(0.1)
            assert worker.services.room.held_bytes == 0
            await send(client, large[10:])
            assert (await client.hear())["stored"] == 1


@pytest.mark.db
async def test_partial_frames_do_not_deadlock(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    """Each message ends one frame and begins the next; together they need many times the available room."""
    sessions = [Session(writer=str(number)) for number in range(12)]
    size = len(Session().frame(3000))
    limits = Limits(memory_bytes=2 * size + 1000, connection_bytes=size + 1000)
    async with start_worker(postgres_dsn, limits=limits) as worker:

        async def deliver(session: Session) -> None:
            async with Client(worker) as client:
                await client.attach(session)
                raw = b"".join(session.frame(3000) for _ in range(5))
                _, acks = await asyncio.gather(send(client, raw, 50_001), client.hear_acks(5))
                assert acks["stored"] == 5

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*map(deliver, sessions))
        assert_empty(worker)
    for session in sessions:
        assert await stored_steps(pg, session.writer) == list(range(15_000))


@pytest.mark.db
async def test_incomplete_frames_block_others_for_bounded_time(postgres_dsn: str) -> None:
    session = Session(writer="good")
    idle = [Session(writer=str(number)) for number in range(6)]
    large = [item.frame(LARGE) for item in idle]
    limits, timeouts = Limits(memory_bytes=2 * len(large[0])), Timeouts(body_s=0.2)
    async with start_worker(postgres_dsn, limits=limits, timeouts=timeouts) as worker:
        clients = [Client(worker) for _ in idle]
        for client, item, frame in zip(clients, idle, large, strict=True):
            await client.__aenter__()
            await client.attach(item)
            await client.socket.send_bytes(frame[:100])
        await eventually(lambda: bool(worker.services.room._waiting))
        async with Client(worker) as client:
            await client.attach(session)
            assert (await client.exchange(session.frame()))["stored"] == 1
        for client in clients:
            assert (await client.hear())["message"] == "a frame did not arrive in time"
            await client.__aexit__()
        await eventually(lambda: not worker.services.streams)
        assert_empty(worker)


@pytest.mark.db
async def test_post_needs_whole_frames(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    await post(worker, "/v1/attach", session.attach())
    whole, half = session.frame(), session.frame()
    status, reply, _ = await post(worker, "/v1/frames", whole + half[:-1])
    assert (status, reply["error"]["code"], reply["writers"][0]["next_seq"]) == (400, "frame_corrupt", 1)
    assert await stored_steps(pg) == [0]
    assert_empty(worker)
