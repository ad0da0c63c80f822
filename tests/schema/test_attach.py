"""attach_v1 and finish_v1: sessions become writers, concurrently and in conflict, on both versions of Postgres."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.db

ATTACH = "SELECT * FROM stepwell.attach_v1($1, $2, $3, $4, $5, $6, $7::jsonb, $8, age_s => $9)"


@pytest.fixture
async def pool(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(any_postgres_dsn, min_size=10, max_size=20) as pool:
        await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
        yield pool


async def attach(
    pool: asyncpg.Pool,
    writer: str = "0",
    run: str = "run-1",
    session: uuid.UUID | None = None,
    late: bool = False,
    age_s: float = 0.0,
    resume: str | None = None,
    **info: Any,
) -> dict[str, Any]:
    names = ("team", "mnist", run, writer, session or uuid.uuid4())
    return dict(await pool.fetchrow(ATTACH, *names, late, json.dumps(info), resume, age_s))


async def finish(pool: asyncpg.Pool, row: dict[str, Any], exit_code: int = 0) -> bool:
    return bool(
        await pool.fetchval(
            "SELECT stepwell.finish_v1($1, $2, $3, $4)", *(row["run_id"], row["writer_id"], row["epoch"], exit_code)
        )
    )


async def test_concurrent_writers_share_a_new_run(pool: asyncpg.Pool) -> None:
    rows = await asyncio.gather(*(attach(pool, str(rank)) for rank in range(20)))
    assert len({row["run_id"] for row in rows}) == 1
    assert sorted(row["writer_id"] for row in rows) == list(range(1, 21))
    assert sorted(row["writer"] for row in rows) == sorted(map(str, range(20)))
    assert {row["epoch"] for row in rows} == {1}
    assert await pool.fetchval("SELECT count(*) FROM stepwell.run") == 1


async def test_concurrent_sessions_of_a_writer_get_distinct_epochs(pool: asyncpg.Pool) -> None:
    rows = await asyncio.gather(*(attach(pool) for _ in range(20)))
    assert sorted(row["epoch"] for row in rows) == list(range(1, 21))
    assert {row["writer_id"] for row in rows} == {1}
    standing = await pool.fetch("SELECT epoch FROM stepwell.ledger WHERE NOT fenced")
    assert [row["epoch"] for row in standing] == [20]


async def test_repeated_concurrent_attaches_are_one_session(pool: asyncpg.Pool) -> None:
    session = uuid.uuid4()
    rows = await asyncio.gather(*(attach(pool, session=session) for _ in range(20)))
    assert {(row["run_id"], row["writer_id"], row["epoch"], row["fenced"]) for row in rows} == {
        (rows[0]["run_id"], 1, 1, False)
    }
    assert not any(row["resumed"] for row in rows)
    assert (await attach(pool))["resumed"]


async def test_runs_with_different_names_get_increasing_ids(pool: asyncpg.Pool) -> None:
    ids = [(await attach(pool, run=f"run-{number}"))["run_id"] for number in range(20)]
    assert ids == sorted(set(ids))
    together = await asyncio.gather(*(attach(pool, run=f"other-{number}") for number in range(20)))
    assert len({row["run_id"] for row in together}) == 20
    assert min(row["run_id"] for row in together) > max(ids)


async def test_fenced_session_is_told_and_changes_nothing(pool: asyncpg.Pool) -> None:
    old, new = uuid.uuid4(), uuid.uuid4()
    await attach(pool, session=old)
    await attach(pool, session=new)
    row = await attach(pool, session=old)
    assert (row["epoch"], row["fenced"], row["resumed"]) == (1, True, False)
    assert (await attach(pool, session=new))["fenced"] is False


async def test_late_session_takes_no_writer_and_revives_no_run(pool: asyncpg.Pool) -> None:
    live, late = await attach(pool), uuid.uuid4()
    await finish(pool, live)
    row = await attach(pool, session=late, late=True)
    assert (row["writer"], row["writer_id"], row["epoch"]) == (f"0+{str(late)[:8]}", 2, 1)
    assert await pool.fetchval("SELECT state FROM stepwell.run") == "finished"
    assert await pool.fetchval("SELECT count(*) FROM stepwell.ledger WHERE fenced") == 0


async def test_replaced_session_that_attaches_late_gets_its_own_writer(pool: asyncpg.Pool) -> None:
    heir, old = await attach(pool, age_s=60), uuid.uuid4()
    row = await attach(pool, session=old, age_s=3600)
    assert (row["writer"], row["writer_id"], row["epoch"], row["resumed"]) == (f"0+{str(old)[:8]}", 2, 1, False)
    assert await pool.fetchval("SELECT count(*) FROM stepwell.ledger WHERE fenced") == 0
    await finish(pool, heir)
    assert await pool.fetchval("SELECT state FROM stepwell.run") == "running"
    # It keeps its writer after its own retry and after the next process of the writer.
    assert (await attach(pool, session=old, age_s=3700))["writer_id"] == 2
    assert (await attach(pool))["epoch"] == 2
    assert (await attach(pool, session=old, age_s=3800))["fenced"] is False


async def test_older_session_does_not_take_an_ended_writer(pool: asyncpg.Pool) -> None:
    await finish(pool, await attach(pool, age_s=60))
    assert (await attach(pool, age_s=3600))["writer_id"] == 2


@pytest.mark.parametrize("age_s", [0.0, 59.0, 60.0, 61.0])
async def test_newer_session_takes_over(pool: asyncpg.Pool, age_s: float) -> None:
    """A process that was restarted immediately, or whose attach was slow, counts as the newer one."""
    await attach(pool, age_s=60)
    row = await attach(pool, age_s=age_s)
    assert (row["writer_id"], row["epoch"], row["fenced"]) == (1, 2, False)


async def test_ages_are_measured_by_the_clock_of_postgres(pool: asyncpg.Pool) -> None:
    await attach(pool, age_s=60)
    await pool.execute("UPDATE stepwell.ledger SET started_at = started_at - interval '1 hour'")  # an hour has passed
    assert (await attach(pool, age_s=3600))["epoch"] == 2
    assert (await attach(pool, age_s=3630))["writer_id"] == 2


@pytest.mark.parametrize("resume", ["allow", "must"])
async def test_resuming_session_takes_over_at_any_age(pool: asyncpg.Pool, resume: str) -> None:
    await attach(pool, age_s=60)
    assert (await attach(pool, age_s=3600, resume=resume))["epoch"] == 2


async def test_epoch_without_a_start_time_is_taken_over(pool: asyncpg.Pool) -> None:
    """The session attached before the ledger had the column."""
    await attach(pool)
    await pool.execute("UPDATE stepwell.ledger SET started_at = NULL")
    assert (await attach(pool, age_s=3600))["epoch"] == 2


async def test_late_sessions_are_ordered_by_start_time(pool: asyncpg.Pool) -> None:
    await attach(pool, late=True, age_s=60)
    assert (await attach(pool, age_s=3600))["writer_id"] == 2
    assert (await attach(pool, age_s=30))["epoch"] == 2


async def test_session_of_another_run_has_its_own_error(pool: asyncpg.Pool) -> None:
    session = uuid.uuid4()
    await attach(pool, session=session)
    with pytest.raises(asyncpg.PostgresError, match=f"session {session} belongs to another run") as caught:
        await attach(pool, run="run-2", session=session)
    assert caught.value.sqlstate == "ST003"
    assert await pool.fetchval("SELECT count(*) FROM stepwell.run") == 1


async def test_config_is_merged_and_not_in_writer_info(pool: asyncpg.Pool) -> None:
    await attach(pool, config={"lr": 1, "model": {"depth": 3}}, host="a", display_name="My run")
    await attach(pool, "1", config={"lr": 2}, host="b")
    await attach(pool, "2", host="c")
    row = await pool.fetchrow("SELECT config, display_name FROM stepwell.runs")
    assert (json.loads(row["config"]), row["display_name"]) == ({"lr": 2, "model": {"depth": 3}}, "My run")
    infos = await pool.fetch("SELECT info FROM stepwell.writer ORDER BY writer_id")
    assert [json.loads(row["info"]).get("host") for row in infos] == ["a", "b", "c"]
    assert not any("config" in json.loads(row["info"]) for row in infos)


async def test_run_without_a_display_name_shows_its_id(pool: asyncpg.Pool) -> None:
    await attach(pool)
    assert await pool.fetchval("SELECT display_name FROM stepwell.runs") == "run-1"


async def test_only_the_newest_epoch_can_end_a_writer(pool: asyncpg.Pool) -> None:
    old = await attach(pool)
    new = await attach(pool)
    assert await finish(pool, old, 1) is False
    assert await pool.fetchval("SELECT state FROM stepwell.run") == "running"
    assert await finish(pool, new) is True
    assert await finish(pool, old, 1) is False
    assert await pool.fetchval("SELECT state FROM stepwell.run") == "finished"


async def test_concurrent_finishes_end_the_run(pool: asyncpg.Pool) -> None:
    rows = await asyncio.gather(*(attach(pool, str(rank)) for rank in range(20)))
    assert all(await asyncio.gather(*(finish(pool, row, row["writer_id"] // 20) for row in rows)))
    run = await pool.fetchrow("SELECT state, exit_code FROM stepwell.runs")
    assert tuple(run) == ("failed", 1)


async def test_restarts_and_finishes_of_a_writer_do_not_deadlock(pool: asyncpg.Pool) -> None:
    for round_ in range(10):
        row = await attach(pool)
        # a deadlock would raise an error in one of them
        await asyncio.gather(
            finish(pool, row), attach(pool, config={"round": round_}), finish(pool, row, 1), attach(pool, "1")
        )
