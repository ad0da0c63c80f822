"""Conditions on run, metric, writer and step use the indexes in hot and in sealed history."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.histories import START, Histories
from fixtures.plans import conditions, nodes, plan_of, rows_read, scans

pytestmark = pytest.mark.db

STEPS, METRICS = 6000, 8


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Three runs of two writers: 5 blocks of each are sealed to 6 chunks per metric, and 6 are hot; analyzed."""
    pool = await asyncpg.create_pool(any_shared_dsn, min_size=1, max_size=2)
    if not await pool.fetchval("SELECT count(*) FROM stepwell.run"):
        await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
        made = Histories(pool)
        keys = [f"metric-{number}" for number in range(METRICS)]
        for name in ("a", "b", "c"):
            for writer in ("0", "1"):
                stored = await made.attach(name, writer)
                for _ in range(6):
                    await made.put(stored, keys, np.ones((METRICS, 1000)))
        await made.seal(whole=True)
        await pool.execute("TRUNCATE stepwell.hot_block")
        for stored in made.epochs:
            for _ in range(60):
                await made.put(stored, keys, np.ones((METRICS, 100)))
    await pool.execute("ANALYZE stepwell.hot_block, stepwell.chunk, stepwell.track, stepwell.ledger, stepwell.metric")
    pool.terminate()
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"jit": "off"})
    yield connection
    await connection.close()


async def test_run_and_metric_conditions_use_indexes(connection: asyncpg.Connection) -> None:
    plan = await plan_of(connection, "SELECT * FROM stepwell.history WHERE run = 'a' AND metric = 'metric-3'")
    assert "run_id" in conditions(plan, "hot_block")
    chunk = conditions(plan, "chunk")
    assert "run_id" in chunk
    assert "metric_id" in chunk
    assert plan["Actual Rows"] == 2 * 2 * STEPS
    assert rows_read(plan, "chunk") == 2 * 6  # of one metric of one run


@pytest.mark.parametrize("where", ["run_id = {id}", "run_id = {id} AND run = 'b'", "project = 'mnist' AND run = 'b'"])
async def test_run_condition_reads_no_other_runs(connection: asyncpg.Connection, where: str) -> None:
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = 'b'")
    plan = await plan_of(connection, f"SELECT count(*) FROM stepwell.history WHERE {where.format(id=run_id)}")
    assert rows_read(plan, "chunk") == 2 * 6 * METRICS
    assert rows_read(plan, "hot_block") == 2 * 60 * METRICS


@pytest.mark.parametrize(
    ("low", "high", "chunks", "blocks"), [(0, 1024, 1, 0), (1500, 2500, 2, 0), (5990, 6010, 1, 1), (11000, 11100, 0, 1)]
)
async def test_history_between_uses_indexes(
    connection: asyncpg.Connection, low: int, high: int, chunks: int, blocks: int
) -> None:
    where = "run = 'c' AND metric = 'metric-0' AND writer = '1'"
    plan = await plan_of(connection, f"SELECT * FROM stepwell.history_between({low}, {high}) WHERE {where}")
    assert plan["Actual Rows"] == high - low
    if chunks:
        assert "step_hi" in conditions(plan, "chunk")
    if blocks:
        assert "step_hi" in conditions(plan, "hot_block")
    assert rows_read(plan, "chunk") <= 2 * chunks
    # The upper bound is in the index. step_lo is not, so higher blocks are read, but their arrays are not.
    opened = sum(node["Actual Rows"] * node["Actual Loops"] for node in scans(plan, "hot_block"))
    assert opened <= 2 * blocks


@pytest.mark.parametrize(
    ("low", "high", "chunks"), [(None, 900, 2), (3000, 3100, 1), (1500, 2500, 2), (None, None, 6), (-20, -10, 0)]
)
async def test_time_range_reads_only_its_chunks(
    connection: asyncpg.Connection, low: int | None, high: int | None, chunks: int
) -> None:
    bounds = [
        "NULL" if seconds is None else f"'{(START + timedelta(seconds=seconds)).isoformat()}'::timestamptz"
        for seconds in (low, high)
    ]
    plan = await plan_of(
        connection,
        f"SELECT * FROM stepwell.history_in_time({', '.join(bounds)}) WHERE run = 'a' AND metric = 'metric-3'",
    )
    opened = [node for node in nodes(plan) if node.get("Alias") == "a" and node["Node Type"] == "Subquery Scan"]
    # Two writers. The last 1,000 steps have the same times as the first 1,000.
    assert sum(node["Actual Loops"] for node in opened) <= 2 * (chunks + 2 * (chunks > 0))


async def test_tracks_are_found_by_their_ids(connection: asyncpg.Connection) -> None:
    """By the run alone, each chunk was compared with all tracks of the run."""
    query = "SELECT avg(value) FROM stepwell.history WHERE run = 'a' AND metric = 'metric-3'"
    async with connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")  # as for more than these few tracks
        plan = await plan_of(connection, query)
    assert "track_id" in conditions(plan, "track")


async def test_points_pass_no_tuple_store(connection: asyncpg.Connection) -> None:
    """A function in FROM writes its rows to a tuple store first, which took a sixth of the time of a read."""
    for relation in ("history", "history_between(0, 9000)", "history_in_time(NULL, NULL)"):
        plan = await plan_of(connection, f"SELECT count(*) FROM stepwell.{relation} WHERE run = 'a'")
        series = [node for node in nodes(plan) if node.get("Function Name") == "generate_series"]
        assert not series, relation


