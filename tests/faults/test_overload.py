"""More load than the server can handle: memory stays bounded, refused frames are retried, acknowledged ones are stored.

Each test has a worker in a separate process, so that its memory can be measured. The long run with ten thousand slow
clients is `python -m faults.slow_clients`.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import numpy as np
import orjson
import pytest

from faults.real_server import RealServer, worker_process
from faults.slow_clients import SlowClient, check_stored, kinds_of, run_phase
from fixtures.postgres import temporary_directory
from stepwell import wire
from stepwell.delivery.stream import Stream
from stepwell.settings import Limits as SdkLimits
from stepwell.settings import Timeouts as SdkTimeouts
from stepwell.transport.endpoint import Endpoint
from stepwell_ingest.config import Limits, Timeouts

MIB = 1 << 20
SMALL = Limits(memory_bytes=4 * MIB, connection_bytes=MIB, batch_bytes=MIB, copiers=1)
#: The memory that a worker with `SMALL` may use beyond its idle size: the frames that it holds, copies of these bytes
#: in aiohttp and asyncpg, and slack of the allocator.
SMALL_BOUND_MIB = 40
#: The memory that one slow client may use: a partial message of 64 KiB, and the connection.
SLOW_CLIENT_KIB = 128

STREAMS, POSTERS, FRAMES = 8, 8, 30


@pytest.fixture
def start(postgres_dsn: str) -> Iterator[Callable[..., RealServer]]:
    """Starts a worker process with these limits."""
    with ExitStack() as exits:

        def worker(limits: Limits = Limits(), timeouts: Timeouts = Timeouts(retry_after_s=0.05)) -> RealServer:  # noqa: B008
            directory = exits.enter_context(temporary_directory())
            server = exits.enter_context(worker_process(postgres_dsn, directory, limits, timeouts))
            exits.callback(lambda: _assert_silent(server))
            return server

        yield worker


def _assert_silent(server: RealServer) -> None:
    assert server.log() == ""


class Prebuilt:
    """A source of prebuilt frames of at least 100 KiB for a stream."""

    def __init__(self, count: int, rows: int = 128) -> None:
        self.session = secrets.token_bytes(16)
        steps, names = np.arange(rows), wire.pack_names([f"m/{key}" for key in range(100)])
        blocks = [wire.Block(names, seq * rows + steps, steps, np.ones((100, rows))) for seq in range(count)]
        self.frames = [wire.encode(self.session, seq, [block]) for seq, block in enumerate(blocks)]
        self.next_seq, self.first_seq = count, 0

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        return self.frames[from_seq : from_seq + 1]

    def acknowledge(self, next_seq: int) -> None:
        self.first_seq = next_seq

    def attach(self) -> dict[str, Any]:
        names = {"entity": "default", "project": "overload", "run": "r", "writer": self.session.hex()}
        return {"type": "attach", "protocol": 1, **names, "session": self.session.hex(), "info": {}}


async def stream(url: str, source: Prebuilt) -> None:
    """Delivers all frames as the SDK does."""
    refused: list[Any] = []
    timeouts = SdkTimeouts(retry_min_s=0.01, retry_max_s=0.1)
    made = Stream(Endpoint.of(url), source, source.attach, SdkLimits(), timeouts, lambda *why: refused.append(why))
    made.finish(0)
    await made.run()
    assert (made.failed, refused, made.counts.frames_stored) == (None, [], len(source.frames))


async def post(url: str, source: Prebuilt, answers: Counter[int]) -> None:
    """Delivers all frames by POST; resends a frame that is refused for lack of room until it is accepted."""
    async with aiohttp.ClientSession(url) as http:
        while (await http.post("/v1/attach", data=orjson.dumps(source.attach()))).status == 503:
            answers[503] += 1
            await asyncio.sleep(0.05)
        while source.first_seq < source.next_seq:
            async with http.post("/v1/frames", data=source.frames[source.first_seq]) as answer:
                answers[answer.status] += 1
                reply = orjson.loads(await answer.read())
            if answer.status == 200:
                source.acknowledge(reply["writers"][0]["next_seq"])
            else:
                assert reply["error"]["code"] == "overloaded", reply
                assert int(answer.headers["Retry-After"]) >= 1
                await asyncio.sleep(reply["error"]["retry_after_s"])


@asynccontextmanager
async def postgres_that_takes_nothing(dsn: str) -> AsyncIterator[None]:
    """Makes every COPY wait for a lock while the block runs."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE stepwell.hot_block IN SHARE MODE")
            yield
    finally:
        await connection.close()


async def status(server: RealServer) -> dict[str, Any]:
    async with aiohttp.ClientSession(server.url) as http, http.get("/v1/status") as answer:
        return dict(orjson.loads(await answer.read()))


