"""Naming the hash of a file grants nothing: with keys, a file is read where somebody who had it has uploaded it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from fixtures.access import MakeKey, send
from fixtures.blobs import PART, SMALL_PARTS, make_blob
from fixtures.ingest import Session
from stepwell_ingest.config import Config
from stepwell_ingest.server.worker import Worker
from stepwell_schema import queries

pytestmark = pytest.mark.db

BYTES = {"Content_Type": "application/octet-stream"}
SIZES = [10, 3 * PART]


@pytest.fixture
def config(postgres_dsn: str, tmp_path: Path) -> Config:
    return Config(postgres_dsn, port=0, blobs=str(tmp_path / "blobs"), limits=SMALL_PARTS, require_keys=True)


@pytest.fixture
async def files(config: Config) -> AsyncIterator[Worker]:
    worker = Worker(config)
    await worker.start()
    yield worker
    await worker.stop()


async def upload(worker: Worker, key: str | None, data: bytes, query: str = "") -> int:
    path = f"/v1/blobs/{hashlib.sha256(data).hexdigest()}{query}"
    return (await send(worker, "PUT", path, key, data, **BYTES))[0]


async def read(worker: Worker, key: str | None, sha256: str, method: str = "GET", **headers: str) -> int:
    return (await send(worker, method, f"/v1/blobs/{sha256}", key, **headers))[0]


async def name_in_a_run(worker: Worker, key: str, entity: str, sha256: str) -> None:
    """Stores a row that names the file, as a run does that has logged it."""
    session = Session(entity=entity)
    assert (await send(worker, "POST", "/v1/attach", key, session.attach()))[0] == 200
    described = {"_type": "image-file", "sha256": sha256, "size": 1}
    frame = session.frame(objects=[(0, "image", described)])
    assert (await send(worker, "POST", "/v1/frames", key, frame, **BYTES))[0] == 200


@pytest.mark.parametrize("size", SIZES)
async def test_other_team_learns_nothing_of_a_file(files: Worker, keys: MakeKey, size: int) -> None:
    team, other = await keys("team"), await keys("other")
    sha256, data = make_blob(size)
    assert await upload(files, team, data, "?path=team/mnist") == 201
    assert await read(files, team, sha256) == 200
    assert await read(files, team, sha256, "HEAD") == 404  # without a project, it asks for one of the whole entity
    status, _, headers = await send(files, "HEAD", f"/v1/blobs/{sha256}?path=team/mnist", team)
    assert (status, headers["Content-Length"]) == (200, str(size))
    await name_in_a_run(files, other, "other", sha256)
    for method in ("GET", "HEAD"):
        assert await read(files, other, sha256, method) == 404
    assert await read(files, other, sha256, If_None_Match=f'"{sha256}"') == 404
    status, _, headers = await send(files, "HEAD", f"/v1/blobs/{sha256}?path=other/p", other)
    assert (status, headers["Upload-Offset"]) == (404, "0")


@pytest.mark.parametrize("size", SIZES)
async def test_claim_without_the_bytes_is_refused(files: Worker, keys: MakeKey, size: int) -> None:
    """ "Stored already" would tell that somebody has the file, and would grant it."""
    team, other = await keys("team"), await keys("other")
    sha256, data = make_blob(size)
    assert await upload(files, team, data, "?path=team/mnist") == 201
    path = f"/v1/blobs/{sha256}?path=other/p"
    assert (await send(files, "PUT", path, other, b"x" * size, **BYTES))[0] == 422
    complete = {"Content_Range": f"bytes */{size}"}
    status, answer, _ = await send(files, "PUT", path, other, b"", **BYTES, **complete)
    assert (status, answer["offset"]) == (202, 0)
    assert await read(files, other, sha256) == 404
    assert await upload(files, other, data, "?path=other/p") == 201  # new to it
    assert await upload(files, other, data, "?path=other/p") == 200
    assert await read(files, other, sha256) == 200
    assert await read(files, team, sha256) == 200


async def test_unfinished_upload_belongs_to_its_team(files: Worker, keys: MakeKey) -> None:
    team, other = await keys("team"), await keys("other")
    sha256, data = make_blob(3 * PART)
    part = {"Content_Range": f"bytes 0-{2 * PART - 1}/{len(data)}"}
    mine = f"/v1/blobs/{sha256}?path=team/mnist"
    assert (await send(files, "PUT", mine, team, data[: 2 * PART], **BYTES, **part))[0] == 202
    theirs = f"/v1/blobs/{sha256}?path=other/p"
    assert (await send(files, "HEAD", theirs, other))[2]["Upload-Offset"] == "0"
    rest = {"Content_Range": f"bytes {2 * PART}-{len(data) - 1}/{len(data)}"}
    assert (await send(files, "PUT", theirs, other, data[2 * PART :], **BYTES, **rest))[0] == 409
    assert (await send(files, "HEAD", mine, team))[2]["Upload-Offset"] == str(2 * PART)
    assert (await send(files, "PUT", mine, team, data[2 * PART :], **BYTES, **rest))[0] == 201


async def test_file_is_uploaded_for_projects_of_the_key_only(files: Worker, keys: MakeKey) -> None:
    sha256, data = make_blob(10)
    one = await keys("team/mnist")
    for method in ("HEAD", "PUT"):
        status, _, _ = await send(files, method, f"/v1/blobs/{sha256}?path=team/other", one, data, **BYTES)
        assert status == 403
    assert await upload(files, await keys("team/mnist", "reader"), data) == 403
    assert await upload(files, one, data) == 201  # for its only project
    assert await read(files, await keys("team/mnist", "reader"), sha256) == 200
    assert await read(files, await keys("team/other", "reader"), sha256) == 404
    assert await read(files, await keys("team", "reader"), sha256) == 200
    assert await read(files, await keys(None, "reader"), sha256) == 200
    assert await read(files, None, sha256) == 401


async def test_file_without_a_project_is_for_the_whole_scope(files: Worker, keys: MakeKey) -> None:
    sha256, data = make_blob(10)
    assert await upload(files, await keys("team"), data) == 201
    assert await read(files, await keys("team", "reader"), sha256) == 200
    assert await read(files, await keys("team/mnist", "reader"), sha256) == 404
    assert await read(files, await keys("other", "reader"), sha256) == 404


async def test_files_of_before_belong_to_the_runs_that_name_them(
    worker: Worker, config: Config, keys: MakeKey, pg: asyncpg.Connection
) -> None:
    """A server that is started with keys for the first time."""
    sha256, data = make_blob(10)
    keyless = Worker(Config(config.dsn, port=0, blobs=config.blobs))
    await keyless.start()
    assert await upload(keyless, None, data) == 201
    await name_in_a_run(keyless, "", "team", sha256)
    await keyless.stop()
    assert await pg.fetchval("SELECT count(*) FROM stepwell.blob_owner") == 0
    for _ in range(2):
        guarded = Worker(config)
        await guarded.start()
        other = await keys("other")
        await name_in_a_run(guarded, other, "other", sha256)
        assert await read(guarded, await keys("team/mnist", "reader"), sha256) == 200
        assert await read(guarded, other, sha256) == 404
        await guarded.stop()


async def test_removed_file_has_no_owner(files: Worker, keys: MakeKey, pg: asyncpg.Connection) -> None:
    sha256, data = make_blob(10)
    assert await upload(files, await keys("team"), data) == 201
    claimed_at = await pg.fetchval("UPDATE stepwell.blob SET removing_at = clock_timestamp() RETURNING removing_at")
    await pg.fetchrow(queries("blobs")["removed"], [bytes.fromhex(sha256)], claimed_at)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.blob_owner") == 0
