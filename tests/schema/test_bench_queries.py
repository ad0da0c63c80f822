"""The queries of `make bench-sql` on a little data: the rows of the plain table, and plans that read no more."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from bench_sql import comparable
from fixtures.plans import nodes, plan_of, rows_read
from sql_data import Shape, load
from sql_queries import QUERIES, TIMES_QUERY, Query, placed

pytestmark = pytest.mark.db

#: Enough for a fork, a rewound run, and a run that is half hot.
SHAPE = Shape(large=61, small=8, wide=300, long=6000, fresh=300, writers=8)
#: The chunks of a metric of some runs; without `FILTER`, of all runs.
CHUNKS = """SELECT count(*) FROM stepwell.chunk c JOIN stepwell.metric m USING (run_id, metric_id)
    JOIN stepwell.run r USING (run_id) WHERE """
_LARGE = "(r.project = 'large' OR r.run_id IN (SELECT source_run_id FROM stepwell.lineage)) AND "
#: What a query may read of sealed history: the chunks that its answer needs, as a condition on run and metric.
NEEDED = {
    "best run by min(val/loss) with config": _LARGE + "m.name = 'val/loss'",
    "by group to history": _LARGE + "m.name = 'train/loss'",
    "by tag to history": _LARGE + "m.name = 'train/loss'",
    "slope over the last 1,000 steps of the longest run": "r.name = 'long' AND m.name = 'train/loss'",
    "the newest 10 points of the longest run": "r.name = 'long' AND m.name = 'train/loss'",
    "wide pivot: all metrics of a run by step": "r.name = 'wide-0'",
    "Grafana: a metric of all runs in a range of time": "m.name = 'train/loss'",
    "a new name at each step, hot: how many points": "false",
    "one metric of one run": "r.project = 'small-1' AND r.name = 'small-1-00007' AND m.name = 'val/loss'",
    "64 writers: mean by step": "r.name = 'writers' AND m.name = 'rank/time'",
    # Of summaries, no chunk is read.
    "leaderboard: a project's runs by the last value of a metric": "false",
    "a page of 50 runs ordered by a summary value": "false",
    "a page of 50 runs with their summaries": "false",
    "summary of a wide run": "false",
    "metrics of a wide run with their first and last steps": "false",
    "all runs": "false",
    "runs by a path in config and a tag": "false",
}


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A hundredth of the benchmark's data, loaded once for each version of Postgres."""
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"jit": "off", "statement_timeout": "30s"})
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM stepwell.run)"):
        await load(connection, SHAPE, seed=1)
    yield connection
    await connection.close()


async def forms(connection: asyncpg.Connection, query: Query) -> dict[str, str]:
    times = await connection.fetchrow(TIMES_QUERY)
    given = {"stepwell": query.stepwell, "better": query.better, "plain": query.plain}
    return {form: placed(sql, *times) for form, sql in given.items() if sql}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
async def test_rows_equal_those_of_the_plain_table(connection: asyncpg.Connection, query: Query) -> None:
    rows = {
        form: sorted(map(comparable, await connection.fetch(sql)))
        for form, sql in (await forms(connection, query)).items()
    }
    assert all(found == rows.get("plain", found) for found in rows.values())


@pytest.mark.parametrize("name", NEEDED)
async def test_plans_read_only_the_chunks_that_are_shown(connection: asyncpg.Connection, name: str) -> None:
    (query,) = (query for query in QUERIES if query.name == name)
    await connection.execute("SET enable_seqscan = off")  # as for more data than this
    needed = await connection.fetchval(CHUNKS + NEEDED[name])
    plan = await plan_of(connection, (await forms(connection, query))["stepwell"])
    # For each writer of a run, the chunks of all its writers may be looked at.
    assert rows_read(plan, "chunk") <= needed + (SHAPE.writers**2 if needed else 0)


async def test_range_of_time_looks_for_hot_points_where_they_are(connection: asyncpg.Connection) -> None:
    """Runs without hot points cost nothing, and blocks are read for each metric only where a time matches."""
    (query,) = (query for query in QUERIES if query.name.startswith("since I last looked"))
    hot = await connection.fetchval(
        "SELECT count(*) FROM stepwell.run r JOIN stepwell.lineage g USING (run_id) WHERE r.project = 'large' "
        "AND EXISTS (SELECT FROM stepwell.ledger l WHERE l.run_id = g.source_run_id AND l.last_step >= l.sealed_below)"
    )
    plan = await plan_of(connection, (await forms(connection, query))["better"])
    calls = [node for node in nodes(plan) if node.get("Function Name") == "hot_ranges_v1"]
    assert sum(node["Actual Loops"] for node in calls) <= hot
    past = "SELECT run, count(*) FROM stepwell.history_in_time(NULL, '2020-01-01') WHERE project = 'large' GROUP BY 1"
    blocks = await connection.fetchval("SELECT count(*) FROM stepwell.hot_block")
    assert 0 < rows_read(await plan_of(connection, past), "hot_block") <= blocks


async def test_every_query_has_a_plan_to_check() -> None:
    unchecked = {query.name for query in QUERIES} - NEEDED.keys()
    assert unchecked == {
        # Functions in PL/pgSQL, whose plans EXPLAIN does not show; of the last one, time reaches no index.
        "history_sample of a metric over a project, 100 buckets",
        "history_samples of a metric over a project, 200 buckets",
        "leaderboard: a summary that define_metric makes of a fifth of the runs",
        "since I last looked: how many points a project has logged",
    }
