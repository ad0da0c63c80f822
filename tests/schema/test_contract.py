"""The SQL contract and the rules of the layout: columns, keys, and queries for both versions."""

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
        *[("notes", "text"), ("tags", "text[]"), ("job_type", "text"), ("run_group", "text"), ("host", "text")],
        ("heartbeat_at", "timestamp with time zone"),
        ("archived_at", "timestamp with time zone"),
    ],
    "summary": [*RUN[:4], ("key", "text"), ("value", "jsonb"), ("number", "double precision")],
    "metrics": [*RUN[:4], ("name", "text"), ("first_step", "bigint"), ("last_step", "bigint")],
    "definitions": [
        *RUN[:4],
        *[("name", "text"), ("is_glob", "boolean"), ("step_metric", "text"), ("step_sync", "boolean")],
        *[("hidden", "boolean"), ("summary", "text[]"), ("goal", "text")],
    ],
    "console": [
        *RUN,
        *[("time", "timestamp with time zone"), ("stream", "text"), ("epoch", "integer"), ("number", "bigint")],
        ("line", "text"),
    ],
    "system": [*RUN, ("metric", "text"), ("time", "timestamp with time zone"), ("value", "double precision")],
    "metadata": [*RUN, ("metadata", "jsonb")],
    "files": [
        *[*RUN, ("name", "text"), ("sha256", "text"), ("size", "bigint"), ("time", "timestamp with time zone")],
    ],
    "alerts": [
        *[*RUN, ("time", "timestamp with time zone"), ("step", "bigint"), ("level", "text"), ("title", "text")],
        *[("text", "text"), ("wait_duration_s", "double precision")],
    ],
    "history_superseded": [*RUN, ("epoch", "integer"), ("metric", "text"), *POINT, ("value", "double precision")],
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
    await connection.execute("SELECT stepwell.ensure_partitions_v1('2026-01-01', 2)")  # besides three of the template
    yield connection
    await connection.close()


async def test_views_have_exactly_the_contract_columns(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relnamespace = 'stepwell'::regnamespace "
        "AND c.relkind = 'v' AND a.attnum > 0 ORDER BY c.relname, a.attnum"
    )
    views: dict[str, list[tuple[str, str]]] = {}
    for view, column, kind in rows:
        views.setdefault(view, []).append((column, kind))
    assert views == CONTRACT


async def test_unique_constraints_and_indexes_contain_run_id(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT t.relname AS table, i.relname AS index, array_agg(a.attname::text) AS columns FROM pg_index x "
        "JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid "
        "JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (x.indkey) "
        "WHERE t.relnamespace = 'stepwell'::regnamespace AND x.indisunique GROUP BY 1, 2"
    )
    unique = {row["table"] for row in rows}
    assert {"run", "metric", "writer", "ledger", "rejection", "metric_2026_01"} <= unique
    # Blobs belong to no run, since a file may be in many, and keys neither. `lock` is never changed, and
    # `run_being_made` is always empty. Layouts and views belong to a project.
    others = {"migration", "replaced", "hot_ring", "blob", "lock", "run_being_made"}
    others |= {"project_layout", "saved_view", "api_key", "blob_owner", "sign_in"}
    assert {row["table"] for row in rows if "run_id" not in row["columns"]} == others
    constraints = await connection.fetch(
        "SELECT t.relname, array_agg(a.attname::text) AS columns FROM pg_constraint c "
        "JOIN pg_class t ON t.oid = c.conrelid JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (c.conkey) "
        "WHERE t.relnamespace = 'stepwell'::regnamespace AND c.contype IN ('p', 'u', 'x') GROUP BY c.oid, 1"
    )
    without = {row["relname"] for row in constraints if "run_id" not in row["columns"]}
    assert without == others


async def test_there_are_no_foreign_keys_or_triggers(connection: asyncpg.Connection) -> None:
    # Foreign keys and triggers would slow down every COPY, and a month could not be dropped as a whole.
    where = "connamespace = 'stepwell'::regnamespace AND contype = 'f'"
    assert await connection.fetchval(f"SELECT count(*) FROM pg_constraint WHERE {where}") == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0


async def test_history_is_partitioned(
    connection: asyncpg.Connection,
) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, pg_get_partkeydef(c.oid) FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid"
    )
    by_run = ("chunk", "hot_object", "metric", "metric_total", "note", "track")
    assert {tuple(row) for row in rows} == {
        ("hot_block", "LIST (ring)"),
        *((name, "RANGE (run_id)") for name in by_run),
    }


async def test_history_has_no_index_per_point(
    connection: asyncpg.Connection,
) -> None:
    indexes = await connection.fetch(
        "SELECT t.relname, x.indisunique FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid "
        "WHERE t.relname ~ '^(hot_block|hot_object|chunk)'"
    )
    assert len(indexes) == 7 + 4 * 6 + 2 * 6  # of the parents and their partitions
    assert not any(row["indisunique"] for row in indexes)


async def test_arrays_are_never_compressed(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname, a.attname, a.attstorage FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid "
        "WHERE c.relname ~ '^(hot_block|chunk|track)' AND c.relkind IN ('r', 'p') "
        "AND format_type(a.atttypid, -1) LIKE '%[]'"
    )
    assert len(rows) == 7 * 4 + 6 * (4 + 3)
    assert {row["attstorage"] for row in rows} == {b"e"}


async def test_internal_functions_have_a_version(connection: asyncpg.Connection) -> None:
    names = await connection.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'stepwell'::regnamespace")
    without = {row[0] for row in names if not row[0].rpartition("_v")[2].isdecimal()}
    assert without == {
        *(
            "history_between",
            "history_sample",
            "history_wide",
            "history_in_time",
            "history_samples",
            "history_last",
            "history_position",
            "history_asof",
        ),
    }


@pytest.mark.parametrize(("module", "name"), QUERIES)
async def test_every_query_can_be_prepared(connection: asyncpg.Connection, module: str, name: str) -> None:
    await connection.execute("SET search_path = pg_catalog")
    await connection.prepare(stepwell_schema.queries(module)[name])


async def test_no_table_is_unlogged_or_temporary(any_shared_dsn: str) -> None:
    """Acknowledged data is never in a table that a crash truncates."""
    connection = await asyncpg.connect(any_shared_dsn)
    try:
        kinds = await connection.fetch(
            "SELECT DISTINCT relpersistence::text FROM pg_class WHERE relnamespace = 'stepwell'::regnamespace"
        )
    finally:
        await connection.close()
    assert [kind for (kind,) in kinds] == ["p"]
