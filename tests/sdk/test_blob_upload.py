"""The uploader with a real server: every file arrives once, whatever happens, and is then removed from disk."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fixtures.blobs import PART
from fixtures.server import PATIENCE_S, QUICK, Backend, free_port, until
from stepwell.files import blob_client as _blob_client
from stepwell.files.blob_spool import Blob, BlobSpool
from stepwell.files.blob_uploader import BlobUploader
from stepwell.settings import Limits, Settings

pytestmark = pytest.mark.db

MIB = 1024 * 1024


@pytest.fixture
def spool(tmp_path: Path) -> BlobSpool:
    return BlobSpool(tmp_path / "session", 100 * MIB, 100 * MIB)


@pytest.fixture
def upload(spool: BlobSpool) -> Iterator[Callable[..., BlobUploader]]:
    """Starts an uploader for the files in the spool."""
    made: list[BlobUploader] = []

    def start(url: str, **timeouts: float) -> BlobUploader:
        settings = Settings(url=url, timeouts=dataclasses.replace(QUICK, **timeouts), limits=Limits(blob_share=1.0))
        made.append(BlobUploader(spool, settings))
        for blob in spool.waiting:
            made[-1].submit(blob)
        return made[-1]

    yield start
    for uploader in made:
        uploader.stop()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(_blob_client, "PART_BYTES", PART)
    return PART


def stored(backend: Backend) -> dict[str, int]:
    return {sha256.hex(): size for sha256, size in backend.query("SELECT sha256, size FROM stepwell.blob")}


def on_disk(backend: Backend) -> dict[str, bytes]:
    """The blobs in the server's directory, by name."""
    assert backend.blobs is not None
    return {path.name: path.read_bytes() for path in Path(backend.blobs).glob("stored/*/*")}


def fill(spool: BlobSpool, *sizes: int) -> list[Blob]:
    return [spool.add(os.urandom(size)) for size in sizes]


SIZES = [0, 1, 1000, PART - 1, PART, PART + 1, 10 * PART + 3]


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server that gives each answer once, and the last one forever; yields its URL and the requests."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answers[min(len(asked), len(answers) - 1)]
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/base", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_files_are_delivered_and_removed(
    file_server: Backend, spool: BlobSpool, upload: Callable[..., BlobUploader], small_parts: int
) -> None:
    blobs = fill(spool, *SIZES)
    contents = {blob.sha256: spool.path(blob.sha256).read_bytes() for blob in blobs}
    uploader = upload(file_server.url)
    assert uploader.finish(PATIENCE_S)
    assert stored(file_server) == {blob.sha256: blob.size for blob in blobs}
    assert on_disk(file_server) == contents
    assert (uploader.counts.stored, uploader.counts.known, uploader.counts.retries) == (len(SIZES), 0, 0)
    assert (spool.waiting, list(spool.directory.iterdir())) == ([], [])


@pytest.mark.parametrize("size", [1000, 3 * PART])
def test_large_stored_file_is_not_sent_again(
    file_server: Backend,
    spool: BlobSpool,
    upload: Callable[..., BlobUploader],
    small_parts: int,
    tmp_path: Path,
    size: int,
) -> None:
    data = os.urandom(size)
    spool.add(data)
    assert upload(file_server.url).finish(PATIENCE_S)
    again = BlobSpool(tmp_path / "other", MIB, MIB)
    again.add(data)
    uploader = BlobUploader(again, Settings(url=file_server.url, timeouts=QUICK))
    uploader.submit(again.waiting[0])
    assert uploader.finish(PATIENCE_S)
    assert (uploader.counts.stored, uploader.counts.known) == (1, 1)
    assert uploader.counts.sent_bytes == (1000 if size == 1000 else 0)
    assert again.waiting == []


