"""All ways to read agree after forks, rewinds and merges; reintroduced bugs of the past are detected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import numpy as np
import pytest

import stepwell_schema
from faults.families import Families
from fixtures.histories import Histories
from stepwell.wire import MAX_STEP
from stepwell_ingest.config import Config
from stepwell_ingest.read import deltas
from stepwell_ingest.read.positions import Move
from stepwell_ingest.read.standing import Standing
from stepwell_ingest.seal import stretches
from stepwell_ingest.seal.stretches import Stretch
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await asyncpg.create_pool(postgres_dsn, min_size=1, max_size=4)
    yield pool
    pool.terminate()


@pytest.fixture
async def families(postgres_dsn: str) -> AsyncIterator[Families]:
    worker = Worker(Config(postgres_dsn, port=0))
    await worker.start()
    yield Families(postgres_dsn, worker.url, "mnist", 7)
    await worker.stop()


async def story(pool: asyncpg.Pool, *, to_the_end: bool = False) -> None:
    """A run of two writers, sealed in small passes and merged; the last steps are hot.

    Args:
        to_the_end: whether it jumps to the maximal steps.
    """
    made = Histories(pool)
    both = [await made.attach("run", writer) for writer in "01"]
    for turn in range(12):
        for stored in both:
            if to_the_end and turn == 1:
                stored.next_step = MAX_STEP - 2918
            size = 700 if turn % 3 == 1 else 17
            at = np.arange(stored.next_step, stored.next_step + size, dtype=np.float64)
            await made.put(stored, ["loss", "acc"][: 1 + turn % 2], np.vstack([at, -at])[: 1 + turn % 2])
        if turn < 11:
            await made.seal(whole=True)
            await made.merge()
    await pool.execute("UPDATE stepwell.run SET entity = 'default'")


async def put_back(pool: asyncpg.Pool, file: str, right: str, wrong: str) -> None:
    """Restores a function or view as it was before a fix."""
    every = [*stepwell_schema.functions(), *stepwell_schema.views()]
    (sql,) = (item.sql for item in every if item.name == file)
    assert right in sql
    await pool.execute(sql.replace(right, wrong))


@pytest.mark.parametrize("to_the_end", [False, True])
async def test_all_reads_agree(pool: asyncpg.Pool, families: Families, to_the_end: bool) -> None:
    await story(pool, to_the_end=to_the_end)
    assert await pool.fetchval("SELECT last_step FROM stepwell.runs") == (MAX_STEP if to_the_end else 2935)
    assert await families.complaints() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "right", "wrong", "seen"),
    [
        ("057_buckets", "p.last ORDER BY p.step_hi DESC", "p.last ORDER BY p.step_lo DESC", "history_sample"),
        ("080_metric_stats", "generate_series(1, b.last) AS i", "generate_series(1, b.last + 1) AS i", "metric_stats"),
        ("010_runs", "WHERE x.run_id = r.run_id AND", "WHERE false AND", "last_step"),
        (
            "140_attach",
            "together := stepwell.rewound_together_v1(id, wid, back_to, started, prior.moved_at)",
            "together := ARRAY(SELECT w.writer_id FROM stepwell.writer w WHERE w.run_id = id AND w.writer_id <> wid)",
            "rewound to",
        ),
        ("140_attach", "x.below_step > step_ + 1", "false", "rewound to"),
        ("140_attach", "least(back_to, stepwell.end_before_v1(id, together))", "back_to", "goes on behind step 3935"),
        (
            "057_buckets",
            "CASE WHEN k < 63 THEN 1::bigint << k ELSE 9223372036854775807 END",
            "1::bigint << k",
            "history_sample",
        ),
    ],
    ids=[
        *("the end of a bucket", "a chunk that is cut", "the end of a fork", "other writers", "what a fork inherits"),
        *("beyond the end", "the width of all steps"),
    ],
)
async def test_mistakes_in_sql_are_detected(
    pool: asyncpg.Pool,
    families: Families,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    right: str,
    wrong: str,
    seen: str,
) -> None:
    to_the_end = "<< k" in wrong
    if file == "057_buckets" and not to_the_end:  # visible only if chunks overlap, as merges once left them
        joined = stretches.regroup
        monkeypatch.setattr(stretches, "regroup", lambda found, _=(): joined(found))
        monkeypatch.setattr(
            "stepwell_ingest.seal.merger._joinable", lambda rows: (sorted({r["track_id"] for r in rows}), set())
        )
    await story(pool, to_the_end=to_the_end)
    await put_back(pool, file, right, wrong)
    assert any(seen in text for text in await families.complaints())


@pytest.mark.slow
async def test_live_view_that_keeps_inherited_points_is_detected(
    pool: asyncpg.Pool, families: Families, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story(pool)
    right = deltas.moves

    def without_inherited(seen: Any, epochs: Any, now: Any) -> list[Move] | None:
        still = {writer: (below[0], *now.inherited[writer][1:]) for writer, below in seen.inherited.items()}
        return right(seen, epochs, type(now)(now.state, now.writers, now.waiting, still))

    monkeypatch.setattr(deltas, "moves", without_inherited)
    assert any("live view of run-fork" in text for text in await families.complaints())


@pytest.mark.slow
async def test_merge_that_loses_a_value_is_detected(
    pool: asyncpg.Pool, families: Families, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view agrees with all other reads; the totals do not."""
    right = stretches.regroup

    def wrong(found: Any, begins: Any = ()) -> list[Stretch]:
        groups = right(found, begins)
        return [
            Stretch(ids, steps, times, values + 1) if begins else Stretch(ids, steps, times, values)
            for ids, steps, times, values in groups
        ]

    monkeypatch.setattr(stretches, "regroup", wrong)
    await story(pool)
    assert any("metric_stats" in text or "metric_last" in text for text in await families.complaints())


@pytest.mark.slow
async def test_unreported_cut_of_a_read_is_detected(
    pool: asyncpg.Pool, families: Families, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story(pool)

    @asynccontextmanager
    async def without_a_look_back(self: Standing, taken_below: int = 0) -> AsyncIterator[asyncpg.Connection]:
        async with self._database.snapshot() as connection:
            yield connection

    monkeypatch.setattr(Standing, "snapshot", without_a_look_back)
    cut = [text for text in await families.complaints() if "ends as if whole" in text]
    assert any("a read of run " in text for text in cut)
    assert any("a read of run-fork" in text for text in cut)
