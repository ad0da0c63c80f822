"""Merging joins only adjacent chunks; reads are correct even if chunks overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from fixtures.agreement import disagreements
from fixtures.histories import EAGER, Histories, Stored
from stepwell_ingest.config import SealSettings
from stepwell_ingest.seal.sealer import next_pass, write
from stepwell_ingest.seal.stretches import regroup

pytestmark = pytest.mark.db

LAST_STEP = 2**63 - 2
_OVERLAPS = """
SELECT count(*) FROM stepwell.chunk a JOIN stepwell.chunk b USING (run_id, metric_id, writer_id, epoch)
WHERE a.track_id <> b.track_id AND a.step_lo <= b.step_hi AND b.step_lo <= a.step_hi
"""


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=3)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield pool
    pool.terminate()


async def wrong(pool: asyncpg.Pool, made: Histories) -> list[str]:
    async with pool.acquire() as connection:
        return [text for _, run_id in made.runs for text in await disagreements(connection, run_id)]


async def slow_run(made: Histories, passes: int, steps: int) -> Stored:
    """A run that is sealed every `every` steps and then merged."""
    stored = await made.attach("run", "0")
    for number in range(passes):
        await put_steps(made, stored, steps, always=number % 3 == 0)
        await made.seal(whole=True)
        await made.merge()
    return stored


async def put_steps(made: Histories, stored: Stored, steps: int, *, always: bool) -> None:
    at = np.arange(stored.next_step, stored.next_step + steps, dtype=np.float64)
    await made.put(stored, ["loss", "acc"] if always else ["loss"], np.vstack([at, -at])[: 1 + always])


async def test_long_chunks_are_not_merged(pool: asyncpg.Pool) -> None:
    made = Histories(pool, SealSettings())
    stored = await slow_run(made, 65, 130)
    assert await pool.fetchval(_OVERLAPS) == 0
    assert await wrong(pool, made) == []
    await made.attach("child", "0", fork_run="run", fork_step_=3000)
    await made.attach("run", "0", rewind_to=3000)
    assert await wrong(pool, made) == []
    stats = await pool.fetchrow(
        "SELECT mean, points FROM stepwell.metric_stats_v1($1) WHERE metric = 'loss'", stored.key.run_id
    )
    assert tuple(stats) == (1500.0, 3001)


async def test_short_chunks_are_merged(pool: asyncpg.Pool) -> None:
    made = Histories(pool, dataclasses.replace(EAGER, merge_passes=8))
    stored = await slow_run(made, 130, 10)
    chunks = await pool.fetchval(
        "SELECT count(*) FROM stepwell.chunk c JOIN stepwell.metric m USING (run_id, metric_id) WHERE name = 'loss'"
    )
    assert chunks < 30
    assert len(stored.points) == await pool.fetchval("SELECT sum(points) FROM stepwell.chunk")
    assert await wrong(pool, made) == []


async def test_tracks_without_candidates_are_skipped(pool: asyncpg.Pool) -> None:
    made = Histories(pool, SealSettings())
    await slow_run(made, 65, 130)
    while candidates := await made.merger.candidates():
        levels = [level for _, level in candidates]
        for epoch, level in candidates:
            await made.merger.merge(epoch, level)
        assert max(levels) < 6
    assert await wrong(pool, made) == []


async def overlapping(made: Histories) -> Stored:
    """A run with chunks of earlier versions, which joined short chunks across a long one."""
    stored = await made.attach("run", "0")
    for steps in (16, 1024, 16, 1024, 16):
        await put_steps(made, stored, steps, always=False)
        await made.seal(whole=True)
    async with made.pool.acquire() as connection, connection.transaction():
        short = await connection.fetch("SELECT track_id FROM stepwell.track WHERE points < 512")
        found = await made.merger._read(connection, stored.key.run_id, [row[0] for row in short])
        await connection.execute("DELETE FROM stepwell.chunk WHERE track_id = ANY ($1)", list(found))
        await connection.execute("DELETE FROM stepwell.track WHERE track_id = ANY ($1)", list(found))
        joined = regroup(list(found.values()))
        pass_id = await next_pass(connection, made.merger._sql)
        await write(connection, made.merger._sql, stored.key, joined, 1, pass_id)
    assert await made.pool.fetchval(_OVERLAPS) > 0
    return stored


@pytest.mark.parametrize("end", [0, 15, 16, 700, 1040, 1050, 1060, 1500, 2094, 3000])
async def test_overlapping_chunks_are_read_correctly(pool: asyncpg.Pool, end: int) -> None:
    made = Histories(pool)
    await overlapping(made)
    assert await wrong(pool, made) == []
    await made.attach("child", "0", fork_run="run", fork_step_=end)
    await made.attach("run", "0", rewind_to=end)
    assert await wrong(pool, made) == []
    await made.check()


async def test_maximal_steps_are_sealed_and_merged(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    stored = await made.attach("run", "0")
    await made.put(stored, ["loss"], np.array([[1.0, 2.0]]))
    stored.next_step = LAST_STEP - 4096
    for _ in range(3):
        await made.put(stored, ["loss"], np.array([[3.0, 4.0]]), 1024)
    stored.next_step = LAST_STEP - 2
    await made.put(stored, ["loss"], np.array([[5.0, 6.0]]), 2)
    assert stored.points[-1].step == LAST_STEP
    for end in ("hot", "sealed", "merged"):
        assert await wrong(pool, made) == [], end
        (row,) = await pool.fetch("SELECT * FROM stepwell.history_sample($1, 'loss', 1)", stored.key.run_id)
        assert (row["bucket_step"], row["bucket_width"], row["count"]) == (0, 2**63 - 1, 10)
        await made.seal(whole=True)
        if end == "sealed":
            await made.merge()
