"""Blobs on the server: stored under their hash or not at all, in a directory and on S3, acknowledged when safe."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from fixtures.blobs import PART, fetch, head, make_blob, put, start_blob_worker
from fixtures.ingest import eventually, get
from stepwell.errors import SettingError
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SIZES = [0, 1, 1000, PART - 1, PART, PART + 1, 5 * PART, 5 * PART + 17]


async def rows(pg: asyncpg.Connection) -> dict[str, int]:
    """The blobs that SQL sees: hash to size."""
    return {row["sha256"].hex(): row["size"] for row in await pg.fetch("SELECT sha256, size FROM stepwell.blob")}


@pytest.mark.parametrize("size", SIZES)
async def test_blob_round_trip(blob_worker: Worker, pg: asyncpg.Connection, size: int) -> None:
    sha256, data = make_blob(size)
    assert (await head(blob_worker, sha256))[0] == 404
    status, reply, _ = await put(blob_worker, sha256, data)
    assert (status, reply) == (201, {"sha256": sha256, "stored": True, "new": True, "offset": size})
    assert await rows(pg) == {sha256: size}
    status, headers = await head(blob_worker, sha256)
    assert (status, headers["Content-Length"]) == (200, str(size))
    assert (await fetch(blob_worker, sha256))[:2] == (200, data)


async def test_multipart_blob(postgres_dsn: str, place: str) -> None:
    """Above 8 MiB, S3 gets a multipart upload, which refused bytes must abort."""
    sha256, data = make_blob(21 * 1024 * 1024)
    async with start_blob_worker(postgres_dsn, place, Limits()) as worker:
        status, reply, _ = await put(worker, sha256, b"x" + data[1:])
        assert (status, reply["error"]["code"]) == (422, "blob_mismatch")
        assert (await put(worker, sha256, data))[0] == 201
        assert (await fetch(worker, sha256))[1] == data
        assert (await fetch(worker, sha256, Range="bytes=8388600-16777300"))[1] == data[8388600:16777301]


async def test_body_without_length_is_accepted(blob_worker: Worker, pg: asyncpg.Connection) -> None:
    sha256, data = make_blob(3 * PART + 5)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1000):
            yield data[start : start + 1000]

    assert (await put(blob_worker, sha256, pieces()))[0] == 201
    assert await rows(pg) == {sha256: len(data)}
    assert (await fetch(blob_worker, sha256))[1] == data


@pytest.mark.parametrize("size", [1000, 4 * PART])
async def test_wrong_hash_is_refused(blob_worker: Worker, pg: asyncpg.Connection, size: int) -> None:
    sha256, data = make_blob(size)
    status, reply, _ = await put(blob_worker, sha256, bytes([data[0] ^ 1]) + data[1:])
    assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (422, "blob_mismatch", False)
    assert "send the blob again from its beginning" in reply["error"]["hint"]
    assert await rows(pg) == {}
    status, headers = await head(blob_worker, sha256)
    assert (status, headers["Upload-Offset"]) == (404, "0")
    assert (await fetch(blob_worker, sha256))[0] == 404
    assert (await put(blob_worker, sha256, data))[0] == 201


async def test_stored_blob_is_not_uploaded_again(blob_worker: Worker) -> None:
    sha256, data = make_blob(1000)
    await put(blob_worker, sha256, data)
    status, reply, _ = await put(blob_worker, sha256, data)
    assert (status, reply["stored"], reply["new"]) == (200, True, False)
    _, page, _ = await get(blob_worker, "/metrics")
    assert "stepwell_blobs_stored_total 1.0" in page
    assert "stepwell_blob_bytes_stored_total 1000.0" in page


async def test_missing_object_is_restored_by_upload(postgres_dsn: str, pg: asyncpg.Connection, tmp_path: Path) -> None:
    sha256, data = make_blob(1000)
    async with start_blob_worker(postgres_dsn, str(tmp_path / "first")) as worker:
        await put(worker, sha256, data)
    async with start_blob_worker(postgres_dsn, str(tmp_path / "second")) as worker:
        assert await rows(pg) == {sha256: 1000}
        assert (await head(worker, sha256))[0] == 404
        assert (await put(worker, sha256, data))[0] == 201
        assert (await fetch(worker, sha256))[1] == data


async def test_same_blob_at_two_workers_is_stored_once(postgres_dsn: str, pg: asyncpg.Connection, place: str) -> None:
    blobs = [make_blob(size, seed) for seed, size in enumerate([10, PART, 3 * PART + 1])]
    async with start_blob_worker(postgres_dsn, place) as first, start_blob_worker(postgres_dsn, place) as second:

        async def send(worker: Worker, sha256: str, data: bytes) -> None:
            while True:  # the other worker may miss parts that this one has consumed
                status, reply, _ = await put(worker, sha256, data)
                if status in (200, 201):
                    return
                assert reply["error"]["retryable"], reply

        await asyncio.gather(*(send(worker, *blob) for blob in blobs for worker in (first, second, first)))
        for sha256, data in blobs:
            assert (await fetch(second, sha256))[1] == data
    assert await rows(pg) == {sha256: len(data) for sha256, data in blobs}


async def test_oversized_blob_is_refused_unread(postgres_dsn: str, place: str, pg: asyncpg.Connection) -> None:
    sha256, data = make_blob(3 * PART)
    async with start_blob_worker(postgres_dsn, place, Limits(blob_bytes=2 * PART, blob_part_bytes=PART)) as worker:
        for part in (None, (0, 3 * PART)):
            body = data if part is None else data[:10]
            status, reply, _ = await put(worker, sha256, body, part)
            assert (status, reply["error"]["code"]) == (413, "blob_too_large")
            assert "--blob-bytes" in reply["error"]["hint"]
        assert (await head(worker, sha256))[1]["Upload-Offset"] == "0"

        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield bytes(PART)

        with contextlib.suppress(ConnectionError):  # the connection may end while the rest is still being sent
            assert (await put(worker, sha256, endless()))[0] == 413
    assert await rows(pg) == {}


@pytest.mark.parametrize(
    ("sha256", "headers", "message"),
    [
        ("A" * 64, {}, "must be the SHA-256"),
        ("ab", {}, "must be the SHA-256"),
        ("a" * 64, {"Content_Range": "bytes 3-9"}, "Content-Range is invalid"),
        ("a" * 64, {"Content_Range": "bytes 5-3/10"}, "do not agree"),
        ("a" * 64, {"Content_Range": "bytes 0-3/10"}, "do not agree"),
        ("a" * 64, {"Content_Range": "bytes 7-11/12"}, "earlier bytes of the blob are missing"),
        ("a" * 64, {"Content_Range": "bytes */10"}, "must not have a body"),
        ("a" * 64, {"Content_Encoding": "gzip"}, "must not be compressed"),
    ],
)
async def test_invalid_request_gives_the_reason(
    postgres_dsn: str, tmp_path: Path, sha256: str, headers: dict[str, str], message: str
) -> None:
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs")) as worker:
        status, reply, _ = await put(worker, sha256, b"hello", **headers)
        assert (status, message in reply["error"]["message"]) == (409 if "earlier" in message else 400, True), reply


async def test_server_without_blob_store_reports_it(postgres_dsn: str) -> None:
    async with start_blob_worker(postgres_dsn, None) as worker:
        status, reply, _ = await put(worker, "a" * 64, b"hello")
        assert (status, reply["error"]["retryable"]) == (503, True)
        assert "--blobs" in reply["error"]["hint"]


@pytest.mark.parametrize("place", ["ftp://host/x", "s3://", "/proc/nowhere/blobs"])
async def test_invalid_blob_store_fails_at_startup(postgres_dsn: str, place: str) -> None:
    with pytest.raises(SettingError, match="blobs"):
        async with start_blob_worker(postgres_dsn, place):
            pass


async def test_unavailable_store_does_not_affect_frames(postgres_dsn: str, bucket: str, pg: asyncpg.Connection) -> None:
    sha256, data = make_blob(100)
    async with start_blob_worker(postgres_dsn, bucket.replace("bucket-", "never-")) as worker:
        status, reply, _ = await put(worker, sha256, data)
        assert (status, reply["error"]["code"]) == (503, "unavailable"), reply
        assert "bucket and its credentials" in reply["error"]["hint"]
        assert (await get(worker, "/readyz"))[0] == 200
    assert await rows(pg) == {}


async def test_uploads_use_bounded_memory(postgres_dsn: str, tmp_path: Path) -> None:
    limits = Limits(blob_part_bytes=PART, blob_memory_bytes=2 * PART)
    blobs = [make_blob(PART, seed) for seed in range(20)]
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs"), limits) as worker:
        answers = await asyncio.gather(*(put(worker, *blob) for blob in blobs))
        assert {status for status, *_ in answers} == {201}
        assert worker.services.blobs.room.held_bytes == 0


async def test_slow_body_releases_its_room(postgres_dsn: str, tmp_path: Path) -> None:
    sha256, data = make_blob(PART)

    async def slow() -> AsyncIterator[bytes]:
        yield data[:100]
        await asyncio.sleep(60)

    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs"), timeouts=Timeouts(body_s=0.1)) as worker:
        sending = asyncio.create_task(put(worker, sha256, slow()))
        status, reply, _ = await sending
        assert (status, reply["error"]["message"]) == (503, "the body did not arrive in time")
        await eventually(lambda: worker.services.blobs.room.held_bytes == 0)


async def test_folder_files_are_named_by_hash(postgres_dsn: str, tmp_path: Path) -> None:
    async with start_blob_worker(postgres_dsn, str(tmp_path / "blobs")) as worker:
        for size in (10, 3 * PART):
            await put(worker, *make_blob(size))
    found = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert len(found) == 2  # and no part is left
    for path in found:
        assert path.relative_to(tmp_path / "blobs").parts[:2] == ("stored", path.name[:2])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
