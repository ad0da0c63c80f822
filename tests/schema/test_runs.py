"""The view `runs`: the latest config and names from all sessions."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.db

ABOUT = "SELECT display_name, notes, tags, run_group, job_type, host FROM stepwell.runs"


@pytest.fixture
async def pg(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_postgres_dsn)
    await connection.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield connection
    await connection.close()


async def attach(
    pg: asyncpg.Connection, writer: str = "0", session: uuid.UUID | None = None, late: bool = False, **info: Any
) -> tuple[int, int, int]:
    row = await pg.fetchrow(
        "SELECT run_id, writer_id, epoch FROM stepwell.attach_v1('team', 'mnist', 'run-1', $1, $2, $3, $4::jsonb)",
        *(writer, session or uuid.uuid4(), late, json.dumps(info)),
    )
    return tuple(row)


async def say(
    pg: asyncpg.Connection, key: tuple[int, int, int], kind: str, at: float, value: Any, seq: int = 0
) -> None:
    await pg.execute(
        "INSERT INTO stepwell.note VALUES ($1, $2, $3, $4, 0, 0, to_timestamp($5), $6, $7)",
        *(*key, seq, at, kind, json.dumps(value)),
    )


async def config(pg: asyncpg.Connection) -> Any:
    return json.loads(await pg.fetchval("SELECT config FROM stepwell.runs"))


async def test_run_without_names_shows_its_id(pg: asyncpg.Connection) -> None:
    await attach(pg)
    assert tuple(await pg.fetchrow(ABOUT)) == ("run-1", None, [], None, None, None)
    assert await pg.fetchval("SELECT heartbeat_at > now() - interval '1 minute' FROM stepwell.runs")
    assert await pg.fetchval("SELECT count(*) FROM stepwell.note") == 0


async def test_names_come_from_the_start_and_later_changes(pg: asyncpg.Connection) -> None:
    start = {"display_name": "first", "notes": "n", "tags": ["a", "b"], "group": "g", "job_type": "train", "host": "h1"}
    key = await attach(pg, **start)
    assert tuple(await pg.fetchrow(ABOUT)) == ("first", "n", ["a", "b"], "g", "train", "h1")
    await attach(pg, "1", **{**start, "host": "h2"})
    await say(pg, key, "meta", 4e9, {"name": "second", "tags": []})
    assert tuple(await pg.fetchrow(ABOUT)) == ("second", "n", [], "g", "train", "h1")
    await attach(pg)  # a restart without arguments
    assert tuple(await pg.fetchrow(ABOUT))[:2] == ("second", "n")
    await say(pg, key, "meta", 5e9, {"name": None}, 1)
    assert await pg.fetchval("SELECT display_name FROM stepwell.runs") == "run-1"


async def test_equal_values_from_ranks_are_merged(pg: asyncpg.Connection) -> None:
    for rank in range(5):
        await attach(pg, str(rank), config={"lr": 1, "layers": [1, 2]}, tags=["x"])
    assert await pg.fetchval("SELECT count(*) FROM stepwell.note") == 1  # the tags


async def test_late_rank_does_not_undo_changes(pg: asyncpg.Connection) -> None:
    start: dict[str, Any] = {"config": {"lr": 1}, "display_name": "first", "tags": ["a"]}
    key = await attach(pg, **start, started_at=100.0)
    await say(pg, key, "config", 200, {"set": {"lr": 2}})
    await say(pg, key, "meta", 201, {"name": "second", "tags": ["b"]}, 1)
    await attach(pg, "1", **start, started_at=300.0)
    assert await config(pg) == {"lr": 2}
    assert tuple(await pg.fetchrow(ABOUT))[:3] == ("second", None, ["b"])
    await attach(pg, "2", config={"lr": 1, "own": 3}, started_at=400.0)  # adds to the initial config
    assert await config(pg) == {"lr": 1, "own": 3}
    await attach(pg, "1", **start, started_at=500.0)  # the values of a restart count
    assert tuple(await pg.fetchrow(ABOUT))[:3] == ("first", None, ["a"])


async def test_last_change_of_each_config_key_wins(pg: asyncpg.Connection) -> None:
    key = await attach(pg, config={"lr": 1, "net": {"a": 1, "b": 2}, "seed": 1}, started_at=100.0)
    await say(pg, key, "config", 200, {"set": {"lr": 2, "net": {"c": 3}, "new": None}})
    assert await config(pg) == {"lr": 2, "net": {"c": 3}, "seed": 1, "new": None}
    await say(pg, key, "config", 201, {"unset": ["seed", "new"], "set": {"new": 5}}, 1)
    assert await config(pg) == {"lr": 2, "net": {"c": 3}, "new": 5}
    await attach(pg, config={"lr": 7}, started_at=300.0)  # a restart with another value
    assert await config(pg) == {"lr": 7, "net": {"c": 3}, "new": 5}


async def test_shorter_list_is_a_change(pg: asyncpg.Connection) -> None:
    await attach(pg, config={"layers": [1, 2, 3]})
    await attach(pg, config={"layers": [1]})
    assert await config(pg) == {"layers": [1]}


async def test_late_spool_does_not_override_newer_values(pg: asyncpg.Connection) -> None:
    key = await attach(pg, config={"lr": 1}, started_at=500.0)
    await say(pg, key, "config", 600, {"set": {"lr": 2}})
    await attach(pg, late=True, config={"lr": 9, "old": True}, display_name="old", started_at=400.0)
    assert await config(pg) == {"lr": 2, "old": True}


@pytest.mark.parametrize("started_at", [None, "soon", -5, 1e300, [], {}])
async def test_invalid_start_time_becomes_now(pg: asyncpg.Connection, started_at: Any) -> None:
    await attach(pg, config={"lr": 1})
    await attach(pg, config={"lr": 2}, started_at=started_at)
    assert await config(pg) == {"lr": 2}
    assert await pg.fetchval("SELECT time > now() - interval '1 minute' FROM stepwell.note")


async def test_reattached_session_repeats_nothing(pg: asyncpg.Connection) -> None:
    session = uuid.uuid4()
    key = await attach(pg, session=session, config={"lr": 1})
    await say(pg, key, "config", 4e9, {"set": {"lr": 2}})
    await attach(pg, session=session, config={"lr": 1})
    assert await config(pg) == {"lr": 2}


async def test_media_count_as_objects(pg: asyncpg.Connection) -> None:
    key = await attach(pg)
    await pg.execute("UPDATE stepwell.ledger SET objects = 2")
    for seq in range(3):
        await say(pg, key, "object", 100.0, {"key": "picture", "step": seq, "value": {"_type": "image-file"}}, seq)
    await say(pg, key, "file", 100.0, {"name": "model.txt"}, 9)
    assert await pg.fetchval("SELECT objects FROM stepwell.runs") == 5
