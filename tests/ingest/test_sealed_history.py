"""SQL shows the same points, whatever was restarted, rewound, forked, sealed, merged or truncated, and when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.histories import EAGER, Histories, Point

pytestmark = pytest.mark.db

METRICS = ["loss", "acc", "β"]
MAX = 1.7976931348623157e308
floats = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.sampled_from([0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, -5e-324, 1e308, -1e308, MAX, -MAX, 1e300]),
)


@pytest.fixture
def pool(any_shared_pool: asyncpg.Pool) -> asyncpg.Pool:
    return any_shared_pool


@st.composite
def blocks(draw: st.DrawFn) -> tuple[Any, ...]:
    keys = draw(st.lists(st.sampled_from(METRICS), unique=True, max_size=3))
    if draw(st.integers(0, 19)) == 0:  # more than fits in a chunk
        seed = draw(st.integers(0, 2**32))
        values = np.random.default_rng(seed).standard_normal((len(keys), 1500)).astype(draw(st.sampled_from("fd")))
        matrix = values.astype(np.float64)
    else:
        count = draw(st.integers(1, 6)) if keys else 1
        drawn = draw(st.lists(floats, min_size=len(keys) * count, max_size=len(keys) * count))
        matrix = np.array(drawn, np.float64).reshape(len(keys), count)
    return "put", keys, matrix, draw(st.sampled_from([1, 1, 3, 1000])), draw(st.sampled_from([0, 7, 3_000_000_000]))


at_a_writer = st.sampled_from(["restart", "resume", "rewind", "seal whole", "seal part", "merge", "turn", "position"])
actions = st.tuples(st.integers(0, 99), st.one_of(blocks(), blocks(), at_a_writer, at_a_writer, st.just("fork")))


class Life:
    """Executes the actions from hypothesis on two writers and up to three runs."""

    def __init__(self, pool: asyncpg.Pool, name: str) -> None:
        self.histories = Histories(pool)
        self._name = name
        self.positions: list[tuple[int, str, list[Point]]] = []

    async def begin(self) -> None:
        for writer in ("0", "1"):
            await self.histories.attach(self._name, writer)

    async def do(self, choice: int, action: Any) -> None:
        made = self.histories
        run, run_id = made.runs[choice % len(made.runs)]
        writer = str(choice // 7 % 2)
        stored = made.current(run_id, writer)
        match action:
            case ("put", keys, values, stride, jitter):
                await made.put(stored, keys, values, stride, jitter)
            case "restart":
                await made.attach(run, writer)
            case "resume":
                await made.attach(run, writer, resume_="allow")
            case "rewind":
                await made.attach(run, writer, rewind_to=max(0, stored.next_step - choice))
            case "fork" if len(made.runs) < 3:
                child = f"{self._name}-{len(made.runs)}"
                for name in ("0", "1"):
                    await made.attach(child, name, fork_run=run, fork_step_=max(0, stored.next_step - choice))
            case "seal whole" | "seal part":
                await made.seal(whole=action == "seal whole")
            case "merge":
                await made.merge()
            case "turn":
                await made.ring.turn()
            case "position":
                position = await made.pool.fetchval("SELECT stepwell.history_position($1)", run_id)
                self.positions.append((run_id, position, await made.expected(run_id)))


numbers = iter(range(10**6))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    todo=st.lists(actions, max_size=16), buckets=st.integers(1, 40), low=st.integers(0, 3000), high=st.integers(0, 4000)
)
async def test_all_reads_show_the_same_points(
    pool: asyncpg.Pool, todo: list[Any], buckets: int, low: int, high: int
) -> None:
    life = Life(pool, f"run-{next(numbers)}")
    await life.begin()
    for choice, action in todo:
        await life.do(choice, action)
        if action in ("seal whole", "seal part", "merge", "turn"):
            await life.histories.check()
    for end in ("as it is", "seal whole", "merge", "turn"):
        await life.do(0, end)
        await life.histories.check()
        for _, run_id in life.histories.runs:
            expected = await life.histories.expected(run_id)
            assert await life.histories.shown("history_between($1, $2)", run_id, low, high) == [
                point for point in expected if low <= point.step < high
            ]
            await check_wide(pool, run_id, expected, low)
            for bounds in ((None, None), (low, high)):
                await check_sample(pool, run_id, expected, buckets, *bounds)
        for run_id, position, then in life.positions:
            assert await life.histories.shown("history_asof($1)", run_id, position) == then
            assert await pool.fetchval("SELECT count(*) FROM stepwell.history_asof($1)", position) == len(then)
    await check_totals(pool, life.histories)


async def check_wide(pool: asyncpg.Pool, run_id: int, expected: Sequence[Point], low: int) -> None:
    wanted = ["β", "none", "loss"]
    rows = await pool.fetch("SELECT * FROM stepwell.history_wide($1, $2, $3)", run_id, wanted, low)
    table: dict[tuple[str, int], list[bytes | None]] = defaultdict(lambda: [None] * 3)
    for point in expected:
        if point.metric in wanted and point.step >= low:
            table[point.writer, point.step][wanted.index(point.metric)] = point.value
    found = {
        (row["writer"], row["step"]): [v if v is None else np.float64(v).tobytes() for v in row["values"]]
        for row in rows
    }
    assert found == table
    assert [(row["writer"], row["step"]) for row in rows] == sorted(table)


async def check_sample(
    pool: asyncpg.Pool, run_id: int, expected: Sequence[Point], buckets: int, low: int | None, high: int | None
) -> None:
    for metric in ("loss", "β"):
        rows = await pool.fetch(
            "SELECT * FROM stepwell.history_sample($1, $2, $3, $4, $5)", run_id, metric, buckets, low, high
        )
        points = [
            point
            for point in expected
            if point.metric == metric and (low is None or point.step >= low) and (high is None or point.step < high)
        ]
        assert bool(rows) == bool(points)
        if not rows:
            continue
        (width,) = {row["bucket_width"] for row in rows}
        assert width.bit_count() == 1
        groups: dict[tuple[str, int], list[Point]] = defaultdict(list)
        for point in sorted(points, key=lambda point: point.step):
            groups[point.writer, point.step // width * width].append(point)
        assert [(row["writer"], row["bucket_step"]) for row in rows] == sorted(groups)
        steps = [point.step for point in points]
        assert max(steps) // width - min(steps) // width < buckets
        for row in rows:
            check_bucket(row, groups[row["writer"], row["bucket_step"]])


def check_bucket(row: Any, points: Sequence[Point]) -> None:
    values = [float(np.frombuffer(point.value)[0]) for point in points]
    finite = [value for value in values if math.isfinite(value)]
    assert (row["count"], row["nans"], row["pos_infs"], row["neg_infs"]) == (
        *(len(values), sum(map(math.isnan, values))),
        *(values.count(math.inf), values.count(-math.inf)),
    )
    assert (row["min"], row["max"]) == (min(finite, default=None), max(finite, default=None))
    assert (row["first_step"], row["last_step"]) == (points[0].step, points[-1].step)
    assert np.float64(row["first"]).tobytes() == points[0].value
    assert np.float64(row["last"]).tobytes() == points[-1].value
    if not finite:
        assert row["mean"] is None
        return
    mean = sum(map(Fraction, finite)) / len(finite)
    largest = Fraction(max(map(abs, finite)))
    assert math.isfinite(row["mean"])
    assert abs(Fraction(row["mean"]) - mean) <= largest * Fraction(len(finite) + 4, 2**52) + Fraction(1, 2**1074)


async def check_totals(pool: asyncpg.Pool, histories: Histories) -> None:
    """Checks that metric_total has the aggregates of each epoch's points, which are all sealed here."""
    for stored in histories.epochs:
        rows = await pool.fetch(
            "SELECT m.name, t.* FROM stepwell.metric_total t JOIN stepwell.metric m USING (run_id, metric_id) "
            "WHERE (t.run_id, t.writer_id, t.epoch) = ($1, $2, $3)",
            *stored.key,
        )
        assert {row["name"] for row in rows} == {point.metric for point in stored.points}
        for row in rows:
            points = sorted((p for p in stored.points if p.metric == row["name"]), key=lambda point: point.step)
            values = np.frombuffer(b"".join(point.value for point in points))
            finite = values[np.isfinite(values)]
            assert row["points"] == len(values)
            assert (row["nans"], row["pos_infs"], row["neg_infs"]) == (
                *(np.isnan(values).sum(), (values == np.inf).sum()),
                (values == -np.inf).sum(),
            )
            assert (row["min"], row["max"]) == (finite.min(initial=np.inf), finite.max(initial=-np.inf))
            assert (row["first_step"], row["last_step"]) == (points[0].step, points[-1].step)
            assert row["last_time"] == points[-1].time
            assert np.float64(row["first"]).tobytes() == points[0].value
            assert np.float64(row["last"]).tobytes() == points[-1].value
            if len(finite) and np.abs(finite).max() < 1e300:
                bound = 1e-12 * float(np.abs(finite).sum())
                assert row["sum"] == pytest.approx(math.fsum(finite), rel=0, abs=bound)


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([1e308] * 40, 1e308),
        ([1e308] * 20 + [-1e308] * 20, 0.0),
        ([MAX] * 7, MAX),
        ([-MAX] * 7, -MAX),
        ([5e-324] * 3, 5e-324),
        ([5e-324, 0.0, 0.0], 0.0),
        ([1e308, -1e308, 3e-310], 1e-310),
        ([1e-300] * 1000, 1e-300),
        ([2.0, math.nan, math.inf, -math.inf, 4.0], 3.0),
        ([math.nan], None),
    ],
    ids=[*("overflow", "cancelled", "largest", "lowest", "denormals", "vanishes", "remainder", "tiny", "odd", "none")],
)
async def test_mean_is_correct_on_overflow_and_underflow(
    pool: asyncpg.Pool, values: list[float], mean: float | None
) -> None:
    made = Histories(pool)
    stored = await made.attach(f"run-{next(numbers)}", "0")
    for _ in range(3):
        await made.put(stored, ["loss"], np.array([values]))
        for _ in ("hot", "sealed"):
            rows = await pool.fetch("SELECT * FROM stepwell.history_sample($1, 'loss', 1)", stored.key.run_id)
            assert [row["mean"] for row in rows] == [
                pytest.approx(mean, rel=1e-12, abs=5e-324) if mean is not None else None
            ]
            await made.seal(whole=True)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(a=floats.filter(math.isfinite), b=floats.filter(math.isfinite))