def test_late_server_gets_everything(
    postgres_dsn: str, spool: BlobSpool, upload: Callable[..., BlobUploader], tmp_path: Path
) -> None:
    blobs = fill(spool, 100, 200, 300)
    backend = Backend(postgres_dsn, str(tmp_path / "served"))
    uploader = upload(backend.url)
    until(lambda: uploader.counts.retries > 3)
    backend.start()
    try:
        assert uploader.wait(PATIENCE_S)
        assert stored(backend) == {blob.sha256: blob.size for blob in blobs}
    finally:
        backend.stop()


def test_killed_server_gets_only_the_rest_of_an_upload(
    file_server: Backend, spool: BlobSpool, upload: Callable[..., BlobUploader], small_parts: int
) -> None:
    [blob] = fill(spool, 60 * PART)
    content = spool.path(blob.sha256).read_bytes()
    uploader = upload(file_server.url)
    kills = 0
    while not uploader.wait(0.02):
        if uploader.counts.sent_bytes > (kills + 1) * 15 * PART and kills < 3:
            kills += 1
            file_server.kill()
            time.sleep(0.02)
            file_server.start()
    assert kills
    assert on_disk(file_server) == {blob.sha256: content}
    assert uploader.counts.sent_bytes <= (60 + 3 * kills) * PART  # a part and the bytes in flight, each time


def test_finish_skips_long_pauses(
    postgres_dsn: str, spool: BlobSpool, upload: Callable[..., BlobUploader], tmp_path: Path
) -> None:
    """The server is back after a long outage, and the next attempt would be in a minute."""
    fill(spool, 10, 20)
    backend = Backend(postgres_dsn, str(tmp_path / "served"))
    uploader = upload(backend.url, retry_min_s=60.0, retry_max_s=60.0)
    until(lambda: uploader.counts.retries == 2)
    backend.start()
    try:
        assert uploader.finish(PATIENCE_S)
        assert len(stored(backend)) == 2
    finally:
        backend.stop()


def test_finish_gives_up_without_progress(spool: BlobSpool, upload: Callable[..., BlobUploader]) -> None:
    blobs = fill(spool, 10, 20)
    uploader = upload(f"http://127.0.0.1:{free_port()}")
    assert not uploader.finish(0.2)
    assert (spool.waiting, uploader.left) == (blobs, 2)
    assert uploader.last_error is not None
    assert all(spool.path(blob.sha256).exists() for blob in blobs)


def test_repeated_overload_is_no_progress(spool: BlobSpool, upload: Callable[..., BlobUploader]) -> None:
    fill(spool, 10)
    with answering((503, {"Retry-After": "0"}, b'{"error": {"code": "unavailable", "message": "x"}}')) as (url, asked):
        assert not upload(url).finish(0.3)
    assert len(asked) > 1
    assert len(spool.waiting) == 1


