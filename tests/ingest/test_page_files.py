"""The pages as files: one document for all pages, unlimited caching of built files, and a strict policy."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from stepwell_ingest.api.app import create_app
from stepwell_ingest.api.pages import Pages
from stepwell_ingest.api.routes import PAGES
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SCRIPT = b"console.log(1);" * 100


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_bytes(b'<!doctype html><script src="/assets/index-abc.js"></script>' + b" " * 500)
    (tmp_path / "assets" / "index-abc.js").write_bytes(SCRIPT)
    return tmp_path


@pytest.fixture
async def client(tmp_path: Path, worker: Worker) -> AsyncIterator[TestClient]:
    app = create_app(replace(worker.services, pages=Pages(tmp_path)))
    async with TestClient(TestServer(app), auto_decompress=False) as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        *(path.format(entity="team", project="mnist", run="a", tab="charts") for path in PAGES),
        "/team/a%2Fb/runs/%C3%BC/console",
    ],
)
async def test_every_page_address_returns_the_document(built: Path, client: TestClient, path: str) -> None:
    reply = await client.get(URL(path, encoded=True))
    assert (reply.status, reply.content_type) == (200, "text/html")
    assert reply.headers["Cache-Control"] == "no-cache"
    policy = reply.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("unsafe" in part or "http" in part or "*" in part for part in policy)
    again = await client.get(URL(path, encoded=True), headers={"If-None-Match": reply.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")


async def test_document_names_the_files_of_its_page(built: Path, client: TestClient) -> None:
    manifest = {
        "index.html": {"file": "assets/index-abc.js", "imports": ["_a.js"]},
        "_a.js": {"file": "assets/a-1.js", "imports": ["_b.js"]},
        "_b.js": {"file": "assets/b-2.js", "imports": ["_a.js"], "css": ["assets/b-5.css"]},
        "src/pages/workspace.tsx": {"file": "assets/workspace-3.js", "imports": ["_a.js"]},
        "src/pages/run.tsx": {"file": "assets/run-4.js"},
    }
    (built / "manifest.json").write_bytes(orjson.dumps(manifest))
    link = (await client.get("/team/mnist")).headers["Link"]
    scripts = [f'</assets/{name}.js>; rel="modulepreload"' for name in ("workspace-3", "a-1", "b-2")]
    assert link.split(", ") == [*scripts, '</assets/b-5.css>; rel="preload"; as="style"']
    assert (await client.get("/team/mnist/runs/a/console")).headers["Link"] == '</assets/run-4.js>; rel="modulepreload"'
    assert "Link" not in (await client.get("/team/mnist/sql")).headers
    assert (await client.get("/assets/manifest.json")).status == 404


@pytest.mark.parametrize("path", ["/v1/typo", "/v1/typo/runs", "/team", "/team/mnist/other"])
async def test_other_addresses_are_404(built: Path, client: TestClient, path: str) -> None:
    assert (await client.get(path)).status == 404


async def test_built_files_are_cached_and_compressed(built: Path, client: TestClient) -> None:
    reply = await client.get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip"})
    assert "immutable" in reply.headers["Cache-Control"]
    assert reply.headers["Content-Type"].startswith("text/javascript")
    assert (reply.headers["Content-Encoding"], gzip.decompress(await reply.read())) == ("gzip", SCRIPT)
    plain = await client.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
    assert await plain.read() == SCRIPT


@pytest.mark.parametrize("name", ["..%2Findex.html", "%2e%2e%2fsecret", "nothing.js"])
async def test_only_built_files_are_served(built: Path, client: TestClient, name: str) -> None:
    (built / "secret").write_text("secret")
    reply = await client.get(URL(f"/assets/{name}", encoded=True))
    assert reply.status != 200
    assert b"secret" not in await reply.read() or name == "%2e%2e%2fsecret"


async def test_unbuilt_pages_explain_how_to_build(tmp_path: Path, client: TestClient) -> None:
    reply = await client.get("/")
    assert reply.status == 503
    assert "make workspace" in await reply.text()
    # built later: no restart is needed
    (tmp_path / "index.html").write_text("now")
    assert await (await client.get("/")).text() == "now"


def test_document_loads_only_own_files() -> None:
    """The document references only its own files, judging by the source."""
    source = Path(__file__).parents[2] / "workspace" / "index.html"
    assert "//" not in source.read_text().replace("<!--", "")
