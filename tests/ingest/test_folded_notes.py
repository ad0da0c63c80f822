"""Folded notes: `runs` shows the config and names that result from the notes of its snapshot, and reads no notes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from typing import Any

import asyncpg
import pytest

from fixtures.histories import EAGER, Histories, Stored
from fixtures.plans import plan_of, rows_read
from fixtures.summaries import say
from stepwell_ingest.config import SealSettings
from stepwell_ingest.seal.notes import Notes

pytestmark = pytest.mark.db

AT_ONCE = dataclasses.replace(EAGER, notes_rest_s=0.0, notes_rest_per_note_s=0.0, summary_share=1.0)
NOTES: list[tuple[str, Any]] = [
    ("config", {"set": {"lr": 0.1, "deep": {"a": 1}}}),
    ("config", {"set": {"lr": 0.2}}),
    ("config", {"unset": ["lr"]}),
    ("config", {"set": {"lr": None}, "unset": ["deep"]}),
    ("config", ["no object"]),
    ("meta", {"tags": ["best", "new"], "group": "g"}),
    ("meta", {"tags": [], "name": "renamed", "notes": "some"}),
    ("meta", {"job_type": 7, "tags": "none"}),
    ("meta", None),
    ("alert", {"title": "of another kind"}),
]
#: Each run as the view shows it, and as its notes make it, from one snapshot.
BOTH = """
    SELECT r.run_id, jsonb_build_array(r.config, r.display_name, r.tags, r.run_group, r.job_type, r.notes) AS shown,
           jsonb_build_array(stepwell.run_config_v1(r.run_id), coalesce(m.meta->>'name', r.run),
                             ARRAY(SELECT jsonb_array_elements_text(stepwell.array_v1(m.meta->'tags'))),
                             m.meta->>'group', m.meta->>'job_type', m.meta->>'notes') AS made
    FROM stepwell.runs r CROSS JOIN LATERAL (SELECT stepwell.run_meta_v1(r.run_id) AS meta) m"""


@pytest.fixture
async def made(pool: asyncpg.Pool) -> Histories:
    return Histories(pool)


async def check(pool: asyncpg.Pool) -> None:
    for run_id, shown, made in await pool.fetch(BOTH):
        assert shown == made, run_id


async def config(pool: asyncpg.Pool | asyncpg.Connection, to: Stored) -> Any:
    return json.loads(await pool.fetchval("SELECT config FROM stepwell.runs WHERE run_id = $1", to.key.run_id))


async def unfolded(pool: asyncpg.Pool) -> int:
    return int(
        await pool.fetchval("SELECT count(*) FROM stepwell.note WHERE NOT folded AND kind IN ('config', 'meta')")
    )


@pytest.mark.parametrize("seed", range(4))
async def test_folded_notes_show_what_all_notes_make(made: Histories, pool: asyncpg.Pool, seed: int) -> None:
    dice, notes = random.Random(seed), Notes(pool, AT_ONCE)
    writers = [await made.attach(run, writer) for run in ("a", "b") for writer in ("0", "1")]
    for _ in range(15):
        to = dice.choice(writers)
        action = dice.randrange(6)
        if action == 0:
            await made.attach({w.key.run_id: name for name, w in zip("aabb", writers, strict=True)}[to.key.run_id], "0")
        elif action == 1:
            await pool.execute(
                "SELECT stepwell.edit_run_v1($1, $2, $3, NULL)", to.key.run_id, '{"notes": "edited"}', '{"lr": 9}'
            )
        elif action == 2:
            await notes.turn()
        else:
            await say(made, to, *dice.choice(NOTES))
            if dice.random() < 0.3:  # a spool that is delivered late: an older note, which others override
                await pool.execute("UPDATE stepwell.note SET time = time - interval '1 day' WHERE NOT folded")
        await check(pool)
    await notes.turn()
    assert await unfolded(pool) == 0
    await check(pool)


async def test_each_snapshot_shows_its_notes(made: Histories, pool: asyncpg.Pool) -> None:
    to, notes = await made.attach("run", "0"), Notes(pool, AT_ONCE)
    await say(made, to, "config", {"set": {"lr": 1}})
    async with pool.acquire() as writer, pool.acquire() as reader, writer.transaction():
        late = "INSERT INTO stepwell.note VALUES ($1, 1, 1, 90, 0, 0, clock_timestamp(), 'config', $2)"
        await writer.execute(late, to.key.run_id, '{"set": {"lr": 2}}')
        async with reader.transaction(isolation="repeatable_read"):
            assert await config(reader, to) == {"lr": 1}
            assert await notes.turn() == 1  # while a later note is not committed yet
            assert await config(reader, to) == {"lr": 1}
            assert await config(pool, to) == {"lr": 1}
    assert await config(pool, to) == {"lr": 2}
    assert await unfolded(pool) == 1
    assert await notes.turn() == 1
    assert await config(pool, to) == {"lr": 2}


async def test_lists_of_folded_runs_read_no_notes(made: Histories, pool: asyncpg.Pool) -> None:
    for number in range(5):
        to = await made.attach(f"run-{number}", "0")
        await say(made, to, "config", {"set": {"model": {"name": f"m{number}"}}})
        await say(made, to, "meta", {"tags": ["best"]})
    query = 'SELECT run FROM stepwell.runs WHERE config @> \'{"model": {"name": "m3"}}\' AND \'best\' = ANY (tags)'
    async with pool.acquire() as connection:
        before = await plan_of(connection, query)
        assert await Notes(pool, AT_ONCE).turn() == 5
        after = await plan_of(connection, query)
    assert before["Actual Rows"] == after["Actual Rows"] == 1
    assert rows_read(before, "note") > 0
    assert rows_read(after, "note") == 0


async def test_fresh_notes_rest_before_they_are_folded(made: Histories, pool: asyncpg.Pool) -> None:
    """So that a run that changes its config all the time is not folded all the time."""
    to = await made.attach("run", "0")
    await say(made, to, "config", {"set": {"lr": 1}})
    await say(made, to, "config", {"set": {"lr": 2}})
    for patient in (dict(notes_rest_s=30.0), dict(notes_rest_per_note_s=15.0)):
        assert await Notes(pool, dataclasses.replace(AT_ONCE, **patient)).turn() == 0
    await pool.execute("UPDATE stepwell.note SET time = time - interval '31 s'")
    assert await Notes(pool, SealSettings()).turn() == 1


async def test_locked_run_does_not_keep_others_from_being_folded(made: Histories, pool: asyncpg.Pool) -> None:
    runs = [await made.attach(name, "0") for name in ("locked", "other")]
    for to in runs:
        await say(made, to, "config", {"set": {"lr": 1}})
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SELECT FROM stepwell.run WHERE name = 'locked' FOR UPDATE")
        assert await asyncio.wait_for(Notes(pool, AT_ONCE).turn(), 30) == 1
    assert await Notes(pool, AT_ONCE).turn() == 1
    assert await unfolded(pool) == 0


async def test_run_that_cannot_be_folded_keeps_no_others_from_it(made: Histories, pool: asyncpg.Pool) -> None:
    runs = [await made.attach(name, "0") for name in ("bad", "good", "fine")]
    for to in runs:
        await say(made, to, "config", {"set": {"lr": 1}})
    await pool.execute("ALTER TABLE stepwell.run ADD CONSTRAINT bad CHECK (name <> 'bad' OR folded_meta IS NULL)")
    notes = Notes(pool, AT_ONCE)
    assert await notes.turn() == 2
    assert await notes.turn() == 0  # it rests
    await check(pool)


async def test_turn_folds_more_runs_than_one_transaction(made: Histories, pool: asyncpg.Pool, monkeypatch: Any) -> None:
    monkeypatch.setattr("stepwell_ingest.seal.notes._AT_ONCE", 2)
    for number in range(6):
        await say(made, await made.attach(f"run-{number}", "0"), "config", {"set": {"lr": number}})
    await pool.execute("DELETE FROM stepwell.run WHERE name = 'run-5'")  # its notes are swept later
    monkeypatch.setattr("stepwell_ingest.seal.notes._FOUND", 5)
    assert await Notes(pool, AT_ONCE).turn() == 5
    assert await unfolded(pool) == 1
