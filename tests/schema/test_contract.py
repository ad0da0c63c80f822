"""What SQL users may rely on, and what the layout must keep to: columns, keys, and queries for both versions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import stepwell_schema

pytestmark = pytest.mark.db

RUN = [("entity", "text"), ("project", "text"), ("run", "text"), ("run_id", "bigint"), ("writer", "text")]
POINT = [("step", "bigint"), ("time", "timestamp with time zone")]
CONTRACT = {
    "history": [*RUN, ("metric", "text"), *POINT, ("value", "double precision")],
    "history_objects": [*RUN, ("key", "text"), *POINT, ("value", "jsonb")],
    "runs": [
        *RUN[:3],
        *[("display_name", "text"), ("state", "text"), ("config", "jsonb")],
        *[("created_at", "timestamp with time zone"), ("finished_at", "timestamp with time zone")],
        *[("exit_code", "integer"), ("last_step", "bigint"), ("points", "bigint"), ("objects", "bigint")],
        *[
            ("rejected", "bigint"),
            ("writers", "bigint"),
            ("run_id", "bigint"),
            ("parent", "text"),
            ("fork_step", "bigint"),
        ],
    ],
    "history_superseded": [*RUN, ("epoch", "integer"), ("metric", "text"), *POINT, ("value", "double precision")],
    "all_points": [
        *RUN,
        *[("metric", "text"), *POINT, ("value", "double precision"), ("epoch", "integer")],
        *[("superseded", "boolean"), ("source_run_id", "bigint")],
    ],
    "metrics": [*RUN[:4], ("name", "text"), ("first_step", "bigint"), ("last_step", "bigint")],
    "summary": [("run_id", "bigint"), ("key", "text"), ("value", "jsonb")],
    "rejections": [
        *RUN,
        *[("epoch", "integer"), ("seq", "bigint"), ("code", "text"), ("message", "text"), ("points", "bigint")],
        *[("objects", "bigint"), ("first_step", "bigint"), ("last_step", "bigint")],
        ("rejected_at", "timestamp with time zone"),
    ],
}
QUERIES = [
    (path.stem, name)
    for path in sorted((Path(stepwell_schema.__file__).parent / "queries").glob("*.sql"))
    for name in stepwell_schema.queries(path.stem)
]


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_shared_dsn)
    await connection.execute("SELECT stepwell.ensure_partitions_v1('2026-01-01', 2)")
    yield connection
    await connection.close()


async def test_the_views_have_exactly_the_columns_of_the_contract(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'stepwell'::regnamespace "
        "AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum"
    )
    views: dict[str, list[tuple[str, str]]] = {}
    for view, column, kind in rows:
        views.setdefault(view, []).append((column, kind))
    assert views == CONTRACT


async def test_every_unique_constraint_and_index_holds_the_run_id(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT t.relname AS table, i.relname AS index, array_agg(a.attname::text) AS columns FROM pg_index x "
        "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid "
        "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (x.indkey) "
        "WHERE t.relnamespace = 'stepwell'::regnamespace AND x.indisunique GROUP BY 1, 2"
    )
    unique = {row["table"] for row in rows}
    assert {"run", "metric", "writer", "ledger", "rejection", "metric_2026_01"} <= unique
    assert {row["table"] for row in rows if "run_id" not in row["columns"]} == {"migration"}
    constraints = await connection.fetch(
        "SELECT t.relname, array_agg(a.attname::text) AS columns FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (c.conkey) "
        "WHERE t.relnamespace = 'stepwell'::regnamespace AND c.contype IN ('p', 'u', 'x') GROUP BY c.oid, 1"
    )
    assert {row["relname"] for row in constraints if "run_id" not in row["columns"]} == {"migration"}


async def test_nothing_points_from_table_to_table(connection: asyncpg.Connection) -> None:
    # Foreign keys and triggers would cost every COPY, and a month could not be dropped whole.
    where = "connamespace = 'stepwell'::regnamespace AND contype = 'f'"
    assert await connection.fetchval(f"SELECT count(*) FROM pg_constraint WHERE {where}") == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0


async def test_history_is_partitioned_by_the_run_id_alone_and_has_no_index_per_point(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, pg_get_partkeydef(c.oid) FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid "
        "ORDER BY 1"
    )
    assert [tuple(row) for row in rows] == [(name, "RANGE (run_id)") for name in ("hot_block", "hot_object", "metric")]
    indexes = await connection.fetch(
        "SELECT t.relname, x.indisunique FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid "
        "WHERE t.relname LIKE 'hot_%'"
    )
    assert len(indexes) == 6
    assert not any(row["indisunique"] for row in indexes)


async def test_arrays_are_never_compressed(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, a.attstorage FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relname LIKE 'hot_block%' AND c.relkind IN ('r', 'p') AND format_type(a.atttypid, -1) LIKE '%[]'"
    )
    assert len(rows) == 12
    assert {row["attstorage"] for row in rows} == {b"e"}


async def test_functions_carry_their_version(connection: asyncpg.Connection) -> None:
    names = await connection.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'stepwell'::regnamespace")
    assert names
    plain = {row[0] for row in names if not row[0].rpartition("_v")[2].isdecimal()}
    # Those that people write in SQL are part of the contract, which has a version as a whole.
    assert plain == {"history_arrays", "history_between", "history_sample"}


@pytest.mark.parametrize(("module", "name"), QUERIES)
async def test_every_query_can_be_prepared(connection: asyncpg.Connection, module: str, name: str) -> None:
    await connection.execute("SET search_path = pg_catalog")
    await connection.prepare(stepwell_schema.queries(module)[name])


async def test_no_table_is_unlogged_or_temporary(any_shared_dsn: str) -> None:
    """Nothing that was acknowledged lies where a crash empties it."""
    connection = await asyncpg.connect(any_shared_dsn)
    try:
        kinds = await connection.fetch(
            "SELECT DISTINCT relpersistence::text FROM pg_class WHERE relnamespace = 'stepwell'::regnamespace"
        )
    finally:
        await connection.close()
    assert [kind for (kind,) in kinds] == ["p"]
