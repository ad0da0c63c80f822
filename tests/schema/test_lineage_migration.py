"""Forks from before `lineage_epoch` keep the points that they showed at the migration, whatever their parents do."""

from __future__ import annotations

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories
from stepwell_ingest.db.migrate import migrate

pytestmark = pytest.mark.db

NAME = "0008_lineage_epochs"


async def log(made: Histories, run: str, steps: int, **attach: object) -> None:
    for writer in ("0", "1"):
        await made.put(await made.attach(run, writer, **attach), ["loss"], np.arange(float(steps)).reshape(1, steps))


async def upgrade(pool: asyncpg.Pool) -> None:
    """Restores the state before the migration, then applies it and the replaceable files."""
    async with pool.acquire() as connection:
        await connection.execute("DROP TABLE stepwell.lineage_epoch CASCADE")
        await connection.execute("DELETE FROM stepwell.migration WHERE name = $1", NAME)
        await connection.execute(
            "CREATE FUNCTION stepwell.points_v1(bigint, integer, bigint, bigint, boolean) RETURNS TABLE (writer text, "
            'epoch integer, step bigint, "time" timestamptz, value float8) LANGUAGE sql AS '
            "'SELECT NULL::text, 1, 1::bigint, now(), 1::float8'"
        )
        assert NAME in await migrate(connection)
        assert await connection.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'points_v1'") == 1


async def test_existing_forks_keep_their_points(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    await log(made, "one", 20)
    await log(made, "one", 10, rewind_to=4)  # 0…4 and 5…14
    await log(made, "two", 5, fork_run="one", fork_step_=9)  # … 9 and 10…14
    await log(made, "three", 5, fork_run="two", fork_step_=11)
    await log(made, "anew", 3, fork_run="two", fork_step_=11)
    await log(made, "anew", 3)  # restarted without its arguments: 0…2
    await made.check()
    rows = "SELECT * FROM stepwell.lineage_epoch ORDER BY 1, 2, 3, 4"
    before = await pool.fetch(rows)
    # Writer 1 has one more epoch in "one": the rewind of writer 0 cut its process before it rewound itself.
    assert len(before) == 2 * (2 + 3 + 3) + 3
    await upgrade(pool)
    assert await pool.fetch(rows) == before
    await made.check()
    await log(made, "one", 3)
    await log(made, "two", 3, rewind_to=1)
    await made.check()


async def test_process_that_stored_nothing_is_left_out(pool: asyncpg.Pool) -> None:
    """The process had attached, and could have sent steps that the fork already shows."""
    made = Histories(pool)
    await log(made, "one", 20)
    fresh = await made.attach("one", "0")
    await log(made, "two", 5, fork_run="one", fork_step_=9)
    await upgrade(pool)
    await made.put(fresh, ["loss"], np.zeros((1, 5)))
    await made.check()


async def test_database_without_forks_is_upgraded(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    await log(made, "one", 20)
    await upgrade(pool)
    assert await pool.fetchval("SELECT count(*) FROM stepwell.lineage_epoch") == 0
    await made.check()