async def test_total_sums_overflow_only_if_necessary(pool: asyncpg.Pool, a: float, b: float) -> None:
    assert await pool.fetchval("SELECT stepwell.add_v1($1, $2)", a, b) == a + b
    for near in (MAX - abs(a), math.nextafter(MAX - abs(a), math.inf), math.nextafter(MAX - abs(a), 0.0)):
        signed = math.copysign(near, a)
        assert await pool.fetchval("SELECT stepwell.add_v1($1, $2)", a, signed) == a + signed


async def test_bigint_bounds_are_no_error(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    stored = await made.attach(f"run-{next(numbers)}", "0")
    stored.next_step = 2**63 - 4
    await made.put(stored, ["loss"], np.array([[1.0, 2.0, 3.0]]))
    for _ in ("hot", "sealed"):
        assert len(await made.shown("history", stored.key.run_id)) == 3
        for low, high, count in (
            (None, None, 3),
            (-(2**63), 2**63 - 1, 3),
            (2**63 - 2, 2**63 - 1, 1),
            (0, -(2**63), 0),
        ):
            assert len(await made.shown("history_between($1, $2)", stored.key.run_id, low, high)) == count
            rows = await pool.fetch(
                "SELECT * FROM stepwell.history_sample($1, 'loss', 10, $2, $3)", stored.key.run_id, low, high
            )
            assert sum(row["count"] for row in rows) == count
            for run_id, metric in ((stored.key.run_id, "nothing"), (0, "loss"), (None, None)):
                nothing = "SELECT * FROM stepwell.history_sample($1, $2, 10, $3, $4)"
                assert await pool.fetch(nothing, run_id, metric, low, high) == []
        await made.seal(whole=True)


async def test_position_of_a_run_excludes_its_forks(pool: asyncpg.Pool) -> None:
    made = Histories(pool)
    name = f"run-{next(numbers)}"
    parent = await made.attach(name, "0")
    await made.put(parent, ["loss"], np.arange(4.0).reshape(1, 4))
    await made.attach(f"{name}-child", "0", fork_run=name, fork_step_=2)
    position = await pool.fetchval("SELECT stepwell.history_position($1)", parent.key.run_id)
    assert await pool.fetch("SELECT run, step FROM stepwell.history_asof($1) ORDER BY 2", position) == [
        (name, step) for step in range(4)
    ]


@pytest.mark.parametrize("buckets", [0, -1, None])
async def test_zero_buckets_are_refused(pool: asyncpg.Pool, buckets: int | None) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match="at least 1 bucket"):
        await pool.fetch("SELECT * FROM stepwell.history_sample(1, 'loss', $1)", buckets)


def test_settings_allow_every_pass() -> None:
    assert (EAGER.steps, EAGER.points, EAGER.slot_bytes) == (1, 1, 0)
