"""Reads of the end of history and of many runs agree with the view `history`, after restarts and forks."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta

import asyncpg
import numpy as np
import pytest

from fixtures.histories import START, Histories
from fixtures.plans import nodes, plan_of

pytestmark = pytest.mark.db

METRICS = ["loss", "acc", "rare"]
NAN, INF = float("nan"), float("inf")


@pytest.fixture
async def made(any_postgres_dsn: str) -> AsyncIterator[Histories]:
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=2)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield Histories(pool)
    pool.terminate()


async def fill(made: Histories, dice: random.Random) -> None:
    """Runs of two writers with restarts, a rewind and forks, some of it sealed and merged."""
    random_values = np.random.default_rng(dice.randrange(1000))
    for name in ("a", "b"):
        for writer in ("0", "1"):
            stored = await made.attach(name, writer)
            for _ in range(4):
                await put(made, stored, dice, random_values)
    await made.seal(whole=True)
    again = await made.attach("a", "0")
    again.next_step = dice.randrange(5, 40)
    await put(made, again, dice, random_values)
    await made.attach("b", "1", rewind_to=dice.randrange(5, 40))
    for name, parent in (("c", "a"), ("d", "c")):
        fork = await made.attach(name, "0", fork_run=parent, fork_step_=dice.randrange(10, 60))
        await put(made, fork, dice, random_values)
        await made.seal(whole=dice.random() < 0.5)
    await made.merge()
    for stored in (await made.attach("d", "1"), await made.attach("b", "2")):
        await put(made, stored, dice, random_values)


async def put(made: Histories, stored: object, dice: random.Random, values: np.random.Generator) -> None:
    keys = METRICS[: dice.randrange(1, 4)]
    block = values.random((len(keys), dice.randrange(1, 20)))
    block[0, 0] = dice.choice([NAN, INF, -INF, 0.5])
    await made.put(stored, keys, block, stride=dice.choice([1, 1, 3]))  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(3))
async def test_reads_agree_with_the_view(made: Histories, seed: int) -> None:
    await fill(made, random.Random(seed))
    await made.check()
    ids = [run_id for _, run_id in made.runs]
    for run_id in ids:
        for metric in [*METRICS, "nothing"]:
            await check_last(made.pool, run_id, metric)
        await check_steps(made.pool, run_id)
    await check_samples(made.pool, ids)
    await check_times(made.pool)


async def check_last(pool: asyncpg.Pool, run_id: int, metric: str) -> None:
    points = await pool.fetch(
        "SELECT writer, step, time, value FROM stepwell.history WHERE run_id = $1 AND metric = $2 "
        "ORDER BY step DESC, writer",
        *(run_id, metric),
    )
    for n in (0, 1, 5, 1000):
        last = await pool.fetch("SELECT * FROM stepwell.history_last($1, $2, $3)", run_id, metric, n)
        assert repr(last) == repr(points[:n])


async def check_steps(pool: asyncpg.Pool, run_id: int) -> None:
    metrics = await pool.fetch("SELECT name, first_step, last_step FROM stepwell.metrics WHERE run_id = $1", run_id)
    points = await pool.fetch(
        "SELECT metric, min(step), max(step) FROM stepwell.history WHERE run_id = $1 GROUP BY 1", run_id
    )
    assert {tuple(row) for row in metrics if row["first_step"] is not None} == {tuple(row) for row in points}
    for name, first, last in metrics:
        query = "SELECT first_step, last_step FROM stepwell.metrics WHERE run_id = $1 AND name = $2"
        assert tuple(await pool.fetchrow(query, run_id, name)) == (first, last)


async def check_times(pool: asyncpg.Pool) -> None:
    columns = "run, writer, metric, step, time, float8send(value)"
    for low, high in ((None, None), (10, None), (None, 25), (12, 30), (20, 20), (1000, 2000)):
        bounds = [None if seconds is None else START + timedelta(seconds=seconds) for seconds in (low, high)]
        found = await pool.fetch(f"SELECT {columns} FROM stepwell.history_in_time($1, $2)", *bounds)
        wanted = await pool.fetch(
            f"SELECT {columns} FROM stepwell.history "
            "WHERE ($1::timestamptz IS NULL OR time >= $1) AND ($2::timestamptz IS NULL OR time < $2)",
            *bounds,
        )
        assert sorted(map(tuple, found)) == sorted(map(tuple, wanted))


def comparable(row: Iterable[object]) -> list[str]:
    """The sum in a mean depends on the order of its terms."""
    return [f"{value:.12g}" if isinstance(value, float) else str(value) for value in row]


async def check_samples(pool: asyncpg.Pool, ids: list[int]) -> None:
    for buckets, low, high in ((1, None, None), (4, None, None), (100, 7, 30)):
        together = await pool.fetch(
            "SELECT * FROM stepwell.history_samples($1, $2, $3, $4, $5)",
            *(ids, [*METRICS, "nothing", "loss"], buckets, low, high),
        )
        one_by_one = [
            (run_id, metric, *row)
            for run_id in sorted(ids)
            for metric in sorted(METRICS)
            for row in await pool.fetch(
                "SELECT * FROM stepwell.history_sample($1, $2, $3, $4, $5)",
                *(run_id, metric, buckets, low, high),
            )
        ]
        assert [comparable(row) for row in together] == [comparable(row) for row in one_by_one]


@pytest.mark.parametrize(
    "call",
    [
        "history_last($1, 'loss', -1)",
        "history_last($1, 'loss', NULL)",
        "history_samples(ARRAY[$1::bigint], '{loss}', 0)",
    ],
)
async def test_invalid_numbers_are_refused(made: Histories, call: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await made.pool.fetch(f"SELECT * FROM stepwell.{call}", 1)


async def test_steps_near_the_maximum(made: Histories) -> None:
    stored = await made.attach("far", "0")
    stored.next_step = 2**63 - 12
    await made.put(stored, ["loss"], np.arange(10.0).reshape(1, 10))
    for _ in range(2):
        await check_last(made.pool, stored.key.run_id, "loss")
        await check_steps(made.pool, stored.key.run_id)
        await check_samples(made.pool, [stored.key.run_id])
        await made.seal(whole=True)


async def test_names_alone_read_no_history(made: Histories) -> None:
    stored = await made.attach("run", "0")
    await made.put(stored, METRICS, np.ones((3, 10)))
    async with made.pool.acquire() as connection:
        plan = await plan_of(connection, "SELECT name FROM stepwell.metrics WHERE run = 'run'")
    tables = {str(node["Relation Name"]) for node in nodes(plan) if "Relation Name" in node}
    assert {table.partition("_")[0] for table in tables} == {"run", "lineage", "metric"}
    assert not any(table.startswith("metric_total") for table in tables)
