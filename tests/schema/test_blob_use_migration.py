"""A database from before `blob_use`: after the migration, the files of its objects and notes are known."""

from __future__ import annotations

import asyncpg
import pytest

import stepwell_schema
from stepwell_ingest.db import migrate as migrations

pytestmark = pytest.mark.db

#: The id of a run of January 2025.
RUN = 158_000_000_000 << 20


async def test_blobs_of_older_objects_and_notes_are_kept(any_empty_dsn: str) -> None:
    connection = await asyncpg.connect(any_empty_dsn)
    await connection.execute(migrations._BOOTSTRAP)
    for file in stepwell_schema.migrations():
        if file.name < "0011":
            await connection.execute(file.sql)
            await connection.execute(migrations._RECORD, file.name, file.checksum)
    for table in ("hot_object", "note"):
        await connection.execute(
            f"CREATE TABLE stepwell.{table}_2025_01 PARTITION OF stepwell.{table} "
            f"FOR VALUES FROM ({157_852_800_000 << 20}) TO ({160_531_200_000 << 20})"
        )
    hashes = [f"{number:064x}" for number in range(4)]
    objects = [f'{{"_type": "image-file", "sha256": "{hashes[0]}"}}', '{"sha256": "no hash"}', "7"]
    notes = [
        f'{{"key": "x", "value": {{"files": [{{"sha256": "{hashes[1]}"}}, {{"sha256": "{hashes[2]}"}}]}}}}',
        f'{{"name": "model.pt", "sha256": "{hashes[0]}"}}',
    ]
    for at, value in enumerate(objects):
        await connection.execute(
            "INSERT INTO stepwell.hot_object VALUES ($1, 0, $2, 1, 1, now(), 'k', $3)", RUN, at, value
        )
    for at, value in enumerate(notes):
        await connection.execute(
            "INSERT INTO stepwell.note VALUES ($1, 1, 1, 0, $2, 0, now(), 'object', $3)", RUN, at, value
        )
    await connection.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 3)", bytes.fromhex(hashes[3]))
    assert "0011_blob_use_object_index" in await migrations.migrate(connection)
    rows = await connection.fetch("SELECT run_id, sha256 FROM stepwell.blob_use ORDER BY sha256")
    assert [(row["run_id"], row["sha256"].hex()) for row in rows] == [(RUN, sha256) for sha256 in hashes[:3]]
    # The others have an unknown age, so their grace period begins now.
    assert await connection.fetchval("SELECT now() - touched_at < interval '1 hour' FROM stepwell.blob")
    await connection.close()
