"""Stored summaries: a reader sees the summary that would be computed from the history and notes of its snapshot."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.histories import EAGER, Histories, Stored
from fixtures.summaries import made_and_shown, say
from stepwell_ingest.seal.summaries import Summaries
from stepwell_schema import queries

pytestmark = pytest.mark.db

#: Every run counts as inactive.
AT_ONCE = dataclasses.replace(
    EAGER, summary_rest_s=0.0, summary_rest_per_name_s=0.0, every_s=0.0, summary_share=1.0, summary_look_share=1e9
)
SHA256 = "cd" * 32
IMAGE = {"_type": "image-file", "sha256": SHA256}


@pytest.fixture
async def made(pool: asyncpg.Pool) -> Histories:
    return Histories(pool)


async def put(made: Histories, to: Stored, *values: float, key: str = "loss") -> None:
    await made.put(to, [key], np.array([values]))


async def shown(pool: asyncpg.Pool, run_id: int, key: str = "loss") -> Any:
    value = await pool.fetchval("SELECT value FROM stepwell.summary WHERE run_id = $1 AND key = $2", run_id, key)
    return None if value is None else json.loads(value)


async def is_stored(pool: asyncpg.Pool, run_id: int) -> bool:
    return bool(await pool.fetchval("SELECT stored FROM stepwell.summary_is_stored_v1($1)", run_id))


async def falsify(pool: asyncpg.Pool) -> None:
    """Changes stored values so that reads of them are detected."""
    assert await pool.execute("UPDATE stepwell.stored_value SET number = -1, value = NULL WHERE key = 'loss'")


async def edit(made: Histories, to: Stored) -> None:
    await made.pool.execute("SELECT stepwell.edit_run_v1($1, NULL, NULL, '{\"other\": 1}')", to.key.run_id)


MOVES = {
    "a frame": lambda made, to: put(made, to, 5.0, key="acc"),
    "a note": lambda made, to: say(made, to, "define", {"name": "loss", "summary": ["copy"]}),
    "an edit": edit,
    "a restart": lambda made, to: made.attach("run", "0"),
    "a rewind": lambda made, to: made.attach("run", "0", rewind_to=9),
    "another writer": lambda made, to: made.attach("run", "1"),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
async def test_stored_values_are_used_until_the_run_changes(made: Histories, pool: asyncpg.Pool, move: Any) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.5, 2.5)
    summaries = Summaries(pool, AT_ONCE)
    assert await summaries.store([to.key.run_id]) == 1
    await falsify(pool)
    assert await shown(pool, to.key.run_id) == -1
    assert await pool.fetchval("SELECT number FROM stepwell.summary WHERE key = 'loss'") == -1
    await move(made, to)
    assert await shown(pool, to.key.run_id) == 2.5
    assert await summaries.turn() == 1  # looks at the run again
    assert await is_stored(pool, to.key.run_id)
    assert await shown(pool, to.key.run_id) == 2.5


async def test_fork_summary_is_recomputed_when_its_parent_changes(made: Histories, pool: asyncpg.Pool) -> None:
    parent = await made.attach("run", "0")
    await put(made, parent, 1.0)
    fork = await made.attach("fork", "1", fork_run="run", fork_step_=5)
    await put(made, fork, 9.0, key="own")
    summaries = Summaries(pool, AT_ONCE)
    await summaries.store([fork.key.run_id])
    assert await shown(pool, fork.key.run_id) == 1
    await put(made, parent, 2.0, 3.0)  # still below the fork
    assert await shown(pool, fork.key.run_id) == 3
    assert await summaries.turn() == 2
    assert await is_stored(pool, fork.key.run_id)
    assert await shown(pool, fork.key.run_id) == 3


async def test_sealing_keeps_stored_values(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, *range(9))
    await Summaries(pool, AT_ONCE).store([to.key.run_id])
    await made.seal(whole=True)
    await made.ring.turn()
    assert await is_stored(pool, to.key.run_id)
    assert await shown(pool, to.key.run_id) == 8


async def test_values_beyond_float8_are_stored_exactly(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, float("nan"))
    await put(made, to, float("-inf"), key="low")
    await put(made, to, 0.1, key="tenth")
    said = {"big": 2**60 + 1, "one": 1, "text": "a", "list": [1, {"a": None}], "deep": {"b": 0.30}, "yes": True}
    await say(made, to, "summary", {"set": said | {"exact": 1.10}})
    await pool.execute("""UPDATE stepwell.note SET value = jsonb_set(value, '{set,exact}', '1.10'::jsonb)""")
    made_of, of_view = await made_and_shown(pool, [to.key.run_id])
    await Summaries(pool, AT_ONCE).store([to.key.run_id])
    assert await is_stored(pool, to.key.run_id)
    assert await made_and_shown(pool, [to.key.run_id]) == (made_of, of_view)
    assert ("exact", "1.10", 1.1) in {row[1:] for row in of_view}
    numbers = await pool.fetch("SELECT key FROM stepwell.stored_value WHERE value IS NULL ORDER BY key")
    assert {"one", "tenth", "_step"} <= {row["key"] for row in numbers}


async def test_summary_is_stored_once_its_file_is_stored(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    await say(made, to, "object", {"key": "image", "step": 0, "time": 5, "value": IMAGE})
    summaries = Summaries(pool, dataclasses.replace(AT_ONCE, summary_retry_s=0.0))
    await summaries.turn()
    assert not await is_stored(pool, to.key.run_id)
    assert await shown(pool, to.key.run_id, "image") is None
    await pool.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 5)", bytes.fromhex(SHA256))
    assert await shown(pool, to.key.run_id, "image") == IMAGE
    assert await summaries.turn() == 1
    assert await is_stored(pool, to.key.run_id)
    assert await shown(pool, to.key.run_id, "image") == IMAGE


async def test_file_named_by_an_edit_is_in_use(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    note = json.dumps({"image": IMAGE})
    await pool.execute("SELECT stepwell.edit_run_v1($1, NULL, NULL, $2)", to.key.run_id, note)
    await Summaries(pool, AT_ONCE).store([to.key.run_id])
    assert not await is_stored(pool, to.key.run_id)
    await pool.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 5)", bytes.fromhex(SHA256))
    assert await shown(pool, to.key.run_id, "image") == IMAGE


async def test_hash_in_a_config_is_no_missing_file(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    await say(made, to, "config", {"set": {"data": {"sha256": SHA256}}})
    await Summaries(pool, AT_ONCE).store([to.key.run_id])
    assert await is_stored(pool, to.key.run_id)


async def test_key_too_long_for_an_index_is_shown(made: Histories, pool: asyncpg.Pool) -> None:
    key = "".join(map(chr, range(0x4E00, 0x4E00 + 1000)))  # 3,000 incompressible bytes
    to, other = await made.attach("run", "0"), await made.attach("other", "0")
    await put(made, to, 1.0, key=key)
    await put(made, other, 2.0)
    await Summaries(pool, AT_ONCE).store([to.key.run_id, other.key.run_id])
    assert [await is_stored(pool, run.key.run_id) for run in (to, other)] == [False, True]
    assert await shown(pool, to.key.run_id, key) == 1


async def test_removed_key_is_removed_from_stored_values(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    await say(made, to, "summary", {"set": {"best": 1}})
    summaries = Summaries(pool, AT_ONCE)
    await summaries.store([to.key.run_id])
    await say(made, to, "summary", {"unset": ["best"]})
    await summaries.store([to.key.run_id])
    assert await is_stored(pool, to.key.run_id)
    assert await shown(pool, to.key.run_id, "best") is None


async def test_values_stored_by_another_version_are_ignored(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    summaries = Summaries(pool, AT_ONCE)
    await summaries.store([to.key.run_id])
    await falsify(pool)
    await pool.execute("UPDATE stepwell.stored_summary SET form = form - 1")
    assert await shown(pool, to.key.run_id) == 1
    assert await summaries.turn() == 1
    assert await is_stored(pool, to.key.run_id)


async def test_inactive_runs_are_stored_and_wide_ones_later(made: Histories, pool: asyncpg.Pool) -> None:
    narrow, wide, ended = [await made.attach(run, "0") for run in ("narrow", "wide", "ended")]
    for to, count in ((narrow, 1), (wide, 9), (ended, 9)):
        await made.put(to, [f"metric-{n}" for n in range(count)], np.ones((count, 1)))
    await pool.execute("UPDATE stepwell.run SET state = 'finished' WHERE name = 'ended'")
    settings = dataclasses.replace(AT_ONCE, summary_rest_s=100.0, summary_rest_per_name_s=20.0)
    summaries, found = Summaries(pool, settings), {}
    for seconds in (90, 110, 150, 290, 310):
        await pool.execute("UPDATE stepwell.ledger SET moved_at = now() - $1 * interval '1 s'", seconds)
        await summaries.turn()
        found[seconds] = [await is_stored(pool, to.key.run_id) for to in (ended, narrow, wide)].count(True)
    assert found == {90: 0, 110: 1, 150: 2, 290: 2, 310: 3}


async def test_one_pass_stores_all_waiting_summaries(made: Histories, pool: asyncpg.Pool) -> None:
    for number in range(7):
        await put(made, await made.attach(f"run-{number}", "0"), 1.0)
    summaries = Summaries(pool, dataclasses.replace(AT_ONCE, summary_names=4))
    assert await summaries.turn() == 7
    assert await pool.fetchval("SELECT count(DISTINCT xmin::text) FROM stepwell.stored_summary") == 4  # two names each
    assert await summaries.turn() == 0


async def test_failing_summary_blocks_no_other(made: Histories, pool: asyncpg.Pool) -> None:
    runs = [await made.attach(f"run-{number}", "0") for number in range(4)]
    for to in runs:
        await put(made, to, 1.0)
    await pool.execute(
        f"ALTER TABLE stepwell.stored_value ADD CONSTRAINT refuses CHECK (run_id <> {runs[1].key.run_id})"
    )
    summaries = Summaries(pool, AT_ONCE)
    assert await summaries.turn() == 3
    assert [await is_stored(pool, to.key.run_id) for to in runs] == [True, False, True, True]
    assert await summaries.turn() == 0  # it is inactive
    assert await shown(pool, runs[1].key.run_id) == 1


async def test_only_one_process_stores_at_a_time(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    async with pool.acquire() as connection, connection.transaction():
        assert await connection.fetchval(queries("seal")["claim_summaries"])
        assert await Summaries(pool, AT_ONCE).store([to.key.run_id]) == 0
    assert await Summaries(pool, AT_ONCE).store([to.key.run_id]) == 1


async def test_locked_table_is_not_retried_at_once(made: Histories, pool: asyncpg.Pool, any_postgres_dsn: str) -> None:
    for number in range(3):
        await put(made, await made.attach(f"run-{number}", "0"), 1.0)
    async with asyncpg.create_pool(any_postgres_dsn, min_size=1, server_settings={"lock_timeout": "50ms"}) as impatient:
        summaries = Summaries(impatient, dataclasses.replace(AT_ONCE, summary_names=1))
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE stepwell.stored_value")
            assert await summaries.turn() == 0
            assert not summaries._waiting
        assert await summaries.turn() == 3


async def test_snapshot_is_consistent_while_summaries_are_stored(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 0.0)
    summaries = Summaries(pool, AT_ONCE)
    stored, writing = [], True

    async def write() -> None:
        nonlocal writing
        step = 0
        while step < 60 or sum(stored) < 10:
            step += 1
            await put(made, to, float(step))
        writing = False

    async def store() -> None:
        while writing:
            stored.append(await summaries.store([to.key.run_id]))

    async def read() -> None:
        while writing:
            rows = await pool.fetch(
                "SELECT l.last_step, s.key, s.number FROM stepwell.ledger l JOIN stepwell.summary s USING (run_id) "
                "WHERE s.key IN ('loss', '_step')"
            )
            assert {(row["key"], row["number"]) for row in rows} == {
                ("loss", float(rows[0]["last_step"])),
                ("_step", float(rows[0]["last_step"])),
            }

    await asyncio.gather(write(), store(), read(), read())


async def test_reader_role_reads_stored_values(made: Histories, pool: asyncpg.Pool) -> None:
    to = await made.attach("run", "0")
    await put(made, to, 1.0)
    await Summaries(pool, AT_ONCE).store([to.key.run_id])
    await falsify(pool)
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL ROLE stepwell_reader")
        assert await connection.fetchval("SELECT number FROM stepwell.summary WHERE key = 'loss'") == -1
