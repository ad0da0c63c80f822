"""Runs that log other names all the time: their whole history is read in linear time while it is hot, and exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import numpy as np
import pytest

from fixtures.histories import START, Histories
from fixtures.plans import nodes, plan_of, rows_read

pytestmark = pytest.mark.db

HOT = 40
RANGES = (
    "SELECT (stepwell.hot_ranges_v1(run_id, run_id, stepwell.most_listed_v1())).* FROM stepwell.run WHERE name = $1"
)
NO_LISTS = (
    "CREATE OR REPLACE FUNCTION stepwell.most_listed_v1() RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT -1 $$"
)


def values(keys: int, steps: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.arange(keys * steps, dtype=np.float64).reshape(keys, steps)


@pytest.fixture
async def made(any_postgres_dsn: str) -> AsyncIterator[Histories]:
    """Two writers of a run with 300 sealed names; then each hot step has two names of its own, and `loss`."""
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=2, server_settings={"jit": "off"})
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    histories = Histories(pool)
    writers = [await histories.attach("changing", name) for name in ("0", "1")]
    for start in range(0, 300, 50):
        await histories.put(writers[0], ["loss", *(f"old/{start + n}" for n in range(50))], values(51, 2))
    await histories.put(writers[1], ["loss"], values(1, 5))
    await histories.seal(whole=True)
    for step in range(HOT):
        # The second writer has some names of the first, in another order, and names that are sealed.
        await histories.put(writers[0], [f"new/{step}", "loss", f"also/{step}"], values(3, 1 + step % 3))
        if step % 4 == 0:
            await histories.put(writers[1], [f"also/{step // 2}", f"old/{step}", "loss"], values(3, 2), stride=3)
    yield histories
    await pool.close()


async def check(made: Histories) -> None:
    await made.check()
    for name, run_id in made.runs:
        expected = await made.expected(run_id)
        assert await made.shown("history_in_time(NULL, NULL)", run_id) == expected, name
        seconds = [START + timedelta(seconds=seconds) for seconds in (7, 31)]
        in_time = [point for point in expected if seconds[0] <= point.time < seconds[1]]
        assert await made.shown("history_in_time($1, $2)", run_id, *seconds) == in_time, name
        between = [point for point in expected if 7 <= point.step < 31]
        assert await made.shown("history_between(7, 31)", run_id) == between, name


@pytest.mark.parametrize("listed", [True, False])
async def test_ranges_hide_nothing(made: Histories, listed: bool) -> None:
    if not listed:
        await made.pool.execute(NO_LISTS)
    ranges = await made.pool.fetchrow(RANGES, "changing")
    assert ranges["metric_ids"] == sorted(ranges["metric_ids"])
    assert (ranges["steps"] is not None) == listed
    await check(made)
    await made.attach("fork", "0", fork_run="changing", fork_step_=25)
    await made.put(made.current(made.runs[1][1], "0"), ["new/3", "of the fork"], values(2, 4))
    await check(made)
    rewound = await made.attach("changing", "0", rewind_to=20)
    await made.put(rewound, ["new/5", "loss"], values(2, 3))
    await check(made)
    await made.seal(whole=False)
    await check(made)


async def test_whole_read_opens_each_hot_block_for_its_own_names_only(made: Histories) -> None:
    await made.pool.execute(NO_LISTS)
    await made.attach("changing", "0", rewind_to=20)
    await made.pool.execute("ANALYZE stepwell.hot_block, stepwell.chunk, stepwell.track, stepwell.metric")
    names = await made.pool.fetchval("SELECT count(*) FROM stepwell.metric")
    blocks = await made.pool.fetchval("SELECT count(*) FROM stepwell.hot_block")
    async with made.pool.acquire() as connection:
        await connection.execute("SET enable_seqscan = off")  # as for more than these few blocks
        for relation in ("history", "history_between(0, 10000)", "history_in_time(NULL, NULL)", "history_superseded"):
            plan = await plan_of(connection, f"SELECT count(*) FROM stepwell.{relation} WHERE run = 'changing'")
            # Without ranges, it is names × blocks.
            assert rows_read(plan, "hot_block") <= names * blocks / 10, relation


async def test_few_hot_points_are_listed_once_for_all_names(any_postgres_dsn: str) -> None:
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=1, server_settings={"jit": "off"})
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    histories = Histories(pool)
    hot, sealed = [await histories.attach(name, "0") for name in ("hot", "sealed")]
    for step in range(300):
        await histories.put(sealed, [f"name/{step}"], values(1, 1))
    await histories.seal(whole=True)
    for step in range(300):
        await histories.put(hot, [f"name/{step}"], values(1, 1))
    await histories.check()
    async with pool.acquire() as connection:
        await connection.execute("SET enable_seqscan = off")
        for relation in ("history", "history_between(0, 10000)", "history_in_time(NULL, NULL)"):
            plan = await plan_of(connection, f"SELECT count(*) FROM stepwell.{relation} WHERE run = 'hot'")
            assert plan["Plans"][0]["Actual Rows"] == 300
            assert rows_read(plan, "hot_block") == rows_read(plan, "chunk") == 0
            (lists,) = (node for node in nodes(plan) if node.get("Function Name") == "hot_ranges_v1")
            assert lists["Actual Loops"] == 1
            plan = await plan_of(connection, f"SELECT count(*) FROM stepwell.{relation} WHERE run = 'sealed'")
            assert plan["Plans"][0]["Actual Rows"] == 300
            if "time" not in relation:  # which finds chunks by their tracks, where Postgres has no statistics of either
                assert rows_read(plan, "chunk") == 300
            assert not any(
                node["Actual Loops"] for node in nodes(plan) if "hot_block" in str(node.get("Relation Name"))
            )
    await pool.close()


@pytest.mark.parametrize("names", [10, 400])
async def test_blocks_with_most_names_of_a_run_have_no_ranges(any_postgres_dsn: str, names: int) -> None:
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=2)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    histories = Histories(pool)
    stored = await histories.attach("even", "0")
    for _ in range(3):
        await histories.put(stored, [f"m/{n}" for n in range(names)], values(names, 2))
    assert (await pool.fetchrow(RANGES, "even"))["metric_ids"] is None
    await histories.check()
    await pool.close()
