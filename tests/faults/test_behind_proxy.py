"""Every client of the SDK behind a proxy, with TLS from a private authority, and with a path prefix.

One run uses them all: the stream (frames), uploads (a file), reads (`Api`) and the command `status`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.server import PATIENCE_S, QUICK_WITH_SERVER, Backend, StartRun
from fixtures.web_fronts import HOST, Authority, front
from stepwell.api import Api
from stepwell.commands import status

pytestmark = pytest.mark.db

KEY = "k-123"
PATIENT = dataclasses.replace(QUICK_WITH_SERVER, finish_idle_s=PATIENCE_S)


@pytest.fixture
def server(postgres_dsn: str, tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(postgres_dsn, str(tmp_path / "stored"), public_hosts=HOST)
    backend.start()
    yield backend
    backend.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("STEPWELL_API_KEY", KEY)


def port_of(backend: Backend) -> int:
    return int(backend.url.rpartition(":")[2])


def use_all_clients(start_run: StartRun, url: str, directory: Path) -> None:
    """Logs a run with values and a file, and reads it back."""
    run = start_run(url, api_key=KEY, ca_file=_ca_file(), run_id="r", timeouts=PATIENT)
    (directory / "notes.txt").write_text("kept")
    run.save(directory / "notes.txt", policy="now")
    for step in range(3):
        run.log({"loss": 1.0 / (step + 1)})
    run.finish()
    assert (run.account.stored, run.account.left) == (3, 0)
    assert run._session.blobs.uploader.counts.stored == 1
    rows = list(Api({"base_url": url}).run("uncategorized/r").scan_history(["loss"]))
    assert [row["loss"] for row in rows] == [1.0, 1 / 2, 1 / 3]
    parser = argparse.ArgumentParser()
    status.configure(parser)
    assert status.run(parser.parse_args(["--url", url, str(directory)])) == 0


def _ca_file() -> str | None:
    import os

    return os.environ.get("STEPWELL_CA_FILE")


PATHS = ("/v1/stream", "/v1/blobs/", "/v1/runs/", "/v1/status")


async def test_http_proxy(
    server: Backend, start_run: StartRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(port_of(server)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://ann:secret@127.0.0.1:{proxy.port}")
        await asyncio.to_thread(use_all_clients, start_run, f"http://{HOST}:8770", tmp_path)
    expected = "Basic " + base64.b64encode(b"ann:secret").decode()
    for path in PATHS:
        assert any(f" http://{HOST}:8770{path}" in head for head in proxy.heads)
    for head in proxy.heads:
        assert f"\r\nProxy-Authorization: {expected}\r\n" in head
        assert f"\r\nAuthorization: Bearer {KEY}\r\n" in head
        assert f"\r\nHost: {HOST}:8770\r\n" in head


async def test_tls_with_private_ca_and_path_prefix(
    server: Backend, authority: Authority, start_run: StartRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_CA_FILE", str(authority.file))
    async with front(port_of(server), prefix="/team", tls=authority.server) as end:
        await asyncio.to_thread(use_all_clients, start_run, f"https://localhost:{end.port}/team", tmp_path)
    for path in PATHS:
        assert any(f" /team{path}" in head for head in end.heads)
    assert all(f"\r\nAuthorization: Bearer {KEY}\r\n" in head for head in end.heads)


async def test_tls_through_a_proxy(
    server: Backend, authority: Authority, start_run: StartRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEPWELL_CA_FILE", str(authority.file))
    async with (
        front(port_of(server), tls=authority.server) as end,
        front(end.port, tunnels=True) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://ann:secret@127.0.0.1:{proxy.port}")
        await asyncio.to_thread(use_all_clients, start_run, f"https://{HOST}", tmp_path)
    for path in PATHS:
        assert any(f" {path}" in head for head in end.heads)
    for head in proxy.heads:
        assert head.startswith(f"CONNECT {HOST}:443 ")
        assert "Proxy-Authorization: Basic " in head
        assert KEY not in head
    assert not any("Proxy-Authorization" in head for head in end.heads)


# asyncio leaves the transport of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_untrusted_certificate_is_refused(
    server: Backend,
    authority: Authority,
    start_run: StartRun,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def log() -> int:
        run = start_run(f"https://localhost:{end.port}", api_key=KEY, timeouts=QUICK_WITH_SERVER)
        run.log({"loss": 1.0})
        run.finish()
        return run.account.left

    async with front(port_of(server), tls=authority.server) as end:
        with caplog.at_level(logging.CRITICAL), contextlib.suppress(OSError):
            assert await asyncio.to_thread(log) == 1
    assert end.heads == []
