"""Large blobs are sent in parts: an upload continues after an interruption or a restart, on any worker."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest

from fixtures.blobs import PART, fetch, head, make_blob, put, start_blob_worker
from fixtures.ingest import eventually
from stepwell.errors import UnavailableError
from stepwell_ingest.blobs import incoming
from stepwell_ingest.blobs.intake import Claim
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def offset(worker: Worker, sha256: str) -> int:
    status, headers = await head(worker, sha256)
    assert status == 404
    return int(headers["Upload-Offset"])


async def send_cut(worker: Worker, sha256: str, data: bytes, total: int) -> None:
    """A PUT of `total` bytes whose connection breaks after `data`, of which the server has stored all whole parts."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(worker.url.rpartition(":")[2]))
    head = f"PUT /v1/blobs/{sha256} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {total}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()

    async def whole_parts_are_there() -> bool:
        return await offset(worker, sha256) == len(data) // PART * PART

    await eventually(whole_parts_are_there)
    writer.close()
    await writer.wait_closed()


async def test_parts_make_the_blob(blob_worker: Worker, pg: asyncpg.Connection) -> None:
    sha256, data = make_blob(3 * PART + 100)
    total = len(data)
    for start in range(0, total, PART):
        assert start == 0 or await offset(blob_worker, sha256) == start
        status, reply, headers = await put(blob_worker, sha256, data[start : start + PART], (start, total))
        end = min(start + PART, total)
        assert (status, reply["offset"], headers["Upload-Offset"]) == (201 if end == total else 202, end, str(end))
        assert reply["stored"] == (await pg.fetchval("SELECT count(*) FROM stepwell.blob") == 1) == (end == total)
    assert (await fetch(blob_worker, sha256))[1] == data


async def test_part_after_a_gap_is_refused_with_the_offset(blob_worker: Worker) -> None:
    sha256, data = make_blob(4 * PART)
    await put(blob_worker, sha256, data[:PART], (0, len(data)))
    status, reply, headers = await put(blob_worker, sha256, data[2 * PART : 3 * PART], (2 * PART, len(data)))
    assert (status, reply["error"]["code"], reply["error"]["offset"]) == (409, "blob_offset", PART)
    assert (reply["error"]["retryable"], headers["Upload-Offset"]) == (True, str(PART))


async def test_parts_may_overlap_and_repeat(blob_worker: Worker) -> None:
    """Two senders of the same file split it differently."""
    sha256, data = make_blob(3 * PART)
    total = len(data)
    for start, end in [(0, 1000), (500, PART), (0, 700), (PART - 10, 2 * PART), (1000, 1100), (2 * PART, total)]:
        status, reply, _ = await put(blob_worker, sha256, data[start:end], (start, total))
        assert status in (201, 202), reply
    assert (status, (await fetch(blob_worker, sha256))[1]) == (201, data)


async def test_broken_connection_keeps_stored_parts(blob_worker: Worker) -> None:
    sha256, data = make_blob(5 * PART)
    await send_cut(blob_worker, sha256, data[: 2 * PART + 5000], len(data))
    rest = await offset(blob_worker, sha256)
    assert 2 * PART <= rest <= 2 * PART + 5000
    assert (await put(blob_worker, sha256, data[rest:], (rest, len(data))))[0] == 201
    assert (await fetch(blob_worker, sha256))[1] == data


async def test_partial_upload_survives_a_restart(postgres_dsn: str, place: str) -> None:
    sha256, data = make_blob(4 * PART)
    total = len(data)
    async with start_blob_worker(postgres_dsn, place) as worker:
        await put(worker, sha256, data[: 2 * PART], (0, total))
    async with start_blob_worker(postgres_dsn, place) as first, start_blob_worker(postgres_dsn, place) as second:
        assert await offset(first, sha256) == await offset(second, sha256) == 2 * PART
        await put(first, sha256, data[2 * PART : 3 * PART], (2 * PART, total))
        assert (await put(second, sha256, data[3 * PART :], (3 * PART, total)))[0] == 201
        assert (await fetch(first, sha256))[1] == data