@pytest.mark.slow
async def test_tenfold_overload_arrives_eventually(
    start: Callable[..., RealServer], postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    server = start(SMALL)
    sources = [Prebuilt(FRAMES) for _ in range(STREAMS + POSTERS)]
    offered = sum(len(frame) for source in sources for frame in source.frames)
    assert offered >= 10 * SMALL.memory_bytes
    idle = server.rss_mib()
    answers: Counter[int] = Counter()
    async with postgres_that_takes_nothing(postgres_dsn):
        work = [asyncio.create_task(stream(server.url, source)) for source in sources[:STREAMS]]
        while (held := (await status(server))["held_bytes"]) < SMALL.memory_bytes - MIB:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        posts = [asyncio.create_task(post(server.url, source, answers)) for source in sources[STREAMS:]]
        while answers[503] < 20:
            assert not any(task.done() for task in posts), posts
            await asyncio.sleep(0.05)
        held = max(held, (await status(server))["held_bytes"])
    await asyncio.gather(*work, *posts)
    assert held <= SMALL.memory_bytes
    stored = await pg.fetch(
        "SELECT session::text, array_agg(seq ORDER BY seq) AS seqs, next_seq FROM stepwell.hot_block"
        " JOIN stepwell.ledger USING (run_id, writer_id, epoch) GROUP BY session, next_seq"
    )
    assert {row["session"].replace("-", ""): (row["seqs"], row["next_seq"]) for row in stored} == {
        source.session.hex(): (list(range(FRAMES)), FRAMES) for source in sources
    }
    assert server.peak_mib() - idle < SMALL_BOUND_MIB


async def test_stuck_copy_is_cancelled_and_retried(
    start: Callable[..., RealServer], postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    server = start(timeouts=Timeouts(statement_s=0.2))
    source = Prebuilt(2, rows=8000)  # more than the socket buffer holds, so the timeout expires between two pieces
    made = Stream(
        Endpoint.of(server.url), source, source.attach, SdkLimits(), SdkTimeouts(retry_min_s=0.01), lambda *_: None
    )
    made.finish(0)
    async with postgres_that_takes_nothing(postgres_dsn):
        delivery = asyncio.create_task(made.run())
        while made.counts.connections < 3:  # noqa: ASYNC110 - a counter of the stream
            await asyncio.sleep(0.01)
        why = made.last_error
    await delivery
    assert "Postgres could not store a batch (TimeoutError)" in str(why)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.hot_block") == 2


async def test_long_stall_closes_no_connection(start: Callable[..., RealServer], postgres_dsn: str) -> None:
    """The client does not take a full server for dead, nor the server a client whose pong it has not read yet."""
    server = start(SMALL, Timeouts(heartbeat_s=0.3))
    sources = [Prebuilt(FRAMES) for _ in range(STREAMS)]
    timeouts = SdkTimeouts(retry_min_s=0.01, retry_max_s=0.1, heartbeat_s=0.3)
    streams = [
        Stream(Endpoint.of(server.url), each, each.attach, SdkLimits(), timeouts, lambda *_: None) for each in sources
    ]
    async with postgres_that_takes_nothing(postgres_dsn):
        for made in streams:
            made.finish(0)
        work = [asyncio.create_task(made.run()) for made in streams]
        while (await status(server))["held_bytes"] < SMALL.memory_bytes - MIB:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await asyncio.sleep(3)
        open_then = (await status(server))["streams"]
    await asyncio.gather(*work)
    assert open_then == STREAMS
    assert [made.counts.connections for made in streams] == [1] * STREAMS
    assert sum(made.counts.frames_duplicate for made in streams) == 0


@pytest.mark.slow
async def test_slow_clients_hold_only_their_partial_messages(
    start: Callable[..., RealServer], postgres_dsn: str
) -> None:
    server = start()
    clients = [SlowClient(server.url, kind, number) for number, kind in enumerate(kinds_of(300))]
    writers = [client.session for client, kind in zip(clients, kinds_of(300), strict=True) if kind == "writer"]
    idle = server.rss_mib()
    for phase in ("connect", "upgrade", "attach", "dribble"):
        await run_phase(clients, phase)
    honest = Prebuilt(3)
    await stream(server.url, honest)
    assert (server.peak_mib() - idle) * 1024 < SLOW_CLIENT_KIB * len(clients)
    await run_phase(clients, "complete")
    assert [client.session for client in clients if client.acknowledged] == writers
    await run_phase(clients, "close")
    await check_stored(postgres_dsn, writers)


def bomb(encoding: str) -> bytes:
    """Sends half a gigabyte of zeros in half a megabyte."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, {"gzip": 31, "deflate": 15}[encoding])
    piece = bytes(MIB)
    first, again = (deflate.compress(piece) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + again * 511


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_decompression_bomb_is_never_inflated(encoding: str, start: Callable[..., RealServer]) -> None:
    server, body = start(), bomb(encoding)
    idle = server.rss_mib()
    async with aiohttp.ClientSession(server.url) as http:
        for path in ("/v1/frames", "/v1/attach"):
            async with http.post(path, data=body, headers={"Content-Encoding": encoding}) as answer:
                reply = orjson.loads(await answer.read())
            assert (answer.status, reply["error"]["message"]) == (400, "a body must not be compressed")
    assert server.peak_mib() - idle < 16


@pytest.mark.parametrize("path", ["/v1/frames", "/v1/attach"])
async def test_bytes_after_a_refused_body_are_not_inflated(path: str, start: Callable[..., RealServer]) -> None:
    """A server that inflated the body would fail on these bytes and close the connection."""
    server = start()
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    body = b"no gzip at all " * 1000
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answers = (await reader.read()).decode()
    writer.close()
    assert answers.count("HTTP/1.1 400") == 1
    assert answers.count("HTTP/1.1 200") == 1


async def test_message_compression_is_not_accepted(start: Callable[..., RealServer]) -> None:
    client = SlowClient(start().url, "writer", 0)
    await client.connect()
    await client.upgrade()  # offers permessage-deflate, and checks that the answer does not accept it
    await client.attach()
    client._writer.write(bytes([0xC2, 0x80 | 4, 0, 0, 0, 0]) + zlib.compress(bytes(100))[:4])  # RSV1: compressed
    with pytest.raises(ConnectionError, match="closed by the server"):
        await client._receive()
    await client.close()


async def test_oversized_body_is_refused_before_it_arrives(start: Callable[..., RealServer]) -> None:
    server = start()
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n")
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 413")
