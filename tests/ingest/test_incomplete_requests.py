"""A connection without a complete request head is closed; one with a request in progress is not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import orjson
import pytest

from fixtures.ingest import PATIENCE_S, Client, Session, eventually, start_worker
from stepwell_ingest.config import Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

HEAD_S = 0.3
HALF = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: "
WHOLE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def worker(postgres_dsn: str) -> AsyncIterator[Worker]:
    async with start_worker(postgres_dsn, timeouts=Timeouts(head_s=HEAD_S)) as made:
        yield made


async def connect(worker: Worker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = worker.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize("said", [b"", b"G", HALF, WHOLE, WHOLE + HALF], ids=["nothing", "a byte", "half", "1", "1½"])
async def test_incomplete_heads_are_closed(worker: Worker, said: bytes) -> None:
    reader, writer = await connect(worker)
    writer.write(said)
    async with asyncio.timeout(PATIENCE_S):
        answers = await reader.read()  # until the end of the connection
    assert answers.count(b"200 OK") == said.count(WHOLE)
    writer.close()


async def test_endless_head_is_closed(worker: Worker) -> None:
    reader, writer = await connect(worker)
    writer.write(HALF)
    ended = asyncio.create_task(reader.read())
    async with asyncio.timeout(PATIENCE_S):
        while not ended.done():
            writer.write(b"x")
            await asyncio.sleep(HEAD_S / 10)
    with contextlib.suppress(ConnectionError):  # a reset, if bytes were still in flight
        assert await ended == b""
    writer.close()


async def test_idle_streams_and_slow_bodies_are_served(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        body = orjson.dumps(Session(run="run-2").attach())
        reader, writer = await connect(worker)
        head = (
            f"POST /v1/attach HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[:10])
        idle, idle_writer = await connect(worker)
        await idle.read()  # closed: the other two have lasted as long
        idle_writer.close()
        writer.write(body[10:])
        assert b"200 OK" in await reader.read()
        writer.close()
        assert (await client.exchange(session.frame()))["stored"] == 1
    await eventually(lambda: not worker.services.streams)
