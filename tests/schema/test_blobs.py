"""The blobs that an object references, and whether they are stored."""

from __future__ import annotations

from typing import Any

import asyncpg
import orjson
import pytest

pytestmark = pytest.mark.db

A, B = "a" * 64, "b" * 64


async def blobs_of(pg: asyncpg.Connection, value: Any) -> list[str]:
    return list(await pg.fetchval("SELECT stepwell.blobs_of_v1($1::jsonb)", orjson.dumps(value).decode()))


async def there(pg: asyncpg.Connection, value: Any) -> bool:
    return bool(await pg.fetchval("SELECT stepwell.blobs_there_v1($1::jsonb)", orjson.dumps(value).decode()))


@pytest.mark.parametrize(
    ("value", "hashes"),
    [
        ({"_type": "image-file", "sha256": A, "size": 3, "path": "media/x.png"}, [A]),
        ({"_type": "images", "files": [{"path": "x", "sha256": B}, {"path": "y", "sha256": A}]}, [A, B]),
        ({"_type": "images", "files": [{"sha256": A}, {"sha256": A}], "masks": {"m": {"sha256": A}}}, [A]),
        ({"_type": "x", "sha256": 5}, []),
        ({"_type": "x", "sha256": "no hash"}, []),
        ({"_type": "x", "sha256": A.upper()}, []),
        ({"_type": "x", "sha256": {"sha256": B}}, [B]),
        ({"_type": "float64", "value": "NaN"}, []),
        ([], []),
        ("text", []),
        (None, []),
    ],
)
async def test_hashes_of_an_object(any_pg: asyncpg.Connection, value: Any, hashes: list[str]) -> None:
    assert await blobs_of(any_pg, value) == hashes


async def test_object_is_shown_when_all_its_blobs_are_stored(any_pg: asyncpg.Connection) -> None:
    one, two = {"_type": "image-file", "sha256": A}, [{"_type": "x", "sha256": A}, {"_type": "y", "sha256": B}]
    assert (await there(any_pg, one), await there(any_pg, two)) == (False, False)
    for sha256, expected in ((A, (True, False)), (B, (True, True))):
        await any_pg.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 1)", bytes.fromhex(sha256))
        assert (await there(any_pg, one), await there(any_pg, two)) == expected


@pytest.mark.parametrize(
    "value", [None, 5, "text", "_type", [], ["_type"], [{"sha256": A}], {"sha256": A}, {"_type": "x"}]
)
async def test_other_objects_are_always_shown(any_pg: asyncpg.Connection, value: Any) -> None:
    """A user's own dict with a field `sha256` is a value like any other."""
    assert await there(any_pg, value)


async def test_planner_checks_one_key_for_other_objects(any_pg: asyncpg.Connection) -> None:
    plan = await any_pg.fetch(
        "EXPLAIN (VERBOSE) SELECT count(*) FROM stepwell.run r WHERE stepwell.blobs_there_v1(r.config)"
    )
    text = "\n".join(row[0] for row in plan)
    assert "? '_type'" in text
    assert "blobs_there_v1(" not in text


async def test_each_blob_of_a_media_object_is_looked_up_once(any_pg: asyncpg.Connection) -> None:
    await any_pg.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    attach = "SELECT run_id FROM stepwell.attach_v1('team', 'mnist', 'media', '0', gen_random_uuid(), false, '{}')"
    run_id = await any_pg.fetchval(attach)
    images = [{"_type": "image-file", "sha256": hash_} for hash_ in (A, B)]
    for step in range(10):
        note = {"key": "samples", "step": step, "value": images}
        await any_pg.execute(
            "INSERT INTO stepwell.note (run_id, writer_id, epoch, seq, ord, step, time, kind, value) "
            "VALUES ($1, 1, 1, 0, $2::integer, $2::integer, now(), 'object', $3)",
            *(run_id, step, orjson.dumps(note).decode()),
        )
    for sha256 in (A, B):
        await any_pg.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 1)", bytes.fromhex(sha256))
    async with any_pg.transaction():
        await any_pg.execute("SET LOCAL track_functions = 'all'; SET LOCAL enable_seqscan = off")
        lookups = "SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = 'blob'"
        before = await any_pg.fetchval(lookups)
        assert (
            len(await any_pg.fetch("SELECT key, step, value FROM stepwell.history_objects WHERE key = 'samples'")) == 10
        )
        assert await any_pg.fetchval(lookups) - before == 10 * len(images)
