"""The points that a fork shows of its ancestors never change after its creation; its own steps win."""

from __future__ import annotations

from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.histories import START, Histories, Stored
from fixtures.ingest import Session, WritePath
from fixtures.whole_runs import fill
from stepwell_ingest.delete.remover import remove

pytestmark = pytest.mark.db

WRITERS = ("0", "1")
numbers = iter(range(10**6))


@pytest.fixture
def pool(any_shared_pool: asyncpg.Pool) -> asyncpg.Pool:
    return any_shared_pool


def ops(max_size: int) -> st.SearchStrategy[list[Any]]:
    """An action: (kind, run counted from the newest, writer, distance or count)."""
    kinds = st.sampled_from(["put", "put", "restart", "rewind", "resume", "seal whole", "seal part", "merge", "turn"])
    return st.lists(st.tuples(kinds, st.integers(0, 2), st.sampled_from(WRITERS), st.integers(1, 9)), max_size=max_size)


class Family:
    """A run and its forks; each logged step has a point, an object and a summary value."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.histories = Histories(pool)
        self.names: list[str] = []

    async def begin(self) -> None:
        self.names.append(f"family-{next(numbers)}")
        for writer in WRITERS:
            await self.put(await self.histories.attach(self.names[0], writer), 9)

    async def fork(self, back: int) -> int:
        """Forks the newest run at a step that all its writers have reached; returns the id."""
        parent, child = self.names[-1], f"{self.names[0]}-{len(self.names)}"
        run_id = dict(self.histories.runs)[parent]
        ends = [self.histories.current(run_id, writer).next_step - 1 for writer in WRITERS]
        self.names.append(child)
        for writer in WRITERS:
            await self.histories.attach(child, writer, fork_run=parent, fork_step_=max(0, min(ends) - back))
        return dict(self.histories.runs)[child]

    async def put(self, to: Stored, count: int) -> None:
        made = self.histories
        # one metric per writer, because with equal times of two writers, neither value is the last
        await made.put(to, [f"loss-{to.writer}", f"acc-{to.writer}"], np.full((2, count), float(next(numbers))))
        run_id, writer_id, epoch = to.key
        key, last = f"note-{to.writer}", to.next_step - 1
        await made.pool.execute(
            "INSERT INTO stepwell.hot_object VALUES ($1, $2, $3, $4, $5, $6, $7, to_jsonb($8::int))",
            *(run_id, to.seq, last, writer_id, epoch, START, key, next(numbers)),
        )
        await made.pool.execute(
            "INSERT INTO stepwell.note VALUES ($1, $2, $3, $4, 0, $5, clock_timestamp(), 'summary', $6)",
            *(run_id, writer_id, epoch, to.seq, last + 1, f'{{"set": {{"said-{to.writer}": {next(numbers)}}}}}'),
        )

    async def do(self, what: str, run: str, writer: str, size: int) -> None:
        made = self.histories
        match what:
            case "seal whole" | "seal part":
                await made.seal(whole=what == "seal whole")
            case "merge":
                await made.merge()
            case "turn":
                await made.ring.turn()
            case _:
                stored = made.current(dict(made.runs)[run], writer)
                if what == "rewind":
                    stored = await made.attach(run, writer, rewind_to=max(0, stored.next_step - 1 - 3 * size))
                elif what != "put":
                    more = {"resume_": "allow"} if what == "resume" else {}
                    stored = await made.attach(run, writer, **more)
                await self.put(stored, size)

    async def seen(self, run_id: int) -> dict[str, Any]:
        """Everything that SQL shows of the history of a run, with arrays as points."""
        queries = {
            "points": "SELECT writer, metric, step, time, value FROM stepwell.history WHERE run_id = $1",
            "superseded": "SELECT writer, epoch, metric, step FROM stepwell.history_superseded WHERE run_id = $1",
            "objects": "SELECT writer, key, step, value FROM stepwell.history_objects WHERE run_id = $1",
            "summary": "SELECT key, value FROM stepwell.summary WHERE run_id = $1",
            "sample": "SELECT * FROM stepwell.history_sample($1, 'acc-0', 7)",
            "last": "SELECT * FROM stepwell.metric_last_v1($1)",
            "stats": "SELECT * FROM stepwell.metric_stats_v1($1)",
            "asof": "SELECT writer, metric, step, time, value FROM stepwell.history_asof("
            "stepwell.history_position($1))",
            "arrays": "SELECT writer, v.value, count(*) FROM unnest(ARRAY['loss-0', 'loss-1']) name, "
            "stepwell.history_arrays_v1($1, ARRAY[name]) a, unnest(coalesce(a.vals8, a.vals4::float8[])) v (value) "
            "WHERE cardinality(a.metric_ids) = 1 GROUP BY 1, 2",
        }
        pool = self.histories.pool
        found = {name: sorted(map(tuple, await pool.fetch(query, run_id))) for name, query in queries.items()}
        assert found["asof"] == found["points"]
        loss = [row for row in found["points"] if row[1].startswith("loss")]
        assert sum(row[2] for row in found["arrays"]) == len(loss) == len({(row[0], row[2]) for row in loss})
        return found


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ops(4), back=st.integers(0, 6), between=ops(3), again=st.integers(0, 6), after=ops(8))
@pytest.mark.slow
async def test_fork_is_unaffected_by_its_ancestors(
    pool: asyncpg.Pool, before: list[Any], back: int, between: list[Any], again: int, after: list[Any]
) -> None:
    family = Family(pool)
    await family.begin()
    for what, _, writer, size in before:
        await family.do(what, family.names[0], writer, size)
    forks = [await family.fork(back)]
    for what, _, writer, size in between:
        await family.do(what, family.names[1], writer, size)
    forks.append(await family.fork(again))
    seen = {run_id: await family.seen(run_id) for run_id in forks}
    for what, newer, writer, size in [*after, ("rewind", 0, "0", 9), ("restart", 0, "1", 9)]:
        run = family.names[min(newer, 1)]  # the first run or its fork; never the fork's fork
        await family.do(what, run, writer, size)
        if run == family.names[1]:
            seen[forks[0]] = await family.seen(forks[0])
        for run_id in forks:
            assert await family.seen(run_id) == seen[run_id]
    for what in ("seal whole", "merge", "turn"):
        await family.do(what, "", "", 0)
        for run_id in forks:
            assert await family.seen(run_id) == seen[run_id]
    await family.histories.check()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(back=st.integers(0, 8), todo=ops(8))
async def test_every_step_of_a_family_is_shown_once(pool: asyncpg.Pool, back: int, todo: list[Any]) -> None:
    family = Family(pool)
    await family.begin()
    await family.fork(back)
    for what, run, writer, size in [*todo, ("restart", 0, "0", 3)]:
        await family.do(what, family.names[-1 - run % len(family.names)], writer, size)
        await family.histories.check()
        for run_id in dict(family.histories.runs).values():
            await family.seen(run_id)
        if size == 5 and len(family.names) < 4:
            await family.fork(back)


async def test_silent_process_is_left_out_of_the_fork(
    pool: asyncpg.Pool,
) -> None:
    """The parent was restarted, and its new process has stored nothing when the fork is made."""
    family = Family(pool)
    await family.begin()
    fresh = await family.histories.attach(family.names[0], "0")
    fork = await family.fork(-100)  # far above the existing steps
    seen = await family.seen(fork)
    await family.put(fresh, 5)
    assert await family.seen(fork) == seen
    await family.histories.check()


async def test_process_above_the_shown_steps_is_in_the_fork(pool: asyncpg.Pool) -> None:
    family = Family(pool)
    await family.begin()
    fresh = await family.histories.attach(family.names[0], "0", resume_="must")
    fork = await family.fork(-100)
    await family.put(fresh, 5)
    steps = {point.step for point in await family.histories.shown("history", fork) if point.writer == "0"}
    assert steps == set(range(14))
    await family.histories.check()


async def test_deleted_fork_leaves_its_parent_unchanged(write_path: WritePath) -> None:
    parent = await fill(write_path, Session())
    fork = await write_path.pool.fetchval(
        "SELECT run_id FROM stepwell.attach_v1('team', 'mnist', 'fork', '0', gen_random_uuid(), false, '{}', "
        "fork_run => 'run-1', fork_step_ => 10)"
    )
    count = "SELECT count(*) FROM stepwell.lineage_epoch"
    assert await write_path.pool.fetchval(count) == 1
    async with write_path.pool.acquire() as connection:
        assert await remove(connection, [fork]) == 1
        assert await write_path.pool.fetchval(count) == 0
        shown = "SELECT count(*) FROM stepwell.history WHERE run_id = $1"
        assert await write_path.pool.fetchval(shown, parent.run_id) == 43
        assert await remove(connection, [parent.run_id]) == 1
