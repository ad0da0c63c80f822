"""Floods that are cheap to send: each is limited, and valid requests among them succeed later."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from fixtures.ingest import PATIENCE_S, Client, Session, post
from fixtures.reads import ask, frame, store
from stepwell.errors import OverloadedError
from stepwell_ingest.config import MIB, Config, Limits, Reads
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.admission import Rate
from stepwell_ingest.write.space import Space

pytestmark = pytest.mark.db


@asynccontextmanager
async def serving(dsn: str, **settings: Any) -> AsyncIterator[Worker]:
    worker = Worker(replace(Config(dsn, port=0), **settings))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@pytest.mark.parametrize("filler", ["one header", "many headers", "a second request behind the first"])
async def test_request_head_is_bounded(postgres_dsn: str, filler: str) -> None:
    async with serving(postgres_dsn) as worker:
        host, _, port = worker.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        first = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        if filler.startswith("a second"):
            writer.write(first + b"\r\n")
        writer.write(first)
        line = b"X-%d: " + b"x" * (200_000 if filler == "many headers" else 100_000_000)
        sent = 0
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionError):
                while sent < 100 * MIB:
                    for number in range(100):
                        for start in range(0, len(line), 65536):
                            piece = (line % number if not start else line[start : start + 65536])[:65536]
                            writer.write(piece)
                            sent += len(piece)
                            await writer.drain()
                        writer.write(b"\r\n")
        assert sent < 20 * MIB  # the contents of kernel buffers, and no more
        writer.close()
        del reader


async def test_bodies_and_streams_do_not_count_as_heads(postgres_dsn: str) -> None:
    async with serving(postgres_dsn, limits=Limits(head_bytes=1 * MIB)) as worker:
        session = Session()
        body = session.attach(info={"config": {"text": "x" * 900_000}})
        async with aiohttp.ClientSession() as http:
            for _ in range(3):  # on one connection
                async with http.post(f"{worker.url}/v1/attach", json=body) as reply:
                    assert reply.status == 200, await reply.text()
        async with Client(worker) as client:
            other = Session(run="run-2")
            await client.attach(other)
            for number in range(20):
                answer = await client.exchange(
                    frame(other, [number], {"loss": [1.0]}, objects=[(number, "text", "y" * 99_000)])
                )
                assert answer["stored"] == 1, answer


async def test_large_attaches_wait_their_turn(postgres_dsn: str) -> None:
    limits = Limits(attach_burst_bytes=2 * MIB, attach_bytes_per_s=MIB)
    async with serving(postgres_dsn, limits=limits) as worker:
        refused = 0
        for number in range(5):
            session = Session(run=f"run-{number}")
            message = session.attach(info={"config": {"text": "x" * 900_000}})
            while True:
                status, answer, headers = await post(worker, "/v1/attach", message)
                if status == 200:
                    break
                assert (status, answer["error"]["code"], answer["error"]["retryable"]) == (503, "overloaded", True)
                assert int(headers["Retry-After"]) >= 1
                refused += 1
                await asyncio.sleep(answer["error"]["retry_after_s"])
        assert refused
        status, answer = await ask(worker, "/v1/runs", path="team/mnist")
        assert (status, answer["total"]) == (200, 5)


def test_rate_limit_and_retry_time() -> None:
    now = [0.0]
    rate = Rate(100, 10, lambda: now[0])
    rate.take(100)
    with pytest.raises(OverloadedError) as refused:
        rate.take(30)
    assert refused.value.retry_after_s == 3.0
    now[0] += 3.0
    rate.take(30)
    now[0] += 1000
    rate.take(1_000_000)  # a request larger than the limit counts as the limit
    with pytest.raises(OverloadedError):
        rate.take(1)


async def test_slow_regex_does_not_block_reads(postgres_dsn: str) -> None:
    reads = Reads(connections=2, costly=1, costly_s=0.5, wait_s=0.2)
    async with serving(postgres_dsn, reads=reads) as worker:
        await store(worker, Session(), info={"notes": "a" * 501 + "x"})
        # An odd number of letters is never a repetition, so Postgres tries every way to split it.
        costly = orjson.dumps({"notes": {"$regex": r"^(.+)(.+)(.+)(.+)\1\2\3\4x$"}}).decode()
        asked = [asyncio.create_task(ask(worker, "/v1/runs", path="team/mnist", filters=costly)) for _ in range(4)]
        await asyncio.sleep(0)
        statuses = set()
        while not all(task.done() for task in asked):
            status, _ = await ask(worker, "/v1/runs", path="team/mnist", limit=1)
            statuses.add(status)
        assert statuses <= {200}
        answers = [await task for task in asked]
        assert {400} <= {status for status, _ in answers} <= {400, 503}
        for status, answer in answers:
            if status == 400:
                assert answer["error"]["message"] == "the read took longer than 0.5 s"


async def test_frames_and_files_are_refused_before_the_disk_is_full(
    postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    monkeypatch.setattr("stepwell_ingest.write.space._PART", 1e9)  # the reserve may exceed the free space
    blobs = str(tmp_path / "blobs")
    settings = {"blobs": blobs, "data_dir": str(tmp_path)}
    async with serving(postgres_dsn, limits=Limits(free_bytes=free * 2), **settings) as worker:
        session = Session()
        await store(worker, session)
        sent = session.frame()
        status, answer, headers = await post(worker, "/v1/frames", sent)
        assert (status, answer["error"]["code"], answer["error"]["retryable"]) == (503, "overloaded", True)
        assert "nearly full" in answer["error"]["message"]
        assert int(headers["Retry-After"]) >= 1
        async with Client(worker) as client:
            await client.attach(Session(run="run-2"))
            assert "nearly full" in str(await client.exchange(sent))
    async with serving(postgres_dsn, limits=Limits(free_bytes=free * 2 // 3), **settings) as worker:
        status, answer, _ = await post(worker, "/v1/frames", sent)
        assert status == 200, answer
        async with (
            aiohttp.ClientSession() as http,
            http.put(f"{worker.url}/v1/blobs/{'0' * 64}", data=b"x", headers={"Content-Length": "1"}) as reply,
        ):
            assert reply.status == 503, await reply.text()
            assert "accepts no files" in await reply.text()


def test_disk_reserve_is_relative_and_local(tmp_path: Path) -> None:
    Space(str(tmp_path / "not-there"), None, 2**60).check_frames()
    Space(None, None, 2**60).check_files()
    disk = os.statvfs(tmp_path)
    if disk.f_bavail > 0.11 * disk.f_blocks:
        Space(str(tmp_path), str(tmp_path), 2**60).check_files()
