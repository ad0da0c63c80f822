"""The view `history`: one row for each stored point, for any division into blocks."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.db

EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
KEYS = ["loss", "acc", "grad/norm", "lr", "β"]
Block = tuple[int, list[str], int, list[float]]  # writer, keys, steps, values


@pytest.fixture
async def connection(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_postgres_dsn)
    await connection.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield connection
    await connection.close()


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=5))
    steps = draw(st.integers(1, 6))
    values = draw(st.lists(st.floats(), min_size=len(keys) * steps, max_size=len(keys) * steps))
    return draw(st.integers(0, 2)), keys, steps, values


async def put(connection: asyncpg.Connection, run: str, made: list[Block]) -> list[tuple[Any, ...]]:
    """Stores blocks as the copier does; returns the points as the view should show them."""
    expected: list[tuple[Any, ...]] = []
    next_step = {0: 0, 1: 0, 2: 0}
    ids: dict[int, tuple[int, int, int]] = {}
    for writer in range(3):
        ids[writer] = await connection.fetchrow(
            "SELECT run_id, writer_id, epoch "
            "FROM stepwell.attach_v1('team', 'mnist', $1, $2, gen_random_uuid(), false, '{}')",
            *(run, str(writer)),
        )
    for seq, (writer, keys, count, values) in enumerate(made):
        run_id, writer_id, epoch = ids[writer]
        names = dict(await connection.fetch("SELECT * FROM stepwell.intern_metrics_v1($1, $2, 1000)", run_id, keys))
        steps = [next_step[writer] + 2 * number for number in range(count)]
        next_step[writer] = steps[-1] + 1
        times = [EPOCH + timedelta(seconds=step) for step in steps]
        matrix = np.array(values, np.float64).reshape(len(keys), count)
        await connection.execute(
            "INSERT INTO stepwell.hot_block VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            *(run_id, seq, steps[0], steps[-1], writer_id, epoch, [names[key] for key in keys], steps, times),
            matrix.tolist() if keys else [],
        )
        for row, key in enumerate(keys):
            for column, step in enumerate(steps):
                expected.append((run, str(writer), key, step, times[column], matrix[row, column].tobytes()))
    return sorted(expected, key=repr)


async def read(connection: asyncpg.Connection, where: str, *arguments: object) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        f"SELECT run, writer, metric, step, time, value FROM stepwell.history WHERE {where}", *arguments
    )
    return sorted(((*row[:5], np.float64(row[5]).tobytes()) for row in rows), key=repr)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(blocks(), max_size=8))
async def test_history_shows_the_stored_points(connection: asyncpg.Connection, made: list[Block]) -> None:
    await connection.execute(
        "TRUNCATE stepwell.run, stepwell.lineage, stepwell.writer, stepwell.ledger, stepwell.metric, stepwell.hot_block"
    )
    expected = await put(connection, "one", made)
    beside = await put(connection, "two", made[:2])
    assert await read(connection, "run = $1", "one") == expected
    assert await read(connection, "true") == sorted(expected + beside, key=repr)
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = 'one'")
    for key in KEYS:
        of_key = [row for row in expected if row[2] == key]
        assert await read(connection, "run_id = $1 AND metric = $2", run_id, key) == of_key
    some = [row for row in expected if row[1] == "1" and 2 <= row[3] <= 5]
    assert await read(connection, "run_id = $1 AND writer = '1' AND step BETWEEN 2 AND 5", run_id) == some


async def test_filter_on_a_run_touches_one_partition(connection: asyncpg.Connection) -> None:
    await put(connection, "one", [(0, ["loss"], 3, [1.0, 2.0, 3.0])])
    await connection.execute("SELECT stepwell.ensure_partitions_v1('2024-01-01', 12)")
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs")
    for where in (f"run_id = {run_id}", "project = 'mnist' AND run = 'one' AND metric = 'loss'"):
        plan = "\n".join(
            row[0]
            for row in await connection.fetch(
                f"EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM stepwell.history WHERE {where}"
            )
        )
        lines = [line for line in plan.splitlines() if "never executed" not in line]
        touched = {name for line in lines for name in re.findall(r" on (chunk_\d+_\d+) ", line)}
        assert len(touched) == 1, plan


async def test_empty_database_has_empty_views(connection: asyncpg.Connection) -> None:
    for view in ("history", "history_superseded", "history_objects", "runs", "rejections"):
        assert await connection.fetch(f"SELECT * FROM stepwell.{view}") == []
    await put(connection, "one", [])
    row = await connection.fetchrow("SELECT last_step, points, objects, rejected, writers FROM stepwell.runs")
    assert tuple(row) == (None, 0, 0, 0, 3)
