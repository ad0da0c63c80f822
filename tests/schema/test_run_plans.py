"""Lists of runs compute only the selected columns, and history is read only for the runs that a query selects."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories
from fixtures.plans import conditions, nodes, plan_of, rows_read
from stepwell_schema import queries

pytestmark = pytest.mark.db

RUNS, METRICS, STEPS = 60, 40, 20


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Sealed runs of one writer and 40 metrics; every tenth has the tag `best`. Analyzed like autovacuum does."""
    pool = await asyncpg.create_pool(any_shared_dsn, min_size=1, max_size=2)
    if not await pool.fetchval("SELECT count(*) FROM stepwell.run"):
        await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 2)")
        made = Histories(pool)
        for number in range(RUNS):
            stored = await made.attach(f"run-{number}", "0")
            keys = ["loss", *(f"metric-{n}" for n in range(METRICS - 1))]
            await made.put(stored, keys, np.full((METRICS, STEPS), number / 2))
            await pool.execute(
                "INSERT INTO stepwell.note VALUES ($1, 1, 1, -1, 1, 0, now(), 'meta', $2), "
                "($1, 1, 1, 0, 0, 0, now(), 'config', $3)",
                stored.key.run_id,
                '{"tags": ["best"], "group": "g"}' if number % 10 == 0 else '{"tags": []}',
                f'{{"set": {{"number": {number}}}}}',
            )
        await made.seal(whole=True)
        await pool.execute("TRUNCATE stepwell.hot_block")
        for (table,) in await pool.fetch(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'stepwell'::regnamespace"
        ):
            await pool.execute(f"ANALYZE {table}")
    pool.terminate()
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"jit": "off"})
    yield connection
    await connection.close()


@pytest.mark.parametrize("column", ["config", "tags", "run_group", "display_name", "notes"])
async def test_no_function_is_called_per_run(connection: asyncpg.Connection, column: str) -> None:
    """A call costs 2 ms per run, and 0.05 ms inlined."""
    async with connection.transaction():
        await connection.execute("SET LOCAL track_functions = 'all'")
        assert len(await connection.fetch(f"SELECT {column} FROM stepwell.runs")) == RUNS
        called = await connection.fetch("SELECT funcname FROM pg_stat_xact_user_functions")
        assert not {name for (name,) in called if name.endswith("_of_v1") or name.startswith("run_")}


async def test_unselected_columns_are_not_computed(connection: asyncpg.Connection) -> None:
    plan = await plan_of(connection, "SELECT run, state, created_at FROM stepwell.runs")
    assert {str(node.get("Relation Name", "run"))[:4] for node in nodes(plan)} <= {"run", "ledg"}


@pytest.mark.parametrize("where", ["'best' = ANY (r.tags)", "r.run_group = 'g'"])
async def test_history_by_tag_or_group_reads_no_other_run(connection: asyncpg.Connection, where: str) -> None:
    plan = await plan_of(
        connection,
        "SELECT h.run, avg(h.value) FROM stepwell.runs r JOIN stepwell.history h USING (run_id) "
        f"WHERE r.project = 'mnist' AND {where} AND h.metric = 'loss' GROUP BY 1",
    )
    assert plan["Actual Rows"] == RUNS // 10
    assert rows_read(plan, "chunk") == RUNS // 10


async def test_summary_key_of_a_project_reads_only_that_key(connection: asyncpg.Connection) -> None:
    plan = await plan_of(
        connection, "SELECT run, number FROM stepwell.summary WHERE project = 'mnist' AND key = 'loss'"
    )
    assert plan["Actual Rows"] == RUNS
    assert rows_read(plan, "metric_2") <= RUNS * METRICS  # the names of each run, once
    assert rows_read(plan, "metric_total") <= RUNS * METRICS
    assert rows_read(plan, "chunk") == 0
    assert not [node for node in nodes(plan) if node.get("Function Name") == "summary_end_v1" and node["Actual Loops"]]


