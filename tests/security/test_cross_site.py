"""A page of another site in the browser of a user who can reach the server can neither read nor change anything.

Requests are written byte by byte with the headers that browsers set and pages cannot.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import asyncpg
import pytest

from fixtures.ingest import Client, Session
from stepwell_ingest.config import Config
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

RUN = "/v1/runs/team/mnist/run-1"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
JSON = {"Content-Type": "application/json"}


async def ask(
    worker: Worker, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
) -> tuple[int, dict[str, str]]:
    """The status and headers (by lower-case name) of the answer."""
    host, port = worker.url.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    fields = {"Host": f"{host}:{port}", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    status, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    writer.close()
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in rest if line)


@asynccontextmanager
async def served(dsn: str, **settings: str) -> AsyncIterator[Worker]:
    worker = Worker(Config(dsn, port=0, **settings))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


@pytest.fixture
async def logged(worker: Worker) -> Session:
    """An existing run."""
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(session.frame())
    return session


def attach_body() -> bytes:
    return json.dumps(Session(writer="thief").attach()).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a foreign name that resolves to this server
        {"Host": "evil.example:8770"},
        {"Host": "localhost.evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another program on this machine
        {"Origin": "file://"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
    ids=str,
)
async def test_cross_site_requests_are_refused(
    worker: Worker, logged: Session, pg: asyncpg.Connection, headers: dict[str, str]
) -> None:
    asked = [
        ("GET", RUN, {}, b""),
        ("GET", "/v1/runs?path=team/mnist", {}, b""),
        ("GET", "/v1/status", {}, b""),
        ("GET", "/v1/nothing", {}, b""),
        ("GET", "/v1/stream", UPGRADE, b""),
        ("POST", "/v1/attach", JSON, attach_body()),
        ("POST", "/v1/frames", {"Content-Type": "application/octet-stream"}, logged.frame()),
        ("PUT", f"/v1/blobs/{'0' * 64}", {}, b"x"),
        ("HEAD", f"/v1/blobs/{'0' * 64}", {}, b""),
    ]
    for method, path, more, body in asked:
        status, answer = await ask(worker, method, path, {**more, **headers}, body)
        assert (method, path, status) == (method, path, 403)
        assert answer["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer
    assert await pg.fetchval("SELECT count(*) FROM stepwell.ledger") == 1
    assert await pg.fetchval("SELECT next_seq FROM stepwell.ledger") == 1


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_simple_cross_site_post_is_refused(worker: Worker, pg: asyncpg.Connection, kind: str) -> None:
    for path in ("/v1/attach", "/v1/frames"):
        status, _ = await ask(worker, "POST", path, {"Content-Type": kind}, attach_body())
        # A body without a type counts as bytes (RFC 9110), and browsers send none.
        assert status == (415 if kind else 200 if path == "/v1/attach" else 400)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.run") == (0 if kind else 1)


async def test_link_from_another_site_works(worker: Worker, logged: Session) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert (await ask(worker, "GET", RUN, headers))[0] == 200
    assert (await ask(worker, "POST", "/v1/attach", {**JSON, **headers}, attach_body()))[0] == 403


async def test_own_pages_and_programs_are_served(worker: Worker, logged: Session) -> None:
    port = worker.url.rsplit(":", 1)[1]
    for headers in (
        {},
        {"Host": ""},  # probes with HTTP/1.0
        {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
        {"Host": f"[::1]:{port}"},
    ):
        status, answer = await ask(worker, "GET", RUN, headers)
        assert (headers, status) == (headers, 200 if headers.get("Host") != "" else 400)
        assert answer.get("cross-origin-resource-policy", "same-origin") == "same-origin"
    origin = {"Origin": worker.url, "Sec-Fetch-Site": "same-origin"}
    assert (await ask(worker, "GET", "/v1/stream", {**UPGRADE, **origin}))[0] == 101


async def test_public_host_works_with_and_without_a_proxy(postgres_dsn: str) -> None:
    async with served(postgres_dsn, public_hosts="stepwell.example,other.example") as worker:
        for headers in (
            {"Host": "stepwell.example"},
            {"Host": "Other.Example:443", "Origin": "https://other.example"},
            {"Host": "127.0.0.1:8770", "Origin": "https://stepwell.example", "Sec-Fetch-Site": "same-origin"},
        ):
            assert (await ask(worker, "GET", "/v1/status", headers))[0] == 200
        assert (await ask(worker, "GET", "/v1/status", {"Origin": "https://evil.example"}))[0] == 403


async def test_probes_may_use_any_host(worker: Worker) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (await ask(worker, "GET", path, {"Host": "10-0-0-7.pods.cluster.local"}))[0] == 200


async def test_answers_are_same_origin(worker: Worker, logged: Session) -> None:
    for path in (RUN, f"{RUN}/history", f"{RUN}/live", "/healthz", "/v1/nothing", f"/v1/blobs/{'0' * 64}"):
        _, answer = await ask(worker, "GET", path, {})
        assert answer["cross-origin-resource-policy"] == "same-origin"
