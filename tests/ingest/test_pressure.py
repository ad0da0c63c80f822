"""Ingest pauses while sealing is behind, never for long, and never without a sealer."""

from __future__ import annotations

import asyncpg
import pytest

from stepwell_ingest.config import SealSettings
from stepwell_ingest.write.pressure import Pressure
from stepwell_schema import queries

MIB = 1 << 20


def pressure(unsealed_bytes: int) -> Pressure:
    made = Pressure(None, SealSettings(calm_bytes=100 * MIB))  # type: ignore[arg-type] - it is not used
    made.unsealed_bytes = unsealed_bytes
    return made


def test_no_pause_while_sealing_keeps_up() -> None:
    assert pressure(0).pause_s(1.0) == 0
    assert pressure(100 * MIB).pause_s(1.0) == 0


def test_pause_grows_with_the_backlog() -> None:
    assert pressure(150 * MIB).pause_s(0.2) == pytest.approx(0.2)
    assert pressure(200 * MIB).pause_s(0.2) == pytest.approx(0.4)
    assert pressure(100_000 * MIB).pause_s(0.2) == pytest.approx(0.6)


@pytest.mark.db
async def test_backlog_counts_only_with_a_sealer(any_postgres_dsn: str) -> None:
    ask = queries("write")["unsealed_bytes"]
    connection = await asyncpg.connect(any_postgres_dsn)
    await connection.execute(
        "INSERT INTO stepwell.hot_block SELECT 1, n, n, n, 1, 1, '{1}', ARRAY[n], ARRAY[now()], ARRAY[[0.5]] "
        "FROM generate_series(1, 1000) n"
    )
    assert await connection.fetchval(ask) == 0
    sealer = await asyncpg.connect(any_postgres_dsn, server_settings={"application_name": "stepwell seal"})
    assert await connection.fetchval(ask) > 100_000
    await sealer.close()
    await connection.close()
