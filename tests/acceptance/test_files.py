"""Files and a complete server: `stepwell up` with two workers, a kill during an upload, and a restart."""

from __future__ import annotations

import hashlib
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from fixtures.commands import Server
from fixtures.server import PATIENCE_S, QUICK
from stepwell.files.blob_spool import BlobSpool
from stepwell.files.blob_uploader import BlobUploader
from stepwell.settings import Limits, Settings

pytestmark = pytest.mark.db

MIB = 1024 * 1024


def fetched(server: Server, sha256: str) -> bytes:
    with urllib.request.urlopen(f"{server.url}/v1/blobs/{sha256}", timeout=30) as reply:
        data: bytes = reply.read()
    return data


def workers_of(server: Server) -> list[psutil.Process]:
    children = psutil.Process(server.process.pid).children()
    return [child for child in children if "stepwell_ingest.server.worker_process" in " ".join(child.cmdline())]


def test_files_survive_killed_workers_and_a_restart(
    start_server: Callable[..., Server], data_place: Path, tmp_path: Path
) -> None:
    server = start_server(data_place / "data", "--workers", "2")
    spool = BlobSpool(tmp_path / "session", 1000 * MIB, 1000 * MIB)
    contents = [os.urandom(1000), os.urandom(200_000), os.urandom(90 * MIB)]
    blobs = [spool.add(data) for data in contents]
    settings = Settings(url=server.url, timeouts=QUICK, limits=Limits(blob_share=1.0))
    uploader = BlobUploader(spool, settings)
    for blob in blobs:
        uploader.submit(blob)
    deadline = time.monotonic() + PATIENCE_S
    while uploader.counts.sent_bytes < 30 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    for worker in workers_of(server):
        worker.send_signal(signal.SIGKILL)
    assert uploader.wait(2 * PATIENCE_S)
    uploader.stop()
    assert spool.waiting == []
    for blob, data in zip(blobs, contents, strict=True):
        assert hashlib.sha256(fetched(server, blob.sha256)).hexdigest() == hashlib.sha256(data).hexdigest()
    assert server.end() == 0
    folder = data_place / "data" / "blobs"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == sorted(blob.sha256 for blob in blobs)
    again = start_server(data_place / "data")
    assert fetched(again, blobs[1].sha256) == contents[1]


def test_blob_store_and_limit_options(start_server: Callable[..., Server], data_place: Path, tmp_path: Path) -> None:
    server = start_server(data_place / "data", "--blobs", str(tmp_path / "elsewhere"), "--blob-bytes", "100")
    assert f"files are    in {tmp_path / 'elsewhere'}" in server.output
    for size, expected in ((100, 201), (101, 413)):
        data = os.urandom(size)
        url = f"{server.url}/v1/blobs/{hashlib.sha256(data).hexdigest()}"
        try:
            status = urllib.request.urlopen(urllib.request.Request(url, data, method="PUT"), timeout=30).status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        assert status == expected
    assert len([path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]) == 1
