"""Run ids and their months, to the millisecond, and partitions, which concurrent calls create only once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

pytestmark = pytest.mark.db

TABLES = ["chunk", "hot_object", "metric", "metric_total", "note", "track"]
ENSURE = "SELECT stepwell.ensure_partitions_v1($1, $2)"


@pytest.fixture
async def connection(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_postgres_dsn)
    yield connection
    await connection.close()


async def partitions(connection: asyncpg.Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'stepwell' AND c.relkind = 'r' "
        "AND c.relname !~ '^hot_block' ORDER BY 1"
    )
    return [row[0] for row in rows]


async def partition_of(connection: asyncpg.Connection, run_id: int) -> str:
    """The partition of hot_object that takes this run."""
    return str(
        await connection.fetchval(
            "INSERT INTO stepwell.hot_object VALUES ($1, 0, 0, 1, 1, now(), 'k', '1') "
            "RETURNING (SELECT relname FROM pg_class c WHERE c.oid = hot_object.tableoid)",
            run_id,
        )
    )


async def floor(connection: asyncpg.Connection, at: datetime) -> int:
    return int(await connection.fetchval("SELECT stepwell.run_id_floor_v1($1)", at))


async def test_partitions_are_created_once_per_table_and_month(connection: asyncpg.Connection) -> None:
    before = set(await partitions(connection))
    assert await connection.fetchval(ENSURE, date(2025, 11, 17), 3) == 3 * len(TABLES)
    expected = {f"{table}_{month}" for table in TABLES for month in ("2025_11", "2025_12", "2026_01")}
    assert set(await partitions(connection)) - before == expected
    assert await connection.fetchval(ENSURE, date(2025, 11, 30), 3) == 0
    assert await connection.fetchval(ENSURE, date(2025, 12, 1), 3) == len(TABLES)


async def test_concurrent_calls_create_each_partition_once(any_postgres_dsn: str) -> None:
    async with asyncpg.create_pool(any_postgres_dsn, min_size=8, max_size=8) as pool:
        async with pool.acquire() as connection:
            before = len(await partitions(connection))
        made = await asyncio.gather(*(pool.fetchval(ENSURE, date(2025, 1 + number % 3, 1), 4) for number in range(12)))
        assert sum(made) == 6 * len(TABLES)
        async with pool.acquire() as connection:
            assert len(await partitions(connection)) - before == 6 * len(TABLES)


async def test_partitions_are_created_during_reads_and_writes(any_postgres_dsn: str) -> None:
    async with asyncpg.create_pool(any_postgres_dsn, min_size=2, max_size=2) as pool:
        await pool.execute(ENSURE, date(2026, 2, 1), 1)
        async with pool.acquire() as writing, pool.acquire() as making, writing.transaction():
            await partition_of(writing, await floor(writing, datetime(2026, 2, 3, tzinfo=UTC)))
            await writing.fetch("SELECT FROM stepwell.hot_block, stepwell.metric")
            await making.execute("SET lock_timeout = '1s'")
            assert await making.fetchval(ENSURE, date(2026, 2, 1), 2) == len(TABLES)


async def test_partitions_match_their_table(connection: asyncpg.Connection) -> None:
    """The storage, generated columns and indexes, which belong to those of the table."""
    await connection.execute(ENSURE, date(2026, 2, 1), 1)
    storage = "SELECT attname, attstorage, attgenerated, attnotnull FROM pg_attribute WHERE attrelid = $1::regclass"
    for table in TABLES:
        mine, its = [
            await connection.fetch(f"{storage} AND attnum > 0 ORDER BY attnum", name)
            for name in (f"stepwell.{table}_2026_02", f"stepwell.{table}")
        ]
        assert mine == its
        indexes = "SELECT count(*) FROM pg_index WHERE indrelid = $1::regclass"
        inherited = f"{indexes} AND indexrelid IN (SELECT inhrelid FROM pg_inherits)"
        assert (
            await connection.fetchval(indexes, f"stepwell.{table}")
            == await connection.fetchval(indexes, f"stepwell.{table}_2026_02")
            == await connection.fetchval(inherited, f"stepwell.{table}_2026_02")
        )


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/New_York"])
async def test_run_is_stored_in_its_utc_month(connection: asyncpg.Connection, zone: str) -> None:
    await connection.execute(f"SET TIME ZONE '{zone}'")
    await connection.execute(ENSURE, date(2026, 2, 10), 3)  # across a change to or from daylight saving time
    april = datetime(2026, 4, 1, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    counter = 2**20 - 1
    for at, month in [
        *((datetime(2026, 2, 1, tzinfo=UTC), "2026_02"), (datetime(2026, 3, 1, tzinfo=UTC) - tick, "2026_02")),
        *((datetime(2026, 3, 1, tzinfo=UTC), "2026_03"), (april - tick, "2026_03"), (april, "2026_04")),
    ]:
        run_id = await floor(connection, at)
        assert await partition_of(connection, run_id) == f"hot_object_{month}"
        assert await partition_of(connection, run_id | counter) == f"hot_object_{month}"
    with pytest.raises(asyncpg.CheckViolationError, match="no partition of relation"):
        await partition_of(connection, await floor(connection, datetime(2026, 2, 1, tzinfo=UTC) - tick))


async def test_ids_contain_milliseconds_and_a_counter(connection: asyncpg.Connection) -> None:
    assert await floor(connection, datetime(2020, 1, 1, tzinfo=UTC)) == 0
    at = datetime(2024, 2, 29, 12, 0, 0, 999_999, tzinfo=UTC)
    ms = (at - datetime(2020, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert await floor(connection, at) == ms << 20
    assert 0 < await floor(connection, datetime(2298, 1, 1, tzinfo=UTC)) < 2**63


async def test_new_ids_are_current_distinct_and_increasing(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT stepwell.new_run_id_v1() AS id FROM generate_series(1, 5000)")
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == 5000
    low, high = await connection.fetchrow(
        "SELECT stepwell.run_id_floor_v1(now() - interval '1 min'), stepwell.run_id_floor_v1(now() + interval '1 min')"
    )
    assert low < min(ids)
    assert max(ids) < high
    assert [number >> 20 for number in ids] == sorted(number >> 20 for number in ids)


async def test_counter_wraps_around(connection: asyncpg.Connection) -> None:
    await connection.execute("SELECT setval('stepwell.run_serial', 1048575)")
    assert await connection.fetchval("SELECT stepwell.new_run_id_v1() & 1048575") == 0


async def test_month_with_an_uncommitted_run_is_not_dropped(connection: asyncpg.Connection) -> None:
    """A run id is created in the last millisecond of November, and committed in December."""
    await connection.execute(ENSURE, date(2026, 10, 1), 3)
    first, last = await connection.fetchrow(
        "SELECT stepwell.run_id_floor_v1($1), stepwell.run_id_floor_v1($2)",
        *(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 30, 23, 59, 59, 999000, tzinfo=UTC)),
    )
    months = "SELECT month FROM stepwell.months_to_drop_v1($1, stepwell.closed_before_v1($2))"
    for at, droppable in (
        (datetime(2026, 12, 1, tzinfo=UTC), []),
        (datetime(2026, 12, 1, 23, 59, tzinfo=UTC), []),
        (datetime(2026, 12, 2, tzinfo=UTC), ["2026-11"]),
    ):
        assert [row["month"] for row in await connection.fetch(months, [first], at)] == droppable
    await connection.execute(
        "INSERT INTO stepwell.run (run_id, entity, project, name) VALUES ($1, 'team', 'mnist', 'late')", last
    )
    assert await connection.fetch(months, [first], datetime(2026, 12, 2, tzinfo=UTC)) == []
