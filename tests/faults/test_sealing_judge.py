"""The judge reads during sealing, and detects every possible bug of a sealer, a view or the ring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import stepwell_schema
from faults.judge import Judge, Verdict
from faults.programs import SEALING
from faults.service import PROJECT, RUN, Service, service
from faults.snapshots import read_twice
from stepwell_ingest.db.cluster import Cluster
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.merger import Merger
from stepwell_ingest.seal.ring import Ring
from stepwell_ingest.seal.sealer import ChangedError, Pass, Sealer
from stepwell_ingest.seal.stretches import Stretch

pytestmark = pytest.mark.db

NO_CLAIM = {"claim": "SELECT $1::bigint IS NOT NULL AND $2::integer IS NOT NULL"}
NO_COMPARISON = {
    "hand_over": "UPDATE stepwell.ledger SET sealed_below = greatest(sealed_below, $5), "
    "sealed_points = sealed_points + $6 WHERE run_id = $1 AND writer_id = $2 AND epoch = $3 AND $4::bigint IS NOT NULL"
}


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    """A service whose two writers have finished."""
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        for name in ("0", "1"):
            logger = made.logger(name)
            for _ in range(4):
                logger.log(60)
                assert await logger.flush()
        assert (await made.verdict()).clean
        yield made


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=2, max_size=4)
    yield pool
    pool.terminate()


async def epochs(pool: asyncpg.Pool) -> list[EpochKey]:
    return [EpochKey(*row) for row in await pool.fetch("SELECT run_id, writer_id, epoch FROM stepwell.ledger")]


async def seal(pool: asyncpg.Pool) -> None:
    for epoch in await epochs(pool):
        await Sealer(pool, SEALING).seal(epoch, whole=True)


async def verdict(stepwell: Service) -> Verdict:
    return await Judge(stepwell.dsn, PROJECT).verdict({RUN: [logger.journal for logger in stepwell.loggers]})


async def two_at_once(pool: asyncpg.Pool, **changed: str) -> list[Pass | BaseException | None]:
    """Two sealers that have both read the same rows before either writes."""
    both = asyncio.Barrier(2)

    class Slow(Sealer):
        async def _read(self, *arguments: Any) -> list[Stretch]:
            found = await super()._read(*arguments)
            await both.wait()
            return found

    epoch, *_ = await epochs(pool)
    sealers = [Slow(pool, SEALING) for _ in range(2)]
    for sealer in sealers:
        sealer._sql = {**sealer._sql, **changed}
    return await asyncio.gather(*(sealer.seal(epoch, whole=True) for sealer in sealers), return_exceptions=True)


async def test_partly_sealed_and_merged_history_is_clean(stepwell: Service, pool: asyncpg.Pool) -> None:
    first = (await epochs(pool))[0]
    await Sealer(pool, SEALING).seal(first, whole=True)
    assert (await verdict(stepwell)).clean
    await seal(pool)
    assert (await verdict(stepwell)).clean
    for epoch, level in await Merger(pool, SEALING).candidates():
        await Merger(pool, SEALING).merge(epoch, level)
    await Ring(pool, SEALING).turn()
    found = await verdict(stepwell)
    assert found.clean, str(found)
    assert found.obligations > 500


async def test_pass_without_a_claim_is_stopped(stepwell: Service, pool: asyncpg.Pool) -> None:
    done = await two_at_once(pool, **NO_CLAIM)
    assert {type(item) for item in done} == {ChangedError, Pass}
    assert (await verdict(stepwell)).clean


async def test_handover_without_comparison_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    done = await two_at_once(pool, **NO_CLAIM, **NO_COMPARISON)
    assert [type(item) for item in done] == [Pass, Pass]
    assert "duplicated" in (await verdict(stepwell)).wrong


async def test_missing_handover_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    await seal(pool)
    await pool.execute("UPDATE stepwell.ledger SET sealed_below = 0")
    assert (await verdict(stepwell)).wrong == {"duplicated", "complaints"}


async def test_handover_without_chunks_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    await pool.execute("UPDATE stepwell.ledger SET sealed_below = last_step - 20")
    assert (await verdict(stepwell)).wrong == {"lost", "complaints"}


async def test_missing_or_duplicate_chunk_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    await seal(pool)
    one = "(SELECT (tableoid, ctid)::text FROM stepwell.chunk ORDER BY points DESC LIMIT 1)"
    await pool.execute(f"INSERT INTO stepwell.chunk SELECT * FROM stepwell.chunk WHERE (tableoid, ctid)::text = {one}")
    assert (await verdict(stepwell)).wrong == {"duplicated", "complaints"}
    await pool.execute(f"DELETE FROM stepwell.chunk WHERE (tableoid, ctid)::text = {one}")
    assert (await verdict(stepwell)).clean
    await pool.execute(f"DELETE FROM stepwell.chunk WHERE (tableoid, ctid)::text = {one}")
    assert (await verdict(stepwell)).wrong == {"lost", "complaints"}


async def test_view_that_shows_sealed_hot_points_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    (points,) = (file.sql for file in stepwell_schema.functions() if file.name == "050_points")
    assert points.count("greatest(l.sealed_below, ") == 2
    await seal(pool)
    assert (await verdict(stepwell)).clean
    await pool.execute(points.replace("greatest(l.sealed_below, ", "greatest(0, "))
    assert (await verdict(stepwell)).wrong == {"duplicated"}


async def test_slot_truncated_under_a_snapshot_is_detected(stepwell: Service, pool: asyncpg.Pool) -> None:
    async def turn() -> None:
        await asyncio.sleep(0.1)
        await seal(pool)
        for _ in range(3):
            await Ring(pool, SEALING.__class__(slot_bytes=0)).turn()

    for broken in (False, True):
        if broken:
            await pool.execute(
                "CREATE OR REPLACE FUNCTION stepwell.oldest_snapshot_age_v1() RETURNS integer "
                "LANGUAGE sql AS 'SELECT 0'"
            )
        turning = asyncio.create_task(turn())
        before, after = await read_twice(stepwell.dsn, PROJECT, 1.0)
        await turning
        assert (before == after) is not broken
        logger = stepwell.logger(f"more-{broken}")
        logger.log(50)
        assert await logger.flush()
