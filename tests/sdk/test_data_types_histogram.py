"""Histograms: counts, refusals, and the JSON."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.stages import Json, logged
from stepwell.data_types import Histogram
from stepwell.errors import DataError


def test_histogram_is_json_in_the_row() -> None:
    assert {"v": Json({"_type": "histogram", "values": [1, 2], "bins": [0.0, 1.5, 3.0]})} == logged(
        Histogram([0, 2, 3], num_bins=2)
    )


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([1, 2, 3.5], id="list"),
        pytest.param(np.arange(6.0).reshape(2, 3), id="array of any shape"),
        pytest.param(np.arange(40, dtype=np.uint8), id="uint8"),
        pytest.param([True, False, True], id="bools count as 0 and 1"),
    ],
)
def test_bins_match_numpy(values: Any) -> None:
    counts, edges = np.histogram(np.asarray(values, float), 64)
    histogram = Histogram(values)
    assert (counts.tolist(), edges.tolist()) == (histogram.histogram, histogram.bins)


@pytest.mark.parametrize("bins", [1, 512])
def test_histogram_has_up_to_512_bins(bins: int) -> None:
    assert len(Histogram([1, 2], num_bins=bins).histogram) == bins
    assert len(Histogram(np_histogram=([1] * bins, range(bins + 1))).bins) == bins + 1  # type: ignore[arg-type]  # as users do


def test_np_histogram_is_kept() -> None:
    counts, edges = np.histogram([1, 2, 2.5], 3, density=True)
    histogram = Histogram(np_histogram=(counts, edges))
    assert (counts.tolist(), edges.tolist()) == (histogram.histogram, histogram.bins)


@pytest.mark.parametrize("kind", [ValueError, TypeError])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"sequence": [1], "num_bins": 513}, r"too many bins \(513; the limit is 512\)"),
        ({"np_histogram": ([1] * 513, range(514))}, "too many bins"),
        ({"sequence": [1], "num_bins": 0}, "positive integer"),
        ({"sequence": [1], "num_bins": 2.5}, "positive integer"),
        ({"np_histogram": ([1, 2], [0, 1])}, r"one more edge than counts \(2 counts, 2 edges\)"),
        ({"np_histogram": ([], [0])}, r"one more edge than counts \(0 counts, 1 edges\)"),
        ({"np_histogram": ([1, 2],)}, "pair of counts and edges"),
        ({"sequence": [1, math.nan, math.inf]}, "2 of 3 values are not finite"),
        ({"sequence": ["a"]}, "only numbers"),
        ({"sequence": [[1], [1, 2]]}, "not an array"),
        ({}, "needs values"),
    ],
)
def test_invalid_histogram_gives_the_reason(arguments: dict[str, Any], text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        Histogram(**arguments)
    assert isinstance(raised.value, DataError)


def test_refused_file_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+") as file:  # it has the method `detach`, as tensors have
        with pytest.raises(DataError):
            Histogram(file)
        assert file.write("text") == 4


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.integers(1, 512))
def test_finite_numbers_fall_into_one_bin(values: list[float], bins: int) -> None:
    histogram = Histogram(values, num_bins=bins)
    assert sum(histogram.histogram) == len(values)
    assert len(histogram.bins) == len(histogram.histogram) + 1
    assert histogram.bins == sorted(histogram.bins)