async def test_writer_condition_uses_indexes(connection: asyncpg.Connection) -> None:
    plan = await plan_of(
        connection, "SELECT * FROM stepwell.history WHERE run = 'a' AND metric = 'metric-3' AND writer = '0'"
    )
    assert plan["Actual Rows"] == 2 * STEPS
    assert "writer_id" in conditions(plan, "hot_block")
    assert rows_read(plan, "hot_block") == 60


async def test_sample_skips_chunks_inside_a_bucket(connection: asyncpg.Connection) -> None:
    """auto_explain is not available, so reads of large values are counted with the statistics of Postgres."""
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = 'a'")
    count = (
        "SELECT coalesce(sum(heap_blks_hit + heap_blks_read), 0) FROM pg_statio_all_tables WHERE relid IN "
        "(SELECT reltoastrelid FROM pg_class WHERE relname LIKE 'chunk_2%')"
    )
    await connection.execute("SET stats_fetch_consistency = none")

    async def read(query: str, *arguments: Any) -> int:
        before = await connection.fetchval(count)
        assert await connection.fetch(query, *arguments)
        await connection.execute("SELECT pg_stat_force_next_flush()")
        after = await connection.fetchval(count)
        return int(after - before)

    sample = "SELECT * FROM stepwell.history_sample($1, 'metric-0', 4, 0, 6144)"
    whole = "SELECT sum(value) FROM stepwell.history_between(0, 6144) WHERE run_id = $1 AND metric = 'metric-0'"
    assert await read(whole, run_id) > 0
    assert await read(sample, run_id) == 0


@pytest.mark.parametrize(("grid", "tracks"), [(10, 0), (5, 2 * 2 * 6)])
async def test_statistics_look_up_the_tracks_of_split_chunks_only(
    connection: asyncpg.Connection, grid: int, tracks: int
) -> None:
    """Two writers, twice: regular steps and others. With a track of each chunk compared with all, it is quadratic."""
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = 'a'")
    plan = await plan_of(
        connection,
        "SELECT p.* FROM stepwell.metric m "
        f"CROSS JOIN LATERAL stepwell.parts_v1(m.run_id, m.run_id, m.metric_id, 0, 6000, {grid}) p "
        f"WHERE m.run_id = {run_id} AND m.name = 'metric-0'",
    )
    assert plan["Actual Rows"] >= 2 * 6
    assert sum(node["Actual Loops"] for node in scans(plan, "track")) <= tracks


async def test_superseded_view_reads_only_affected_epochs(
    connection: asyncpg.Connection,
) -> None:
    plan = await plan_of(
        connection, "SELECT * FROM stepwell.history_superseded WHERE run = 'a' AND metric = 'metric-3'"
    )
    assert plan["Actual Rows"] == 0
    assert rows_read(plan, "hot_block") == 0


async def test_read_of_named_metrics_reads_no_other_metric(connection: asyncpg.Connection) -> None:
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = 'b'")
    arrays = f"SELECT * FROM stepwell.history_arrays_v1({run_id}, ARRAY['metric-1', 'metric-5'], 1500, 2500)"
    plan = await plan_of(connection, arrays)
    assert "metric_id" in conditions(plan, "chunk")
    assert rows_read(plan, "chunk") <= 2 * 2 * 3  # metrics, writers, chunks


async def test_default_summary_reads_no_chunks(
    connection: asyncpg.Connection,
) -> None:
    plan = await plan_of(connection, "SELECT * FROM stepwell.summary WHERE run = 'a' AND project = 'mnist'")
    assert plan["Actual Rows"] >= METRICS
    assert rows_read(plan, "chunk") == 0
    assert rows_read(plan, "hot_block") <= 2 * 60 + 2  # to find the newest of each writer, and to read those


async def test_config_is_computed_once_per_run(connection: asyncpg.Connection) -> None:
    plan = await plan_of(
        connection,
        "SELECT h.run, max(h.value), r.config->>'lr' FROM stepwell.history h JOIN stepwell.runs r USING (run_id) "
        "WHERE h.metric = 'metric-3' GROUP BY h.run, r.config",
    )
    made = [node for node in nodes(plan) if node.get("Alias") == "m" and node["Node Type"] == "Subquery Scan"]
    made += [node for node in nodes(plan) if "run_config_v1" in str(node.get("Output"))]
    assert plan["Actual Rows"] == 3
    assert all(node["Actual Loops"] <= 3 for node in made)
    calls = "SELECT sum(calls) FROM pg_stat_xact_user_functions WHERE funcname = 'run_config_v1'"
    async with connection.transaction():
        await connection.execute("SET LOCAL track_functions = 'all'")
        rows = await connection.fetch(
            "SELECT r.config, count(*) FROM stepwell.history h JOIN stepwell.runs r USING (run_id) "
            "WHERE h.metric = 'metric-3' GROUP BY r.config"
        )
        assert sum(row["count"] for row in rows) == 3 * 2 * 2 * STEPS
        assert (await connection.fetchval(calls) or 0) <= 3
