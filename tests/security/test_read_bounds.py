"""Reads use bounded memory: pages, summaries, lists and SQL, for clients that read and clients that stall.

The worker is a separate process, whose peak memory the kernel records (VmHWM).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson
import pytest

from faults.real_server import RealServer, worker_process
from fixtures.ingest import eventually
from fixtures.postgres import Clusters
from stepwell_ingest.config import MIB, Reads

pytestmark = [pytest.mark.db, pytest.mark.slow]

RUN = "/v1/runs/team/wide/run-1"
VALUE_BYTES = 3_000_000
CONFIG_BYTES = 1_500_000
VALUES = 12
#: An idle worker has about 70 MiB. All values of a key have 34, and several times that as rows, texts and bodies.
PEAK_MIB = 160
SMALL = Reads(answer_bytes=4 * MIB, memory_bytes=16 * MIB, wait_s=0.5, send_s=2.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, clusters: Clusters) -> Iterator[RealServer]:
    place = tmp_path_factory.mktemp("worker")
    with clusters.database("18-embedded") as dsn, worker_process(dsn, place, reads=SMALL) as server:
        asyncio.run(_fill(dsn, server.url))
        yield server


async def _fill(dsn: str, url: str) -> None:
    """Runs with large configs; the first has large objects under one key, and in its summary."""
    async with aiohttp.ClientSession(url) as http:
        for number in range(1, VALUES + 1):
            body = {"entity": "team", "project": "wide", "run": f"run-{number}", "writer": "0"}
            body |= {"type": "attach", "session": f"{number:032x}", "protocol": 1, "info": {}}
            async with http.post("/v1/attach", json=body) as reply:
                assert reply.status == 200, await reply.text()
    pg = await asyncpg.connect(dsn)
    await pg.execute(
        "UPDATE stepwell.run SET config = jsonb_build_object('text', repeat('c', $1)) WHERE project = 'wide'",
        CONFIG_BYTES,
    )
    run_id = await pg.fetchval("SELECT run_id FROM stepwell.run WHERE project = 'wide' AND name = 'run-1'")
    await pg.execute(
        "INSERT INTO stepwell.hot_object (run_id, writer_id, epoch, seq, step, time, key, value) "
        "SELECT $1, 1, 1, n, n, now(), 'wide', to_jsonb(repeat('v', $2)) FROM generate_series(1, $3) n",
        *(run_id, VALUE_BYTES, VALUES),
    )
    await pg.execute(
        "INSERT INTO stepwell.hot_object (run_id, writer_id, epoch, seq, step, time, key, value) "
        "SELECT $1, 1, 1, n, n, now(), 's' || n, to_jsonb(repeat('s', $2)) FROM generate_series(1, $3) n",
        *(run_id, VALUE_BYTES, VALUES),
    )
    await pg.close()


async def _get(server: RealServer, path: str, /, **query: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(server.url + path, params=query) as reply:
        return reply.status, orjson.loads(await reply.read())


async def test_pages_of_large_objects_are_short(server: RealServer) -> None:
    steps, query = [], {"key": "wide"}
    while True:
        status, page = await _get(server, f"{RUN}/objects", **query)
        assert status == 200, page
        assert 1 <= len(page["values"]) <= SMALL.answer_bytes // VALUE_BYTES
        assert {len(item["value"]) for item in page["values"]} == {VALUE_BYTES}
        steps += [item["step"] for item in page["values"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert steps == list(range(1, VALUES + 1))
    assert server.peak_mib() < PEAK_MIB


async def test_lists_of_large_configs_are_short(server: RealServer) -> None:
    names, query = [], {"path": "team/wide", "limit": "1000"}
    while True:
        status, page = await _get(server, "/v1/runs", **query)
        assert status == 200, page
        assert page["total"] == VALUES
        assert {len(run["config"]["text"]) for run in page["runs"]} == {CONFIG_BYTES}
        names += [run["id"] for run in page["runs"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert names == [f"run-{number}" for number in range(1, VALUES + 1)]
    assert server.peak_mib() < PEAK_MIB


async def test_large_summary_is_streamed(server: RealServer) -> None:
    status, summary = await _get(server, f"{RUN}/summary")
    assert status == 200
    assert {len(summary[f"s{number}"]) for number in range(1, VALUES + 1)} == {VALUE_BYTES}
    assert server.peak_mib() < PEAK_MIB


async def test_stalled_client_uses_bounded_memory(server: RealServer) -> None:
    silent = [_ask_and_wait(server, f"{RUN}/summary") for _ in range(12)]
    refused: list[Any] = []

    async def somebody_is_refused() -> bool:
        status, answer = await _get(server, f"{RUN}/objects", key="wide")
        if status == 503:
            refused.append(answer["error"])
        return bool(refused)

    await eventually(somebody_is_refused)
    assert refused[0]["retryable"]
    assert "ask again after a pause" in refused[0]["hint"]
    for connection in silent:  # closed after send_s; the end follows the contents of kernel buffers
        await asyncio.to_thread(_read_to_its_end, connection)

    async def everybody_is_served() -> bool:
        return (await _get(server, f"{RUN}/objects", key="wide"))[0] == 200

    await eventually(everybody_is_served)
    assert server.peak_mib() < PEAK_MIB


@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat(repeat('x', 1000000), 400)",
        "SELECT 1 AS one, repeat(repeat('x', 1000000), 400) AS two -- a comment",
        "WITH w AS (SELECT repeat(repeat('x', 1000000), 400) AS x) TABLE w;",
        "SELECT repeat(repeat('x', 1000000), 300) FROM generate_series(1, 3)",
        "SELECT value, value, value FROM history_objects WHERE key = 'wide'",
        "EXPLAIN VERBOSE SELECT repeat(repeat('x', 1000000), 400)",
        "VALUES (repeat(repeat('x', 1000000), 400))",
    ],
)
async def test_sql_refuses_oversized_rows(server: RealServer, query: str) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{server.url}/v1/sql", json={"query": query}) as reply:
        answer = orjson.loads(await reply.read())
    if reply.status == 200:
        assert "rows" in answer
    else:
        assert (reply.status, answer["error"]["code"]) == (400, "usage"), answer
    assert server.peak_mib() < PEAK_MIB


def _ask_and_wait(server: RealServer, target: str) -> socket.socket:
    parts = urlsplit(server.url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=30)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode())
    return connection


def _read_to_its_end(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # through a small window it takes a minute
        try:
            while connection.recv(1 << 20):
                pass
        except ConnectionError:
            pass
