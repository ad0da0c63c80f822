"""The numpy part of sealing (stretches, windows, statistics): no bit is lost, duplicated or changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stepwell_ingest.seal import chunks
from stepwell_ingest.seal.chunks import EpochKey, Totals
from stepwell_ingest.seal.stretches import Stretch, join, regroup
from stepwell_ingest.seal.windows import POINTS, grid_of, windows

LAST_STEP = 2**63 - 2
EPOCH = EpochKey(2**60, 3, 2)
#: Quiet NaNs with payloads, signed zeros, denormals, and neighbours of float4 values.
PATTERNS = (
    *(0x7FF8000000000000, 0x7FF8000000000BAD, 0xFFF8000000000001, 0x7FF0000000000000, 0xFFF0000000000000),
    *(0x8000000000000000, 0, 1, 0x8000000000000001, 0x000FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF),
    *(0x47EFFFFFE0000000, 0x47EFFFFFE0000001, 0x47EFFFFFF0000000, 0x36A0000000000000, 0x3690000000000000),
    *(0x7FF4000000000000, 0x7FFFFFFFE0000000, 0x7FF8000020000000),
)
values = st.one_of(
    st.floats(),
    st.floats(width=32),
    st.sampled_from(PATTERNS).map(lambda bits: float(np.uint64(bits).view(np.float64))),
)
steps_of = st.one_of(
    st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True).map(sorted),
    st.lists(st.integers(0, LAST_STEP), min_size=1, max_size=6, unique=True).map(sorted),
    st.builds(
        lambda lo, stride, n: [lo + stride * i for i in range(n)],
        *(st.integers(0, 2**40), st.integers(1, 2**20), st.integers(1, 9)),
    ),
)


def matrix(drawn: Sequence[float], rows: int, columns: int) -> npt.NDArray[np.float64]:
    return np.array(drawn, np.float64).reshape(rows, columns)


@st.composite
def one_epoch(draw: st.DrawFn) -> list[Stretch]:
    """The blocks of an epoch: each step is in one block; blocks of a key set are in any order."""
    steps = draw(steps_of)
    homes = draw(st.lists(st.integers(0, 3), min_size=len(steps), max_size=len(steps)))
    out = []
    for home in range(4):
        mine = [step for step, where in zip(steps, homes, strict=True) if where == home]
        keys = draw(st.sampled_from([[], [1], [2, 1], [1, 2], [3, 1, 4], [5]]))
        if mine:
            drawn = draw(st.lists(values, min_size=len(keys) * len(mine), max_size=len(keys) * len(mine)))
            times = np.array([step % 10**15 + home for step in mine], np.int64)
            out.append(
                Stretch(
                    *(np.array(keys, np.int32), np.array(mine, np.int64), times, matrix(drawn, len(keys), len(mine)))
                )
            )
    return draw(st.permutations(out))


Point = tuple[int, int, int, bytes]


def points(stretches: Sequence[Stretch]) -> list[Point]:
    return sorted(
        (metric, step, at, values[row, column].tobytes())
        for ids, steps, times, values in stretches
        for row, metric in enumerate(ids.tolist())
        for column, (step, at) in enumerate(zip(steps.tolist(), times.tolist(), strict=True))
    )


def steps_without_metrics(stretches: Sequence[Stretch]) -> list[int]:
    return sorted(step for item in stretches if not len(item.metric_ids) for step in item.steps.tolist())


@given(blocks=one_epoch())
def test_regrouping_keeps_every_value_once(blocks: list[Stretch]) -> None:
    joined = join(blocks)
    groups = regroup(joined)
    assert points(blocks) == points(joined) == points(groups)
    assert steps_without_metrics(blocks) == steps_without_metrics(joined) == steps_without_metrics(groups)
    for item in (*joined, *groups):
        assert (item.steps[1:] > item.steps[:-1]).all()
    metrics = [metric for group in groups for metric in group.metric_ids.tolist()]
    assert len(metrics) == len(set(metrics))


@given(blocks=one_epoch(), data=st.data())
def test_cut_puts_each_value_on_one_side(blocks: list[Stretch], data: st.DataObject) -> None:
    everything = sorted(step for item in blocks for step in item.steps.tolist())
    cut = data.draw(st.sampled_from([*everything, everything[-1] + 1, everything[0] - 1 if everything[0] else 0]))
    joined = join(blocks)
    below = [item.between(0, cut) for item in joined]
    above = [item.between(cut, LAST_STEP + 1) for item in joined]
    assert sorted(points(below) + points(above)) == points(blocks)
    assert all((item.steps < cut).all() for item in below)


def test_empty_input_gives_empty_output() -> None:
    assert join([]) == []
    assert regroup([]) == []
    assert windows(np.empty(0, np.int64)) == []


long_steps = st.one_of(
    st.builds(
        lambda lo, gaps: lo + np.cumsum(np.array(gaps, np.int64)),
        *(st.integers(0, 2**30), st.lists(st.sampled_from([1, 1, 1, 2, 1000, 2**33]), min_size=1, max_size=40)),
    ),
    st.builds(
        lambda lo, stride, n: lo + stride * np.arange(n), st.integers(0, 2**40), st.integers(1, 5000), st.just(4000)
    ),
    # Some ranges of steps are dense, others sparse.
    st.builds(
        lambda dense, gap: np.concatenate([np.arange(dense), dense + gap * np.arange(1, 50)]),
        *(st.integers(1, 5000), st.integers(1, 2**40)),
    ),
    steps_of.map(lambda steps: np.array(steps, np.int64)),
)


@given(steps=long_steps)
@example(steps=np.array([0, LAST_STEP]))
@example(steps=np.arange(LAST_STEP - 5000, LAST_STEP + 1))
@example(steps=np.arange(POINTS))
@example(steps=np.arange(1, POINTS + 1))
@example(steps=np.array([0]))
def test_windows_are_aligned_and_bounded(steps: npt.NDArray[np.int64]) -> None:
    cuts = windows(steps)
    assert [at for cut in cuts for at in range(*cut)] == list(range(len(steps)))
    for first, last in cuts:
        assert 0 < last - first <= POINTS
        low, high = int(steps[first]), int(steps[last - 1])
        k = (low ^ high).bit_length()  # the smallest grid with both in one cell
        inside = (steps >= low >> k << k) & (steps < ((low >> k) + 1) << k) if k < 63 else steps >= 0
        # No other window has a step in that cell, so a bucket of this size or larger contains the whole window or
        # nothing of it.
        assert inside.nonzero()[0].tolist() == list(range(first, last))


def test_regular_steps_fill_their_chunks() -> None:
    for stride in (1, 3, 1000):
        steps = stride * np.arange(100 * POINTS)
        assert len(steps) / len(windows(steps)) >= POINTS / 2, stride
    assert [last - first for first, last in windows(np.arange(4 * POINTS))] == [POINTS] * 4


@given(steps=long_steps)
def test_grid_fits_a_bigint_shift(steps: npt.NDArray[np.int64]) -> None:
    assert 0 <= grid_of(steps) <= 62


@given(rows=st.lists(st.lists(values, min_size=7, max_size=7), min_size=1, max_size=4))
def test_statistics_are_exact(rows: list[list[float]]) -> None:
    found = chunks.statistics(np.array(rows))
    for row, items in enumerate(rows):
        finite = [value for value in items if math.isfinite(value)]
        assert same(found.first[row], items[0])
        assert same(found.last[row], items[-1])
        assert found.min[row] == min(finite, default=math.inf)
        assert found.max[row] == max(finite, default=-math.inf)
        assert found.nans[row] == sum(map(math.isnan, items))
        assert found.pos_infs[row] == items.count(math.inf)
        assert found.neg_infs[row] == items.count(-math.inf)
        largest = max(map(abs, finite), default=0.0)
        if largest < 1e307:
            assert found.sum[row] == pytest.approx(math.fsum(finite), rel=0, abs=1e-15 * 7 * largest)


def same(a: Any, b: Any) -> bool:
    """Whether both have the same 64 bits."""
    return bool(np.float64(a).tobytes() == np.float64(b).tobytes())


def test_overflowing_sum_is_not_finite() -> None:
    found = chunks.statistics(np.array([[1e308, 1e308], [-1e308, -1e308], [1e308, -1e308]]))
    assert found.sum.tolist() == [math.inf, -math.inf, 0.0]


@given(drawn=st.lists(values, min_size=1, max_size=20))
def test_float4_values_are_bit_exact(drawn: list[float]) -> None:
    part = Stretch(np.array([9], np.int32), np.arange(len(drawn)), np.arange(len(drawn)), np.array([drawn]))
    ((row,),), _ = chunks.chunk_rows(EPOCH, chunks.Track(1, part))
    narrow = "vals4" in row.dtype.names
    stored = row["vals4" if narrow else "vals8"]["value"].astype(np.float64)
    assert stored.tobytes() == np.array(drawn).tobytes()
    assert row["vals8_length" if narrow else "vals4_length"] == -1
    if not narrow:  # only if it must be
        with np.errstate(all="ignore"):
            assert np.array(drawn).astype(np.float32).astype(np.float64).tobytes() != np.array(drawn).tobytes()


@given(blocks=st.lists(one_epoch(), min_size=1, max_size=3))
def test_totals_cover_all_chunks(blocks: list[list[Stretch]]) -> None:
    totals, made = Totals(), count(1)
    groups = regroup(join(blocks[0]))
    for track in chunks.tracks(groups, made):
        if len(track.part.metric_ids):
            totals.add(track.part, chunks.chunk_rows(EPOCH, track)[1])
    found = {row[0]: row[1:] for row in rows_of(totals.columns())}
    for group in groups:
        for row, metric in enumerate(group.metric_ids.tolist()):
            items = group.values[row]
            finite = items[np.isfinite(items)]
            points, nans, pos, neg, total, low, high, first, last, first_step, last_step, at = found.pop(metric)
            assert (points, nans, pos, neg) == (
                *(len(items), np.isnan(items).sum()),
                *((items == np.inf).sum(), (items == -np.inf).sum()),
            )
            assert (low, high) == (finite.min(initial=np.inf), finite.max(initial=-np.inf))
            assert same(first, items[0])
            assert same(last, items[-1])
            assert (first_step, last_step, at) == (group.steps[0], group.steps[-1], group.times[-1])
            if len(finite) and np.abs(finite).max() < 1e307:
                assert total == pytest.approx(math.fsum(finite), rel=0, abs=1e-13 * float(np.abs(finite).max()))
    assert not found


def rows_of(columns: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    return zip(*columns, strict=True)