async def test_upload_cut_before_completion_is_completed(
    postgres_dsn: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies before the parts are joined; the sender requests the completion."""
    sha256, data = make_blob(3 * PART)

    async def die(*_: object) -> None:
        raise asyncio.CancelledError

    async with start_blob_worker(postgres_dsn, place) as worker:
        with monkeypatch.context() as patch:
            patch.setattr(incoming, "compose", die)
            with pytest.raises(aiohttp.ClientError):
                await put(worker, sha256, data)
            assert await offset(worker, sha256) == len(data)
    async with start_blob_worker(postgres_dsn, place) as worker:
        assert (await put(worker, sha256, b"", (0, len(data))))[0] == 201
        assert (await fetch(worker, sha256))[1] == data


async def test_completing_a_partial_upload_returns_the_offset(blob_worker: Worker) -> None:
    sha256, data = make_blob(3 * PART)
    await put(blob_worker, sha256, data[:PART], (0, len(data)))
    status, reply, _ = await put(blob_worker, sha256, b"", (0, len(data)))
    assert (status, reply["stored"], reply["offset"]) == (202, False, PART)


async def test_parts_with_wrong_hash_are_discarded(blob_worker: Worker) -> None:
    sha256, data = make_blob(3 * PART)
    _, other = make_blob(3 * PART, seed=2)
    await put(blob_worker, sha256, other[:PART], (0, len(data)))
    status, reply, _ = await put(blob_worker, sha256, data[PART:], (PART, len(data)))
    assert (status, reply["error"]["code"]) == (422, "blob_mismatch")
    assert await offset(blob_worker, sha256) == 0
    assert (await put(blob_worker, sha256, data))[0] == 201


async def test_excess_bytes_are_discarded(blob_worker: Worker) -> None:
    sha256, data = make_blob(3 * PART)
    await put(blob_worker, sha256, data[: 2 * PART], (0, len(data)))
    status, reply, _ = await put(blob_worker, sha256, b"", (0, PART))
    assert (status, reply["error"]["code"]) == (422, "blob_mismatch")
    assert await offset(blob_worker, sha256) == 0


async def test_abandoned_parts_are_removed(postgres_dsn: str, tmp_path: Path) -> None:
    old, new = make_blob(3 * PART, 1), make_blob(3 * PART, 2)
    folder = tmp_path / "blobs"
    async with start_blob_worker(postgres_dsn, str(folder)) as worker:
        for sha256, data in (old, new):
            await put(worker, sha256, data[:PART], (0, len(data)))
        for path in [*(folder / "incoming" / old[0]).iterdir()]:
            os.utime(path, (0, 0))
        staged = folder / "stored" / f"{old[0]}#1"  # a leftover of the library after a kill
        staged.parent.mkdir(exist_ok=True)
        staged.write_bytes(b"half")
        os.utime(staged, (0, 0))
        assert await incoming.sweep(worker.services.blobs.store, 3600) == 1
        assert (await offset(worker, old[0]), await offset(worker, new[0])) == (0, PART)
        assert not staged.exists()
        assert not (folder / "incoming" / old[0]).exists()


async def test_interrupted_upload_keeps_existing_parts(blob_worker: Worker) -> None:
    """Two senders of one file: the second stops inside a part that the first has sent completely."""
    sha256, data = make_blob(3 * PART)
    await put(blob_worker, sha256, data[:PART], (0, len(data)))
    await put(blob_worker, sha256, data[PART : 2 * PART], (PART, len(data)))
    blobs = blob_worker.services.blobs
    assert blobs is not None
    for start in (0, PART):

        async def breaks_off(start: int = start) -> AsyncIterator[bytes]:
            yield data[start : start + PART // 8]
            raise UnavailableError("the body was cut off")

        with pytest.raises(UnavailableError):
            await blobs.receive(Claim(sha256, start, PART, len(data)), breaks_off())
        assert await offset(blob_worker, sha256) == 2 * PART
    status, reply, _ = await put(blob_worker, sha256, data[2 * PART :], (2 * PART, len(data)))
    assert (status, reply["stored"]) == (201, True)
    assert (await fetch(blob_worker, sha256))[1] == data


async def test_parts_of_an_earlier_version_continue(blob_worker: Worker) -> None:
    sha256, data = make_blob(2 * PART)
    assert blob_worker.services.blobs is not None
    store = blob_worker.services.blobs.store
    await store.put(f"incoming/{sha256}/{0:020d}", data[:PART], for_good=False)
    assert await offset(blob_worker, sha256) == PART
    assert (await put(blob_worker, sha256, data[PART:], (PART, len(data))))[0] == 201
    assert (await fetch(blob_worker, sha256))[1] == data
