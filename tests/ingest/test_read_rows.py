"""Rows are assembled from series and objects like in a simple loop; sampled rows keep every extreme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.reads import same
from stepwell_ingest.read.arrays import Series
from stepwell_ingest.read.rows import ObjectValue, Page, assemble
from stepwell_ingest.read.sampling import MAX_METRICS, Grid, choose_grid, choose_rows

KEYS = ("a", "b", "c")
WRITERS = ("0", "1", "10")
#: (writer, step) → key → value; a value of bytes is an object.
Logged = dict[tuple[str, int], dict[str, float | bytes]]

LOGGED = st.dictionaries(
    st.tuples(st.sampled_from(WRITERS), st.integers(0, 12)),
    st.dictionaries(st.sampled_from(KEYS), st.one_of(st.floats(), st.just(b'"x"')), min_size=1),
)


def pieces(logged: Logged) -> tuple[list[Series], list[ObjectValue]]:
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    objects = []
    for (writer, step), values in sorted(logged.items()):
        for key, value in values.items():
            if isinstance(value, bytes):
                objects.append(ObjectValue(key, writer, step, 1000 + step, value))
            else:
                points.setdefault((key, writer), []).append((step, value))
    series = []
    for (key, writer), items in points.items():
        steps = np.array([step for step, _ in items], np.int64)
        series.append(Series(key, writer, steps, np.array([value for _, value in items]), steps + 1000))
    return series, objects


def rows_of(page: Page) -> list[tuple[int, str, dict[str, Any]]]:
    found: list[tuple[int, str, dict[str, Any]]] = [
        (int(step), page.writers[writer], {}) for step, writer in zip(page.steps, page.writer, strict=True)
    ]
    for column in page.columns:
        at: Sequence[int] = range(len(found)) if column.rows is None else column.rows.tolist()
        assert list(at) == sorted(set(at))
        for row, value in zip(at, column.values, strict=True):
            assert column.name not in found[row][2]
            found[row][2][column.name] = value
    return found


def equal(left: Any, right: Any) -> bool:
    return left == right if isinstance(left, bytes) or isinstance(right, bytes) else same(left, right)


@settings(deadline=None, max_examples=200)
@given(LOGGED, st.one_of(st.none(), st.sets(st.sampled_from(KEYS), min_size=1)))
def test_rows_match_the_logged_values(logged: Logged, keys: set[str] | None) -> None:
    page = assemble(*pieces(logged), 99, with_times=True, require=None if keys is None else sorted(keys))

    expected = [
        (step, writer, logged[writer, step])
        for step, writer in sorted((step, writer) for writer, step in logged)
        if keys is None or keys <= set(logged[writer, step])
    ]
    found = rows_of(page)
    assert [(step, writer) for step, writer, _ in found] == [(step, writer) for step, writer, _ in expected]
    for (_, _, left), (_, _, right) in zip(found, expected, strict=True):
        assert left.keys() == right.keys()
        assert all(equal(left[key], right[key]) for key in left)
    assert page.times is not None
    assert (page.times == page.steps + 1000).all()


@settings(deadline=None, max_examples=100)
@given(LOGGED, st.data())
def test_selection_has_exactly_its_rows(logged: Logged, data: st.DataObject) -> None:
    page = assemble(*pieces(logged), 99, with_times=True)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(page.steps), max_size=len(page.steps)))
    found = rows_of(page.select(np.array(chosen, np.bool_)))
    expected = [row for row, keep in zip(rows_of(page), chosen, strict=True) if keep]
    assert repr(found) == repr(expected)  # NaN counts as equal here


VALUES = st.lists(
    st.sampled_from([0.0, 1.0, -1.0, 2.5, 1e308, -1e308, np.nan, np.inf, -np.inf]), min_size=1, max_size=60
)


@settings(deadline=None, max_examples=200)
@given(VALUES, st.integers(0, 5))
def test_sample_keeps_bucket_extremes(values: list[float], shift: int) -> None:
    steps = np.arange(len(values), dtype=np.int64) * 3
    page = assemble([Series("x", "0", steps, np.array(values), None)], [], 999)
    kept = choose_rows(page, Grid(shift, True))

    for bucket in np.unique(steps >> shift):
        inside = (steps >> shift) == bucket
        every, chosen = np.array(values)[inside], np.array(values)[inside & kept]
        assert same(every[0], chosen[0])
        assert same(every[-1], chosen[-1])
        finite = every[np.isfinite(every)]
        if len(finite):
            assert finite.min() == chosen[np.isfinite(chosen)].min()
            assert finite.max() == chosen[np.isfinite(chosen)].max()
        for odd in (np.isnan, np.isposinf, np.isneginf):
            assert odd(every).any() == odd(chosen).any()
        assert len(chosen) <= 7


def test_writers_have_separate_buckets() -> None:
    steps = np.arange(64, dtype=np.int64)
    low, high = np.zeros(64), np.zeros(64)
    low[10], high[20] = -5, 5
    page = assemble([Series("x", "0", steps, low, None), Series("x", "1", steps, high, None)], [], 64)
    kept = choose_rows(page, Grid(6, True))
    spikes = {
        (int(step), page.writers[writer]) for step, writer in zip(page.steps[kept], page.writer[kept], strict=True)
    }
    assert {(10, "0"), (20, "1"), (0, "0"), (0, "1"), (63, "0"), (63, "1")} <= spikes
    assert len(spikes) <= 8


def test_many_metrics_keep_first_and_last_rows_only() -> None:
    grid = choose_grid(100, 0, 10**6, MAX_METRICS + 1, 1)
    assert not grid.extremes
    assert "extremes are not kept" in grid.by
    page = assemble([Series("x", "0", np.arange(10, dtype=np.int64), np.zeros(10), None)], [], 10)
    assert np.flatnonzero(choose_rows(page, Grid(2, False))).tolist() == [0, 3, 4, 7, 8, 9]


@given(st.integers(1, 5000), st.integers(0, 10**6), st.integers(0, 2**62), st.integers(1, 200), st.integers(1, 100))
def test_grid_size_follows_the_sample_limit(samples: int, first: int, length: int, metrics: int, writers: int) -> None:
    grid = choose_grid(samples, first, first + length, metrics, writers)
    buckets = ((first + length) >> grid.shift) - (first >> grid.shift) + 1
    per_bucket = (4 * metrics if grid.extremes else 2) * writers
    assert buckets == 1 or buckets * per_bucket <= samples