def test_refused_file_is_kept_and_others_are_sent(
    postgres_dsn: str,
    spool: BlobSpool,
    upload: Callable[..., BlobUploader],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from stepwell_ingest.config import Limits as ServerLimits

    backend = Backend(postgres_dsn, str(tmp_path / "served"), ServerLimits(blob_bytes=1000))
    backend.start()
    try:
        small, large, other = fill(spool, 10, 2000, 20)
        uploader = upload(backend.url)
        assert uploader.finish(PATIENCE_S)
        assert stored(backend) == {small.sha256: 10, other.sha256: 20}
        assert (uploader.counts.refused, spool.waiting) == (1, [large])
        assert "2,000 bytes; the limit is 1,000" in caplog.text
        assert str(spool.path(large.sha256)) in caplog.text
    finally:
        backend.stop()


def test_damaged_file_is_quarantined_and_reported(
    file_server: Backend, spool: BlobSpool, upload: Callable[..., BlobUploader], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = fill(spool, 1000, 1000)
    spool.path(bad.sha256).write_bytes(os.urandom(1000))
    uploader = upload(file_server.url)
    assert uploader.finish(PATIENCE_S)
    assert stored(file_server) == {good.sha256: 1000}
    assert (uploader.counts.damaged, spool.waiting) == (1, [])
    assert f"{bad.sha256}.damaged" in caplog.text


def test_truncated_file_is_not_stored(
    file_server: Backend, spool: BlobSpool, upload: Callable[..., BlobUploader]
) -> None:
    [bad] = fill(spool, 1000)
    os.truncate(spool.path(bad.sha256), 10)
    uploader = upload(file_server.url)
    until(lambda: uploader.counts.retries > 0)
    assert not uploader.finish(0.2)
    assert stored(file_server) == {}
    assert "shorter than it was" in str(uploader.last_error)


def test_file_damaged_in_transit_is_resent(spool: BlobSpool, upload: Callable[..., BlobUploader]) -> None:
    [blob] = fill(spool, 10)
    mismatch = b'{"error": {"code": "blob_mismatch", "message": "other bytes"}}'
    with answering((422, {}, mismatch), (201, {}, b"{}")) as (url, asked):
        uploader = upload(url)
        assert uploader.finish(PATIENCE_S)
    assert asked == [f"/base/v1/blobs/{blob.sha256}"] * 2
    assert (uploader.counts.stored, uploader.counts.damaged, spool.waiting) == (1, 0, [])


@pytest.mark.parametrize(
    ("status", "body", "again"),
    [
        (503, b'{"error": {"code": "overloaded", "retryable": true, "message": "no room", "retry_after_s": 0}}', True),
        (500, b"Internal Server Error", True),
        (502, b"<html>bad gateway</html>", True),
        (404, b"404: Not Found", True),
        (409, b'{"error": {"code": "blob_offset", "retryable": true, "message": "gap", "offset": 0}}', True),
        (413, b"<html>nginx</html>", False),
        (400, b'{"error": {"code": "data", "retryable": false, "message": "nonsense"}}', False),
        (401, b"who are you?", True),
    ],
)
def test_meaning_of_answers(
    spool: BlobSpool, upload: Callable[..., BlobUploader], status: int, body: bytes, again: bool
) -> None:
    [blob] = fill(spool, 10)
    with answering((status, {}, body), (201, {}, b"{}")) as (url, asked):
        uploader = upload(url)
        assert uploader.finish(PATIENCE_S)
    assert (len(asked), uploader.counts.stored, uploader.counts.refused) == ((2, 1, 0) if again else (1, 0, 1))
    assert spool.waiting == ([] if again else [blob])


def test_file_delivered_by_another_process_is_no_error(spool: BlobSpool, upload: Callable[..., BlobUploader]) -> None:
    [blob] = fill(spool, 10)
    spool.path(blob.sha256).unlink()
    uploader = upload(f"http://127.0.0.1:{free_port()}")
    assert uploader.finish(PATIENCE_S)
    assert (spool.waiting, spool.stored_bytes, uploader.counts.stored) == ([], 0, 0)


def test_same_files_of_two_processes_are_stored_once(
    file_server: Backend, spool: BlobSpool, upload: Callable[..., BlobUploader], tmp_path: Path, small_parts: int
) -> None:
    other = BlobSpool(tmp_path / "other", MIB, 100 * MIB)
    for size in (10, 1000, 5 * PART, 7 * PART + 1):
        data = os.urandom(size)
        spool.add(data)
        other.add(data)
    expected = {blob.sha256: blob.size for blob in spool.waiting}
    second = BlobUploader(other, Settings(url=file_server.url, timeouts=QUICK, limits=Limits(blob_share=1.0)))
    first = upload(file_server.url)
    for blob in other.waiting:
        second.submit(blob)
    assert first.finish(PATIENCE_S)
    assert second.finish(PATIENCE_S)
    assert stored(file_server) == expected
    assert {hashlib.sha256(data).hexdigest() for data in on_disk(file_server).values()} == set(expected)
