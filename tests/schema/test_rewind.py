"""attach_v1 with rewind_to and fork_run: the hidden points, and the steps at which all writers continue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories, Stored
from stepwell_schema import queries

pytestmark = pytest.mark.db


@pytest.fixture
async def made(any_postgres_dsn: str) -> AsyncIterator[Histories]:
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=3)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield Histories(pool)
    pool.terminate()


async def log(made: Histories, stored: Stored, first: int, end: int) -> None:
    """Logs the steps first … end − 1; the value of a step is the number of the epoch."""
    stored.next_step = first
    await made.put(stored, ["a"], np.full((1, end - first), float(stored.key.epoch)))


async def start(made: Histories, writers: str, end: int, *, first: int = 0, **how: Any) -> dict[str, Stored]:
    """Starts processes of these writers together; each logs the steps first … end − 1."""
    begun = {writer: await made.attach("run", writer, **how) for writer in writers}
    for stored in begun.values():
        await log(made, stored, first, end)
    return begun


async def steps(made: Histories, writer: str, run: str = "run") -> list[int]:
    rows = await made.pool.fetch(
        "SELECT step FROM stepwell.history WHERE run = $1 AND writer = $2 ORDER BY step", run, writer
    )
    return [row["step"] for row in rows]


async def end(made: Histories, writers: str, state: str = "finished") -> None:
    await made.pool.execute("UPDATE stepwell.writer SET state = $2 WHERE name = ANY ($1)", list(writers), state)


@pytest.mark.parametrize("state", ["running", "finished", "failed", "crashed"])
@pytest.mark.parametrize("back_to", [4, 2])
async def test_second_rewind_cuts_absent_ranks(made: Histories, state: str, back_to: int) -> None:
    await start(made, "012", 10)
    await start(made, "012", 8, first=5, rewind_to=4)
    await end(made, "012", state)
    await start(made, "0", 7, first=back_to + 1, rewind_to=back_to)
    assert await steps(made, "0") == list(range(7))
    for writer in "12":
        assert await steps(made, writer) == list(range(back_to + 1))
    await made.check()


async def test_second_rewind_cuts_ranks_that_ran_in_sequence(made: Histories) -> None:
    for how in ({}, {"rewind_to": 4}):
        for writer in "01":
            await start(made, writer, 10, first=5 if how else 0, **how)
            await end(made, writer)
    await start(made, "0", 7, first=5, rewind_to=4)
    assert (await steps(made, "0"), await steps(made, "1")) == (list(range(7)), list(range(5)))


@pytest.mark.parametrize("order", ["01", "10"])
async def test_ranks_that_rewind_together_keep_their_new_points(made: Histories, order: str) -> None:
    """Three launches from one checkpoint; each rank logs before the next one attaches."""
    await start(made, "01", 10)
    for last in (8, 9, 7):
        for writer in order:
            await start(made, writer, last, first=5, rewind_to=4)
        for writer in order:
            assert await steps(made, writer) == list(range(last))
    await made.check()


async def test_new_rank_joins_its_launch(made: Histories) -> None:
    await start(made, "01", 10)
    await start(made, "01", 8, first=5, rewind_to=4)
    await start(made, "2", 7, first=5, rewind_to=4)
    await start(made, "0", 7, first=5, rewind_to=4)
    await start(made, "1", 7, first=5, rewind_to=4)
    assert await steps(made, "2") == [5, 6]
    assert await steps(made, "0") == await steps(made, "1") == list(range(7))


@pytest.mark.parametrize("state", ["running", "crashed"])
async def test_process_that_survives_a_rewind_is_recorded(made: Histories, state: str) -> None:
    """In any case, its points above the step are hidden, and its new points are shown."""
    begun = await start(made, "01", 10)
    session = await made.pool.fetchval("SELECT session FROM stepwell.ledger WHERE writer_id = 2")
    await end(made, "1", state)
    await start(made, "0", 6, first=5, rewind_to=4)
    assert await steps(made, "1") == list(range(5))
    cursor = await made.pool.fetchrow(queries("write")["cursors_by_session"], [session])
    assert (cursor["epoch"], cursor["fenced"], cursor["last_step"], cursor["next_seq"]) == (2, False, 9, 1)
    again = await made.pool.fetchrow(
        "SELECT * FROM stepwell.attach_v1('team', 'mnist', 'run', '1', $1, false, '{}')", session
    )
    assert (again["epoch"], again["fenced"], again["resumed"]) == (2, False, False)
    await log(made, made.current(begun["1"].key.run_id, "1"), 10, 12)
    assert await steps(made, "1") == [0, 1, 2, 3, 4, 10, 11]
    await made.check()


async def test_heartbeat_of_a_surviving_process_counts(made: Histories) -> None:
    begun = await start(made, "01", 10)
    await start(made, "0", 6, first=5, rewind_to=4)
    await made.pool.execute("UPDATE stepwell.writer SET state = 'crashed', heartbeat_at = now() - interval '1 h'")
    key = begun["1"].key
    heard = await made.pool.fetch(queries("lifecycle")["heartbeat"], *([part] for part in key))
    assert [tuple(row) for row in heard] == [(key.run_id, key.writer_id, 2)]
    assert await made.pool.fetch(queries("lifecycle")["heartbeat"], *([part] for part in begun["0"].key)) == []


async def test_writer_below_the_step_is_unchanged(made: Histories) -> None:
    begun = await start(made, "1", 3)
    await start(made, "0", 10)
    await start(made, "0", 6, first=5, rewind_to=4)
    await log(made, begun["1"], 3, 12)
    assert await steps(made, "1") == list(range(12))


@pytest.mark.parametrize(("back_to", "last"), [(1000, 4), (4, 4), (2, 2), (0, 0)])
async def test_rewind_beyond_the_end_continues_at_the_end(made: Histories, back_to: int, last: int) -> None:
    await start(made, "01", 5)
    stored = await made.attach("run", "0", rewind_to=back_to)
    assert stored.next_step == last + 1
    assert await made.pool.fetchval("SELECT last_step FROM stepwell.runs") == min(4, last)
    other = await made.attach("run", "1", rewind_to=back_to)
    assert other.next_step == last + 1
    await log(made, stored, last + 1, 9)
    assert await steps(made, "0") == list(range(9))
    late = await made.attach("run", "2", rewind_to=back_to)
    assert late.next_step == last + 1
    assert await made.pool.fetchval("SELECT last_step FROM stepwell.runs") == 8


async def test_rewind_of_an_empty_run_starts_at_the_first_step(made: Histories) -> None:
    await made.attach("run", "0")
    assert (await made.attach("run", "0", rewind_to=7)).next_step == 0
    assert await made.pool.fetchval("SELECT last_step FROM stepwell.runs") is None


@pytest.mark.parametrize("state", ["running", "finished"])
async def test_rewound_fork_hides_inherited_points_of_all_writers(made: Histories, state: str) -> None:
    await start(made, "01", 10)
    for writer in "01":
        await made.attach("child", writer, fork_run="run", fork_step_=8)
    await end(made, "01", state)
    await made.attach("child", "0", rewind_to=3)
    for writer in "01":
        assert await steps(made, writer, "child") == list(range(4))
        assert await steps(made, writer) == list(range(10))
    assert await made.pool.fetchval("SELECT last_step FROM stepwell.runs WHERE run = 'child'") == 3


@pytest.mark.parametrize("state", ["running", "finished"])
async def test_fork_repeated_by_fewer_ranks_starts_over(made: Histories, state: str) -> None:
    await start(made, "01", 10)
    for stored in [await made.attach("child", writer, fork_run="run", fork_step_=5) for writer in "01"]:
        await log(made, stored, 6, 9)
    for writer in "01":
        assert await steps(made, writer, "child") == list(range(9))
    await end(made, "01", state)
    stored = await made.attach("child", "0", fork_run="run", fork_step_=5)
    assert stored.next_step == 6
    for writer in "01":
        assert await steps(made, writer, "child") == list(range(6))


async def test_silent_processes_belong_to_an_earlier_launch(made: Histories) -> None:
    await start(made, "0", 10)
    await start(made, "0", 8, first=5, rewind_to=4)
    await made.pool.execute(
        "UPDATE stepwell.ledger SET moved_at = moved_at - interval '5 min', started_at = started_at - interval '5 min'"
    )
    await made.pool.execute("UPDATE stepwell.writer SET heartbeat_at = heartbeat_at - interval '5 min'")
    await start(made, "1", 6, first=5, rewind_to=4)
    assert await steps(made, "0") == list(range(5))


async def test_refusals_are_repeated_after_a_cut(made: Histories) -> None:
    begun = await start(made, "01", 10)
    key = begun["1"].key
    await made.pool.execute(
        "INSERT INTO stepwell.rejection (run_id, writer_id, epoch, seq, code, message, points, objects) "
        "VALUES ($1, $2, $3, 0, 'step_order', 'no', 1, 0)",
        *key,
    )
    await start(made, "0", 6, first=5, rewind_to=4)
    rows = await made.pool.fetch(queries("write")["rejections_between"], key.run_id, key.writer_id, 2, 0, 5)
    assert [(row["seq"], row["code"]) for row in rows] == [(0, "step_order")]
