"""Buckets of 2^k steps: equal to the points of the view `history`, by whichever way they are made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories
from fixtures.plans import nodes, plan_of

pytestmark = pytest.mark.db

NAN, INF, HUGE = float("nan"), float("inf"), 1.7e308
#: The same columns from the points. The sum of huge values overflows as a float8.
EXPECTED = """
    SELECT writer, step >> $2 << $2 AS bucket_step, 1::bigint << $2 AS bucket_width, count(*),
           min(value) FILTER (WHERE abs(value) < 'Infinity'), max(value) FILTER (WHERE abs(value) < 'Infinity'),
           (avg(value::text::numeric) FILTER (WHERE abs(value) < 'Infinity'))::float8 AS mean,
           (array_agg(value ORDER BY step))[1] AS first, (array_agg(value ORDER BY step DESC))[1] AS last,
           min(step) AS first_step, max(step) AS last_step, count(*) FILTER (WHERE value = 'NaN') AS nans,
           count(*) FILTER (WHERE value = 'Infinity') AS pos_infs,
           count(*) FILTER (WHERE value = '-Infinity') AS neg_infs
    FROM stepwell.history WHERE run_id = $1 AND metric = 'loss' AND step BETWEEN 3 AND 70
    GROUP BY writer, step >> $2 ORDER BY 1, 2"""


@pytest.fixture
async def made(any_postgres_dsn: str) -> AsyncIterator[Histories]:
    """A run with two writers, a restart, irregular steps and any floats, and a fork of it; half of it is sealed."""
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=2, server_settings={"jit": "off"})
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    histories = Histories(pool)
    values = np.random.default_rng(1).random((1, 40))
    values[0, [3, 4, 5, 11, 20, 21, 30]] = [NAN, INF, -INF, -0.0, HUGE, HUGE, -HUGE]
    for writer in ("0", "1"):
        await histories.put(await histories.attach("run", writer), ["loss"], values, stride=1 + int(writer))
    await histories.seal(whole=True)
    again = await histories.attach("run", "0")
    again.next_step = 17
    await histories.put(again, ["loss"], values[:, :10])
    await histories.put(again, ["loss"], values[:, 10:], stride=3)
    await histories.put(await histories.attach("fork", "1", fork_run="run", fork_step_=29), ["loss"], values)
    yield histories
    await pool.close()


async def test_buckets_equal_their_points(made: Histories) -> None:
    for _ in range(2):
        for _, run_id in made.runs:
            for k in range(7):
                found = await made.pool.fetch(
                    "SELECT * FROM stepwell.buckets_v1($1, 'loss', 3, 70, $2) ORDER BY writer, bucket_step", run_id, k
                )
                expected = await made.pool.fetch(EXPECTED, run_id, k)
                assert len(expected) > 1
                assert [comparable(row) for row in found] == [comparable(row) for row in expected]
        await made.seal(whole=True)


def comparable(row: asyncpg.Record) -> dict[str, Any]:
    mean = row["mean"]
    return {**{name: str(value) for name, value in row.items()}, "mean": mean and f"{mean:.9g}"}


async def sorts(made: Histories, k: int) -> list[list[str]]:
    """The sort keys of the sorts that had rows, and one empty list for each grouping that did."""
    run_id = dict(made.runs)["run"]
    async with made.pool.acquire() as connection:
        plan = await plan_of(connection, f"SELECT * FROM stepwell.buckets_v1({run_id}, 'loss', 3, 70, {k}) b")
    assert plan["Actual Rows"] > 10
    return [
        node.get("Sort Key", [])
        for node in nodes(plan)
        if node["Node Type"] in ("Sort", "Aggregate") and node["Actual Rows"]
    ]


async def test_buckets_of_one_step_are_neither_sorted_nor_grouped(made: Histories) -> None:
    assert await sorts(made, 0) == []


async def test_points_of_small_buckets_are_sorted_once(made: Histories) -> None:
    """And not for each bucket, as Postgres 15 and functions with two orders do."""
    _, keys = await sorts(made, 2)
    version = await made.pool.fetchval("SELECT current_setting('server_version_num')::integer")
    assert len(keys) == (3 if version >= 160000 else 2)  # writer, bucket, step


async def test_slices_are_not_memoized(made: Histories) -> None:
    """Memoize would compare all values of a chunk for each of its slices."""
    configs = await made.pool.fetch(
        "SELECT proname, proconfig FROM pg_proc WHERE proname IN ('history_sample', 'history_samples')"
    )
    assert len(configs) == 2
    assert all("enable_memoize=off" in row["proconfig"] for row in configs)