@pytest.mark.parametrize("where", ["run = 'run-7'", "run_id = (SELECT run_id FROM stepwell.run WHERE name = 'run-7')"])
async def test_run_summary_reads_only_its_metrics(connection: asyncpg.Connection, where: str) -> None:
    plan = await plan_of(connection, f"SELECT key, value FROM stepwell.summary WHERE {where}")
    assert plan["Actual Rows"] >= METRICS
    assert rows_read(plan, "metric_2") == METRICS
    assert rows_read(plan, "metric_total") == METRICS


async def test_set_summary_values_are_not_read_per_key(connection: asyncpg.Connection) -> None:
    """They may be large: a summary of 60 MB that was set took more than a minute."""
    transaction = connection.transaction()
    await transaction.start()
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.run WHERE name = 'run-7'")
    await connection.execute(
        "INSERT INTO stepwell.note SELECT $1, 1, 1, n, 0, 0, now(), 'summary', "
        "jsonb_build_object('set', jsonb_build_object('set-' || n, n)) FROM generate_series(1, 50) n",
        run_id,
    )
    unset = "INSERT INTO stepwell.note VALUES ($1, 1, 1, 51, 0, 0, now(), 'summary', $2)"
    await connection.execute(unset, run_id, '{"unset": ["set-7"]}')
    plan = await plan_of(connection, "SELECT key, value FROM stepwell.summary WHERE run = 'run-7'")
    recordsets = [node for node in nodes(plan) if node.get("Function Name") == "jsonb_to_recordset"]
    per_key = [node for node in recordsets if node["Alias"].startswith("n")]
    await transaction.rollback()
    assert plan["Actual Rows"] >= METRICS + 49
    assert per_key
    # Only the note that unsets a key is read for each key.
    assert sum(node["Actual Rows"] * node["Actual Loops"] for node in per_key) <= METRICS + 50


async def test_page_of_runs_computes_only_its_summaries(connection: asyncpg.Connection) -> None:
    plan = await plan_of(
        connection,
        "SELECT s.run, s.key, s.value FROM (SELECT run_id FROM stepwell.runs WHERE project = 'mnist' "
        "ORDER BY created_at DESC LIMIT 5) r JOIN stepwell.summary s USING (run_id)",
    )
    assert plan["Actual Rows"] >= 5 * METRICS
    assert rows_read(plan, "metric_total") == 5 * METRICS


async def test_stored_summary_key_uses_the_index(connection: asyncpg.Connection) -> None:
    transaction = connection.transaction()
    await transaction.start()
    run_ids = [row["run_id"] for row in await connection.fetch("SELECT run_id FROM stepwell.run")]
    await connection.execute(queries("seal")["store_summaries"], run_ids)
    await connection.execute("ANALYZE stepwell.stored_summary, stepwell.stored_value")
    for query in (
        "SELECT run, number FROM stepwell.summary WHERE project = 'mnist' AND key = 'loss' ORDER BY 2",
        "SELECT r.run FROM stepwell.runs r JOIN stepwell.summary s USING (run_id) "
        "WHERE r.project = 'mnist' AND s.key = 'loss' ORDER BY s.number",
    ):
        plan = await plan_of(connection, query)
        assert plan["Actual Rows"] == RUNS
        assert rows_read(plan, "stored_value") == RUNS
        assert "key = 'loss'" in conditions(plan, "stored_value")
        for table in ("metric", "note", "chunk", "hot"):
            assert rows_read(plan, table) == 0, table
    await connection.execute("SET LOCAL track_functions = 'all'")  # a call per run takes some µs
    assert len(await connection.fetch("SELECT value, number FROM stepwell.summary WHERE key = 'loss'")) == RUNS
    assert await connection.fetch(f"SELECT funcname FROM pg_stat_xact_user_functions WHERE calls >= {RUNS}") == []
    await transaction.rollback()
