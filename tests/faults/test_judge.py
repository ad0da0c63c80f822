"""The judge detects errors: each kind of damage to a correct database is found and named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from faults.judge import Judge, Verdict
from faults.service import PROJECT, RUN, Service, service
from stepwell_ingest.db.cluster import Cluster

pytestmark = pytest.mark.db

_ONE_BLOCK = "ctid = (SELECT ctid FROM stepwell.hot_block ORDER BY seq LIMIT 1)"
_COPY_OF_IT = (
    "INSERT INTO stepwell.hot_block "
    "SELECT run_id, {seq}, step_lo, step_hi, writer_id, epoch, keys, {steps}, times, vals "
    "FROM (SELECT * FROM stepwell.hot_block ORDER BY seq LIMIT 1) b"
)


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        logger = made.logger()
        for _ in range(3):
            logger.log(50)
            assert await logger.flush()
        assert (await made.verdict()).clean
        yield made


async def _verdict(stepwell: Service) -> Verdict:
    return await Judge(stepwell.dsn, PROJECT).verdict({RUN: [logger.journal for logger in stepwell.loggers]})


async def test_missing_row_is_lost(stepwell: Service, pg: asyncpg.Connection) -> None:
    await pg.execute(f"DELETE FROM stepwell.hot_block WHERE {_ONE_BLOCK}")
    assert (await _verdict(stepwell)).wrong == {"lost", "complaints"}  # the ledger still counts it


@pytest.mark.parametrize("seq", ["seq", "seq + 1000"], ids=["same frame", "another frame"])
async def test_repeated_row_is_duplicated(stepwell: Service, pg: asyncpg.Connection, seq: str) -> None:
    await pg.execute(_COPY_OF_IT.format(seq=seq, steps="steps"))
    assert (await _verdict(stepwell)).wrong == {"duplicated", "complaints"}


async def test_unlogged_row_is_unknown(stepwell: Service, pg: asyncpg.Connection) -> None:
    far = "(SELECT array_agg(s + 100000) FROM unnest(steps) s)"
    await pg.execute(_COPY_OF_IT.format(seq="seq", steps=far))
    assert (await _verdict(stepwell)).wrong == {"unknown", "complaints"}


async def test_changed_bit_is_unequal(stepwell: Service, pg: asyncpg.Connection) -> None:
    """NaNs with different payloads are unequal, and so are 0.0 and −0.0."""
    await pg.execute(f"UPDATE stepwell.hot_block SET vals[1][1] = 'NaN' WHERE {_ONE_BLOCK}")
    verdict = await _verdict(stepwell)
    assert (verdict.wrong, verdict.unequal) == ({"unequal"}, 1)


async def test_unexpected_rejection_is_a_complaint(stepwell: Service, pg: asyncpg.Connection) -> None:
    await pg.execute("UPDATE stepwell.ledger SET rejected = 1")
    assert (await _verdict(stepwell)).wrong == {"complaints"}


async def test_ledger_position_without_rows_is_a_complaint(stepwell: Service, pg: asyncpg.Connection) -> None:
    await pg.execute("UPDATE stepwell.ledger SET next_seq = next_seq + 1")
    assert (await _verdict(stepwell)).wrong == {"complaints"}


@pytest.mark.parametrize("line", ["N page 68", "N alert 58", "X 5\nY 5"], ids=["page", "alert", "nested call"])
async def test_missing_page_or_alert_is_lost(stepwell: Service, line: str) -> None:
    _tell(stepwell, line)
    assert "lost" in (verdict := await _verdict(stepwell)).wrong
    assert verdict.lost == 1


async def test_interrupted_row_is_complete_or_absent(stepwell: Service, pg: asyncpg.Connection) -> None:
    two = "ctid = (SELECT ctid FROM stepwell.hot_block WHERE cardinality(keys) > 1 ORDER BY seq, step_lo LIMIT 1)"
    steps = await pg.fetchval(f"SELECT steps FROM stepwell.hot_block WHERE {two}")
    _tell(stepwell, *(f"I {step}" for step in steps))
    assert not any("torn" in text for text in (await _verdict(stepwell)).complaints)
    await pg.execute(f"UPDATE stepwell.hot_block SET keys = keys[1:1], vals = vals[1:1] WHERE {two}")
    torn = [text for text in (await _verdict(stepwell)).complaints if "torn" in text]
    assert len(torn) == len(steps)


def _tell(stepwell: Service, *lines: str) -> None:
    """Adds lines to the journal for actions that did not happen."""
    with stepwell.loggers[0].journal.open("a") as journal:
        journal.writelines(f"{line}\n" for line in lines)
