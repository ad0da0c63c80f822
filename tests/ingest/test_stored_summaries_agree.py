"""Stored summaries are exact, whatever is logged, noted, sealed, rewound, forked, edited, stored or deleted."""

from __future__ import annotations

import itertools
import json
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.histories import EAGER, START, Histories, Stored
from fixtures.summaries import made_and_shown, say
from stepwell_ingest.delete.remover import remove
from stepwell_ingest.seal.summaries import Summaries

pytestmark = pytest.mark.db

WRITERS = ("0", "1")
#: The hashes of files, which arrive after their references, if at all.
FILES = [f"{number:064x}" for number in range(4)]
VALUES = [1.0, -2.5, 0.0, float("nan"), float("inf"), float("-inf"), 1e300, 5e-324]
SUMMARIES = [["min"], ["max", "mean"], ["first", "last"], ["best"], ["none"], ["copy"], []]
numbers = itertools.count()


@pytest.fixture
def pool(any_shared_pool: asyncpg.Pool) -> asyncpg.Pool:
    return any_shared_pool


class Team:
    """A run and its forks, with separate keys per writer: at equal times of two writers, no value is the last."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.histories = Histories(pool)
        self.summaries = Summaries(pool, EAGER)
        self.base = f"team-{next(numbers)}"
        self.alive: list[str] = []

    async def begin(self) -> None:
        self.alive.append(self.base)
        for writer in WRITERS:
            await self.put(await self.histories.attach(self.base, writer), 3)

    def run_ids(self) -> list[int]:
        return [run_id for run, run_id in self.histories.runs if run in self.alive]

    async def put(self, to: Stored, size: int) -> None:
        values = np.array([[VALUES[(size + n + row) % len(VALUES)] for n in range(size)] for row in range(2)])
        await self.histories.put(to, [f"loss-{to.writer}", f"acc-{to.writer}"], values, jitter_us=to.seq)

    async def log_object(self, to: Stored, size: int) -> None:
        """A value that is not a number; its key may be that of a metric."""
        value: Any = ["text", None, [1, {"a": 2}], {"_type": "float64", "value": "Infinity"}, 7][size % 5]
        await self.histories.put(to, [], np.empty((0, 1)))
        await self.pool.execute(
            "INSERT INTO stepwell.hot_object VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            *(to.key.run_id, to.seq, to.next_step - 1, *to.key[1:], START),
            *(f"{['loss', 'text'][size % 2]}-{to.writer}", json.dumps(value)),
        )

    async def do(self, what: str, run: str, writer: str, size: int) -> None:
        """Executes one action; `size` is its distance, count or index."""
        made, run_id = self.histories, dict(self.histories.runs)[run]
        to = made.current(run_id, writer) if any(item.key.run_id == run_id for item in made.epochs) else None
        assert to is not None
        name, file = f"{['loss', 'acc'][size % 2]}-{writer}", FILES[size % len(FILES)]
        match what:
            case "put":
                await self.put(to, size)
            case "object":
                await self.log_object(to, size)
            case "media":
                value = {"key": f"media-{writer}", "step": max(0, to.next_step - size), "time": next(numbers)}
                await say(made, to, "object", value | {"value": {"_type": "image-file", "sha256": file}})
            case "set":
                value = [1, 2**60 + 1, "NaN", "x", {"a": None}, {"_type": "image-file", "sha256": file}][size % 6]
                await say(made, to, "summary", {"set": {name: value, f"said-{writer}": size}})
            case "unset":
                await say(made, to, "summary", {"unset": [name, f"said-{writer}"]})
            case "define":
                value = {"summary": SUMMARIES[size % len(SUMMARIES)], "overwrite": size % 3 == 0}
                await say(made, to, "define", value | ({"glob": "*"} if size % 4 == 0 else {"name": name}))
            case "edit":
                edit = json.dumps({name: size, f"file-{writer}": {"_type": "image-file", "sha256": file}})
                await self.pool.execute("SELECT stepwell.edit_run_v1($1, NULL, NULL, $2)", run_id, edit)
            case "file":
                await self.pool.execute(
                    "INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 5) ON CONFLICT DO NOTHING",
                    bytes.fromhex(file),
                )
            case "restart":
                await self.put(await made.attach(run, writer), size)
            case "attach":
                await made.attach(run, writer)
            case "rewind":
                await made.attach(run, writer, rewind_to=max(0, to.next_step - 1 - size))
            case "fork" if len(self.alive) < 4:
                child = f"{self.base}-{next(numbers)}"
                self.alive.append(child)
                for other in WRITERS:
                    step = max(0, min(made.current(run_id, each).next_step for each in WRITERS) - size)
                    await made.attach(child, other, fork_run=run, fork_step_=step)
            case "seal whole" | "seal part":
                await made.seal(whole=what == "seal whole")
            case "merge":
                await made.merge()
            case "turn":
                await made.ring.turn()
            case "store":
                await self.summaries.store(self.run_ids())
            case "store one":
                await self.summaries.store([run_id])
            case "delete" if len(self.alive) > 1 and run == self.alive[-1]:
                self.alive.remove(run)
                made.epochs = [item for item in made.epochs if item.key.run_id != run_id]
                async with self.pool.acquire() as connection:
                    await remove(connection, [run_id])

    async def check(self) -> None:
        made, shown = await made_and_shown(self.pool, self.run_ids())
        assert shown == made


actions = st.tuples(
    st.sampled_from(
        [
            *("put", "put", "object", "media", "set", "unset", "define", "edit", "file", "restart", "attach"),
            *("rewind", "fork", "seal whole", "seal part", "merge", "turn", "store", "store", "store one", "delete"),
        ]
    ),
    st.integers(0, 3),
    st.sampled_from(WRITERS),
    st.integers(1, 12),
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(todo=st.lists(actions, max_size=20))
async def test_stored_summaries_equal_computed_ones(pool: asyncpg.Pool, todo: list[Any]) -> None:
    await pool.execute("DELETE FROM stepwell.blob")
    team = Team(pool)
    await team.begin()
    await team.summaries.store(team.run_ids())
    for what, run, writer, size in todo:
        await team.do(what, team.alive[-1 - run % len(team.alive)], writer, size)
        await team.check()
    for number in range(len(FILES)):
        await team.do("file", team.base, "0", number)
    await team.summaries.store(team.run_ids())
    for run_id in team.run_ids():
        assert await pool.fetchval("SELECT stored FROM stepwell.summary_is_stored_v1($1)", run_id)
    await team.check()
