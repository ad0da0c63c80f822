"""Sealed history shows the same points as before, whatever is sealed and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell_ingest.config import SealSettings
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.merger import Merger
from stepwell_ingest.seal.sealer import Sealer

pytestmark = pytest.mark.db

KEYS = ["loss", "acc", "grad/norm", "lr", "β"]
START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = SealSettings(steps=1, points=1, merge_passes=2)
Point = tuple[str, int, datetime, bytes]


class History:
    """One epoch of one run, filled block by block as the copier does."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self.pool = pool
        self.sealer = Sealer(pool, SMALL)
        self.merger = Merger(pool, SMALL)
        self.expected: list[Point] = []
        self._next_step = self._seq = 0

    async def open(self) -> None:
        """A new run."""
        row = await self.pool.fetchrow(
            "SELECT run_id, writer_id, epoch FROM stepwell.attach_v1('team', 'mnist', gen_random_uuid()::text, '0', "
            "gen_random_uuid(), false, '{}')"
        )
        self.epoch = EpochKey(*row)

    async def put(self, keys: list[str], values: list[float], stride: int, jitter_us: int = 0) -> None:
        """A block of `len(values) / len(keys)` steps (one, without keys)."""
        count = len(values) // len(keys) if keys else 1
        steps = [self._next_step + stride * number for number in range(count)]
        self._next_step = steps[-1] + 1
        times = [START + timedelta(seconds=step % 5000, microseconds=jitter_us) for step in steps]
        matrix = np.array(values, np.float64).reshape(len(keys), count)
        run_id, writer_id, epoch = self.epoch
        async with self.pool.acquire() as connection, connection.transaction():
            names = dict(await connection.fetch("SELECT * FROM stepwell.intern_metrics_v1($1, $2, 1000)", run_id, keys))
            await connection.execute(
                "UPDATE stepwell.ledger SET last_step = $4, points = points + $5 "
                "WHERE run_id = $1 AND writer_id = $2 AND epoch = $3",
                *(run_id, writer_id, epoch, steps[-1], matrix.size),
            )
            await connection.execute(
                "INSERT INTO stepwell.hot_block VALUES "
                "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, stepwell.hot_ring_v1())",
                *(run_id, self._seq, steps[0], steps[-1], writer_id, epoch, [names[key] for key in keys], steps, times),
                matrix.tolist() if keys else [],
            )
        self._seq += 1
        self.expected += [
            (key, step, at, matrix[row, column].tobytes())
            for row, key in enumerate(keys)
            for column, (step, at) in enumerate(zip(steps, times, strict=True))
        ]

    async def check(self) -> None:
        """Checks that the view shows exactly the stored points."""
        rows = await self.pool.fetch(
            "SELECT metric, step, time, value FROM stepwell.history WHERE run_id = $1", self.epoch.run_id
        )
        shown = [(row[0], row[1], row[2], np.float64(row[3]).tobytes()) for row in rows]
        assert sorted(shown) == sorted(self.expected)
        await self._check_stats()

    async def _check_stats(self) -> None:
        """Checks that last values and statistics match the stored points."""
        points: dict[str, list[tuple[int, float]]] = {}
        for key, step, _, raw in self.expected:
            points.setdefault(key, []).append((step, float(np.frombuffer(raw)[0])))
        run_id = self.epoch.run_id
        last = await self.pool.fetch("SELECT metric, last, last_step FROM stepwell.metric_last_v1($1)", run_id)
        assert {row[0]: (row[2], str(row[1])) for row in last} == {
            key: (max(of_key)[0], str(dict(of_key)[max(of_key)[0]])) for key, of_key in points.items()
        }
        stats = await self.pool.fetch("SELECT * FROM stepwell.metric_stats_v1($1)", run_id)
        assert {row["metric"] for row in stats} == set(points)
        for row in stats:
            values = np.array([value for _, value in sorted(points[row["metric"]])])
            finite = values[np.isfinite(values)]
            assert row["points"] == len(values)
            assert row["nans"] == np.isnan(values).sum()
            assert (row["pos_infs"], row["neg_infs"]) == ((values == np.inf).sum(), (values == -np.inf).sum())
            assert str(row["first"]) == str(values[0])
            assert (row["min"], row["max"]) == ((finite.min(), finite.max()) if len(finite) else (None, None))
            if len(finite) and np.abs(finite).max() < 1e300:  # a sum that overflows within a chunk becomes infinite
                assert row["mean"] == pytest.approx(finite.mean(), rel=1e-9, abs=1e-12 * np.abs(finite).max() + 1e-280)


@pytest.fixture
async def history(any_postgres_dsn: str) -> AsyncIterator[History]:
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=3)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield History(pool)
    await pool.close()


floats = st.one_of(st.floats(), st.floats(width=32), st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 5e-324]))


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[str], list[float], int, int]:
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=5))
    count = draw(st.integers(1, 6)) if keys else 1
    values = draw(st.lists(floats, min_size=len(keys) * count, max_size=len(keys) * count))
    return keys, values, draw(st.sampled_from([1, 1, 3, 1000])), draw(st.sampled_from([0, 7, 3_000_000_000]))


actions = st.one_of(blocks(), st.sampled_from(["whole", "part", "merge"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(todo=st.lists(actions, max_size=14))
async def test_history_is_unchanged_by_sealing_and_merging(history: History, todo: list[object]) -> None:
    history.expected = []
    await history.open()
    for action in todo:
        if isinstance(action, tuple):
            await history.put(*action)
        elif action == "merge":
            for level in range(3):
                await history.merger.merge(history.epoch, level)
        else:
            await history.sealer.seal(history.epoch, whole=action == "whole")
        await history.check()
    while (done := await history.sealer.seal(history.epoch, whole=True)) is not None and done.more:
        pass
    await history.check()
    ledger = await history.pool.fetchrow(
        "SELECT points, sealed_points FROM stepwell.ledger WHERE run_id = $1", history.epoch.run_id
    )
    assert ledger["points"] == ledger["sealed_points"] == len(history.expected)
