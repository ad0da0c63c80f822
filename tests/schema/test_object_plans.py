"""Conditions on run, key and steps use the indexes of objects, even for keys that are too long for a btree."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.db

STEPS = 4000
LONG = "long/" + "ä" * 16_000
Plan = dict[str, Any]


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Two runs with ten keys at every step, and `rare` and a very long key at every 500th step; analyzed."""
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"jit": "off"})
    if not await connection.fetchval("SELECT count(*) FROM stepwell.run"):
        await connection.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 2)")
        for run in ("a", "b"):
            attach = "SELECT run_id FROM stepwell.attach_v1('team', 'mnist', $1, '0', gen_random_uuid(), false, '{}')"
            await connection.execute(
                "INSERT INTO stepwell.hot_object SELECT $1, s, s, 1, 1, now(), k.key, to_jsonb(s) "
                "FROM generate_series(0, $2 - 1) s CROSS JOIN (SELECT 'key-' || n, 1 FROM generate_series(0, 8) n "
                "UNION ALL VALUES ('rare', 500), ($3, 500)) k (key, every) WHERE s % k.every = 0",
                *(await connection.fetchval(attach, run), STEPS, LONG),
            )
        await connection.execute("VACUUM ANALYZE stepwell.hot_object")
    yield connection
    await connection.close()


async def read(connection: asyncpg.Connection, where: str, *arguments: object) -> tuple[int, float, str]:
    """For the view: its rows, the number of rows read from the table, and the index conditions."""
    query = f"SELECT * FROM stepwell.history_objects WHERE project = 'mnist' AND run = 'a' AND {where}"
    found = await connection.fetchval(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {query}", *arguments)
    plan = json.loads(found)[0]["Plan"]
    scans = [node for node in nodes(plan) if str(node.get("Relation Name", "")).startswith("hot_object")]
    rows = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * node["Actual Loops"]
        for node in scans
    )
    asked = [node["Index Cond"] for scan in scans for node in nodes(scan) if "Index Cond" in node]
    return plan["Actual Rows"], rows, " ".join(asked)


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def test_rare_key_reads_only_its_objects(connection: asyncpg.Connection) -> None:
    shown, rows, asked = await read(connection, "key = 'rare'")
    assert (shown, rows) == (STEPS // 500, 2 * STEPS // 500)  # and those of very long keys, which are filtered
    assert "key = 'rare'" in asked


@pytest.mark.parametrize("keys", ["key = 'key-3'", "key = ANY ('{key-3,nope}')", "true"])
async def test_step_range_reads_few_blocks(connection: asyncpg.Connection, keys: str) -> None:
    shown, rows, asked = await read(connection, f"{keys} AND step >= 1500 AND step < 1520")
    assert shown == (20 * 9 + 2 if keys == "true" else 20)
    assert rows < STEPS  # the objects of a key, a tenth of those of the run
    assert "step >= 1500" in asked


async def test_key_too_long_for_a_btree_is_found(connection: asyncpg.Connection) -> None:
    shown, rows, _ = await read(connection, f"key = '{LONG}'")
    assert (shown, rows) == (STEPS // 500, STEPS // 500)


async def test_query_without_key_shows_each_object_once(connection: asyncpg.Connection) -> None:
    shown, rows, _ = await read(connection, "step >= 0")
    assert shown == 9 * STEPS + 2 * STEPS // 500
    assert rows < 1.1 * shown  # and others in its first and last block


@pytest.mark.parametrize("length", [1999, 2000, 2001, 32_767])
async def test_keys_near_the_limit_are_shown_once(connection: asyncpg.Connection, length: int) -> None:
    async with connection.transaction():
        key = "".join(chr(33 + at * 7919 % 94) for at in range(length))  # incompressible
        await connection.execute(
            "INSERT INTO stepwell.hot_object SELECT run_id, 0, 7, 1, 1, now(), $1, '1' FROM stepwell.run "
            "WHERE name = 'a'",
            key,
        )
        found = await connection.fetch("SELECT step FROM stepwell.history_objects WHERE run = 'a' AND key = $1", key)
        assert [row["step"] for row in found] == [7]
        await connection.execute("DELETE FROM stepwell.hot_object WHERE key = $1", key)
