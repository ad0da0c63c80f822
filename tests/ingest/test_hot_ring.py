"""The hot ring: readers see the same points, whenever they took their snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import numpy as np
import pytest

from faults.snapshots import look_around
from fixtures.histories import EAGER, Histories, Stored
from fixtures.ingest import eventually
from stepwell_ingest.seal.ring import Ring
from stepwell_schema import queries

pytestmark = pytest.mark.db

COUNT = 5


@pytest.fixture
async def made(pool: asyncpg.Pool) -> Histories:
    """A run with hot points in slot 0."""
    made = Histories(pool)
    await put(made, await made.attach("run", "0"))
    return made


async def put(made: Histories, stored: Stored) -> None:
    await made.put(stored, ["loss", "acc"], np.arange(2.0 * COUNT).reshape(2, COUNT))


async def sizes(pool: asyncpg.Pool) -> list[int]:
    """The slots that contain rows."""
    rows = await pool.fetch("SELECT ring FROM stepwell.hot_ring ORDER BY ring")
    return [
        slot
        for (slot,) in rows
        if await pool.fetchval(f"SELECT pg_relation_size('stepwell.hot_block_{slot}'::regclass)")
    ]


async def ask(pool: asyncpg.Pool, name: str, *arguments: Any) -> Any:
    return await pool.fetchval(queries("seal")[name], *arguments)


async def rotate(pool: asyncpg.Pool) -> Any:
    return await ask(pool, "rotate", 0, EAGER.age)


async def seal_and_turn(made: Histories) -> None:
    await made.seal(whole=True)
    for _ in range(2):
        await made.ring.turn()


async def one_more(pool: asyncpg.Pool, query: str, *arguments: Any) -> None:
    """Waits until the query returns a count above zero."""

    async def counts() -> bool:
        return bool(await pool.fetchval(query, *arguments))

    await eventually(counts)


async def points(connection: asyncpg.Connection) -> list[Any]:
    return [
        tuple(row) for row in await connection.fetch("SELECT metric, step, value FROM stepwell.history ORDER BY 1, 2")
    ]


async def test_space_of_sealed_rows_is_freed(made: Histories, pool: asyncpg.Pool) -> None:
    assert await sizes(pool) == [0]
    await made.ring.turn()
    assert await sizes(pool) == [0]  # not sealed
    await seal_and_turn(made)
    assert await sizes(pool) == []
    await made.check()


async def test_old_snapshot_sees_the_same_points(made: Histories, pool: asyncpg.Pool, any_postgres_dsn: str) -> None:
    async def much_happens() -> None:
        await seal_and_turn(made)
        await put(made, made.epochs[0])
        await seal_and_turn(made)
        await made.merge()
        await seal_and_turn(made)
        assert 0 in await sizes(pool)

    before, after = await look_around(any_postgres_dsn, points, much_happens)
    assert len(before) == 2 * COUNT
    assert after == before
    await seal_and_turn(made)
    assert 0 not in await sizes(pool)
    await made.check()


async def test_snapshot_between_handover_and_mark_holds_the_slot(
    made: Histories, pool: asyncpg.Pool, any_postgres_dsn: str
) -> None:
    async def turn() -> None:
        await made.ring.turn()
        await made.ring.turn()
        assert await sizes(pool) == [0]

    await rotate(pool)
    await made.seal(whole=True)
    before, after = await look_around(any_postgres_dsn, points, turn)
    assert after == before


async def test_snapshot_during_the_mark_holds_the_slot(
    made: Histories, pool: asyncpg.Pool, any_postgres_dsn: str
) -> None:
    await rotate(pool)
    await made.seal(whole=True)
    async with pool.acquire() as marker:
        marking = marker.transaction()
        await marking.start()
        assert await marker.fetchval(queries("seal")["mark_sealed"]) == 1

        async def commit_and_empty() -> None:
            await marking.commit()
            assert await ask(pool, "empty_slot") is None

        before, after = await look_around(any_postgres_dsn, points, commit_and_empty)
        assert after == before
        assert await ask(pool, "empty_slot") == 0


async def test_early_truncation_is_detected(made: Histories, pool: asyncpg.Pool, any_postgres_dsn: str) -> None:
    """Checks that the tests above would detect the error."""
    await pool.execute(
        "CREATE OR REPLACE FUNCTION stepwell.oldest_snapshot_age_v1() RETURNS integer LANGUAGE sql AS 'SELECT 0'"
    )
    before, after = await look_around(any_postgres_dsn, points, lambda: seal_and_turn(made))
    assert (len(before), after) == (2 * COUNT, [])


async def test_long_select_sees_all_points(made: Histories, pool: asyncpg.Pool) -> None:
    """The reader has locked the tables that it reads, and its snapshot is visible."""
    slow = "SELECT count(*) FROM stepwell.history WHERE pg_sleep(0.1) IS NOT NULL"
    async with pool.acquire() as reader:
        counting = asyncio.create_task(reader.fetchval(slow))
        await one_more(pool, "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND state = 'active'", slow)
        await made.seal(whole=True)
        hurried = Ring(pool, EAGER.__class__(slot_bytes=0, lock_ms=50))
        await hurried.turn()
        await hurried.turn()
        assert await counting == 2 * COUNT
    await seal_and_turn(made)
    assert await sizes(pool) == []


async def test_long_reads_block_nobody(made: Histories, pool: asyncpg.Pool) -> None:
    """The snapshot is new enough, but the reader holds a lock on the slot: TRUNCATE would wait, and block others."""
    await rotate(pool)
    await made.seal(whole=True)
    assert await ask(pool, "mark_sealed") == 1
    async with pool.acquire() as reader:
        reading = reader.transaction(isolation="read_committed")
        await reading.start()
        await points(reader)
        await reader.execute("SELECT pg_sleep(1.1)")
        await pool.execute("SET lock_timeout = 0")
        assert await asyncio.wait_for(ask(pool, "empty_slot"), 20) is None
        await reading.commit()
    assert await ask(pool, "empty_slot") == 0


async def test_vacuumed_slot_does_not_block_others(made: Histories, pool: asyncpg.Pool) -> None:
    """Autovacuum skips the slots except to prevent wraparound, but a person may vacuum them."""
    await made.put(made.epochs[0], ["large"], np.ones((1, 50_000)))
    for slot in (1, 2):
        assert await rotate(pool) == slot
        await put(made, made.epochs[0])
    await made.seal(whole=True)
    assert await ask(pool, "mark_sealed") == 2
    toast = await pool.fetchval("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'hot_block_0'")
    async with pool.acquire() as cleaner:
        await cleaner.execute("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1")
        cleaning = asyncio.create_task(cleaner.execute(f"VACUUM {toast}"))
        await one_more(
            pool,
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'VACUUM pg_toast%' "
            "AND wait_event = 'VacuumDelay' AND xact_start < clock_timestamp() - interval '1 s'",
        )
        await made.ring.turn()
        assert await sizes(pool) == [0, 2]
        cleaning.cancel()
        with contextlib.suppress(asyncio.CancelledError, asyncpg.QueryCanceledError):
            await cleaning
    await seal_and_turn(made)
    assert await sizes(pool) == []
    await made.check()


async def test_autovacuum_skips_the_slots(pool: asyncpg.Pool) -> None:
    left = await pool.fetchval(
        "SELECT count(*) FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid "
        "WHERE c.relname ~ '^hot_block_[0-9]$' "
        "AND 'autovacuum_enabled=false' = ALL (ARRAY[c.reloptions[1], t.reloptions[1]])"
    )
    assert left == 6


async def test_slow_cursor_sees_all_points(made: Histories, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as reader, reader.transaction():
        cursor = await reader.cursor("SELECT metric, step FROM stepwell.history")
        rows = await cursor.fetch(1)
        await made.seal(whole=True)
        await Ring(pool, EAGER.__class__(slot_bytes=0, lock_ms=50)).turn()
        rows += await cursor.fetch(100)
        assert len(rows) == 2 * COUNT


async def test_read_committed_statement_sees_its_snapshot(made: Histories, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as reader, reader.transaction(isolation="read_committed"):
        before = await points(reader)
        await made.seal(whole=True)
        assert await points(reader) == before
        await put(made, made.epochs[0])
        await made.seal(whole=False)
        assert len(await points(reader)) == 4 * COUNT


async def test_uncommitted_writer_holds_its_slot(made: Histories, pool: asyncpg.Pool) -> None:
    async with pool.acquire() as writer:
        writing = writer.transaction()
        await writing.start()
        slot = await writer.fetchval("SELECT stepwell.hot_ring_v1()")
        turning = asyncio.create_task(rotate(pool))
        await one_more(pool, "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND NOT granted")
        await made.seal(whole=True)
        assert await ask(pool, "mark_sealed") == 0  # still the current slot
        late = Stored(made.epochs[0].key, "0", 100, seq=9)
        await writer.execute(
            f"INSERT INTO stepwell.hot_block_{slot} SELECT run_id, 9, 100, 100, writer_id, epoch, keys[:1], '{{100}}', "
            f"times[:1], '{{{{7}}}}' FROM stepwell.hot_block LIMIT 1"
        )
        await writer.execute("UPDATE stepwell.ledger SET last_step = 100, points = points + 1")
        await writing.commit()
    assert await turning == slot + 1
    assert await ask(pool, "mark_sealed") == 0  # it has rows that are not sealed
    assert await ask(pool, "empty_slot") is None
    async with pool.acquire() as reader:
        assert ("loss", 100, 7.0) in await points(reader)
    await made.sealer.seal(late.key, whole=True)
    assert await ask(pool, "mark_sealed") == 1
    assert await ask(pool, "empty_slot") == slot


async def test_no_row_enters_a_sealed_slot(pool: asyncpg.Pool) -> None:
    """Writers, sealers and turns of the ring run concurrently: at the end, every point is stored once."""
    made = Histories(pool)
    for name in ("a", "b", "c"):
        await made.attach(name, "0")
    other = Histories(pool)
    other.epochs = made.epochs

    async def write(stored: Stored) -> None:
        for _ in range(25):
            await put(made, stored)

    writers = [asyncio.create_task(write(stored)) for stored in made.epochs]

    async def meanwhile(one: Histories) -> None:
        while not all(writer.done() for writer in writers):
            await one.seal(whole=True)
            await one.ring.turn()
            await one.merge()

    await asyncio.gather(*writers, meanwhile(made), meanwhile(other))
    await made.check()
    await seal_and_turn(made)
    await made.check()
    assert await pool.fetchval("SELECT count(*) FROM stepwell.hot_ring WHERE current") == 1
    assert await pool.fetchval("SELECT sum(sealed_points) FROM stepwell.ledger") == 3 * 25 * 2 * COUNT
    assert await pool.fetchval("SELECT sum(points) FROM stepwell.metric_total") == 3 * 25 * 2 * COUNT


async def test_full_ring_keeps_its_current_slot(made: Histories, pool: asyncpg.Pool) -> None:
    for slot in range(1, 6):
        assert await rotate(pool) == slot
        await put(made, made.epochs[0])
    assert await rotate(pool) is None
    await put(made, made.epochs[0])
    assert await sizes(pool) == [0, 1, 2, 3, 4, 5]
    await made.check()
    await seal_and_turn(made)
    await seal_and_turn(made)
    await seal_and_turn(made)
    assert len(await sizes(pool)) <= 3
    await made.check()


async def test_concurrent_servers_turn_the_ring_once(made: Histories, pool: asyncpg.Pool) -> None:
    turned = await asyncio.gather(*(rotate(pool) for _ in range(6)))
    assert sorted(turned, key=str) == [1, *[None] * 5]  # the new slot is empty, so the ring is not turned again
    assert await pool.fetchval("SELECT array_agg(ring) FROM stepwell.hot_ring WHERE current") == [1]


async def test_prepared_transaction_holds_the_slot(pool: asyncpg.Pool, made: Histories) -> None:
    if await pool.fetchval("SHOW max_prepared_transactions") == "0":
        pytest.fail("the clusters of the tests allow prepared transactions")
    await rotate(pool)
    async with pool.acquire() as other:
        await other.execute("BEGIN; CREATE TABLE public.x (); PREPARE TRANSACTION 'p'")
    try:
        await made.seal(whole=True)
        await made.ring.turn()
        await made.ring.turn()
        assert await sizes(pool) == [0]
    finally:
        await pool.execute("ROLLBACK PREPARED 'p'")
    await made.ring.turn()
    assert await sizes(pool) == []


async def test_role_without_snapshot_access_truncates_nothing(
    made: Histories, pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    role = "blind_" + (await pool.fetchval("SELECT current_database()"))
    await pool.execute(f"CREATE ROLE {role} NOSUPERUSER; GRANT ALL ON SCHEMA stepwell TO {role}")
    await pool.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA stepwell TO {role}")
    await made.seal(whole=True)
    blind = await asyncpg.create_pool(
        (await dsn_of(pool)), min_size=1, max_size=2, setup=lambda c: c.execute(f"SET ROLE {role}")
    )
    try:
        ring = Ring(blind, EAGER)
        for _ in range(3):
            await ring.turn()
        assert await sizes(pool) == [0]
        assert len(caplog.messages) == 1
        assert "GRANT pg_read_all_stats" in caplog.messages[0]
        await pool.execute(f"GRANT pg_read_all_stats TO {role}")
        await pool.execute(f"ALTER TABLE stepwell.hot_block_0 OWNER TO {role}")  # enough to truncate TOAST
        await ring.turn()
        assert await sizes(pool) == []
    finally:
        blind.terminate()
        with contextlib.suppress(asyncpg.PostgresError):
            await pool.execute(f"DROP OWNED BY {role}")
        await pool.execute(f"DROP ROLE IF EXISTS {role}")


async def dsn_of(pool: asyncpg.Pool) -> str:
    arguments: Any = pool._connect_args
    return str(arguments[0])


async def test_slot_marked_by_another_cluster_is_truncated(pool: asyncpg.Pool) -> None:
    """After a restore from a dump, the id of the transaction that marked the slot is in the future."""
    made = Histories(pool)
    stored = await made.attach("run", "0")
    await made.put(stored, ["loss"], np.ones((1, 10)))
    await made.ring.turn()
    await made.seal(whole=True)
    await pool.execute("UPDATE stepwell.hot_ring SET sealed_xid = '4000000000' WHERE NOT current AND ring = 0")
    for _ in range(3):
        await made.ring.turn()
    assert await pool.fetchval("SELECT count(*) FROM stepwell.hot_block") == 0
    await made.check()


async def test_slot_marked_by_another_cluster_is_kept_long_enough(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    stored = await made.attach("run", "0")
    await made.put(stored, ["loss"], np.ones((1, 10)))
    await made.ring.turn()
    await pool.execute("UPDATE stepwell.hot_ring SET sealed_xid = '4000000000' WHERE NOT current AND ring = 0")
    for _ in range(3):
        await made.ring.turn()
        await made.check()
    assert await pool.fetchval("SELECT count(*) FROM stepwell.hot_block") == 1
