"""Histograms: counts and bin edges, small enough to be sent as JSON in the row.

Users create them from numbers, or from counts and edges; `values/convert.py` asks for their JSON. A histogram is not a
`Media`, because it has no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.errors import DataError
from stepwell.values.convert import as_array, counts_and_edges, without_masked


class Histogram:
    """The counts of values in bins.

    Args:
        sequence: numbers of any shape: a list, an array or a tensor; bools count as 0 and 1.
        np_histogram: the result of `numpy.histogram`, counts and edges, instead of `sequence`. The counts may be
            fractions (densities).
        num_bins: the number of bins of equal width for `sequence`; at most `MAX_LENGTH`.

    Attributes:
        histogram: the counts, a list of n numbers.
        bins: the edges, a list of n + 1 floats.

    Raises:
        DataError: there are too many bins; counts and edges do not match; or `sequence` holds NaN, infinities or values
            that are not numbers.
    """

    MAX_LENGTH = 512

    def __init__(
        self,
        sequence: Any = None,
        np_histogram: tuple[Sequence[float], Sequence[float]] | None = None,
        num_bins: int = 64,
    ) -> None:
        if np_histogram is not None:
            counts, edges = _given(np_histogram)
        elif sequence is None:
            raise DataError("a Histogram needs values", hint="Histogram([...]) or Histogram(np_histogram=...)")
        else:
            if not isinstance(num_bins, int | np.integer) or num_bins < 1:
                raise DataError("num_bins must be a positive integer", detail=f"{num_bins!r}")
            _check_length(int(num_bins))
            counts, edges = _counted(sequence, int(num_bins))
        _check_length(len(counts))
        self.histogram: list[float] = counts.tolist()
        self.bins: list[float] = edges.tolist()

    def __stepwell_json__(self) -> dict[str, Any]:
        return {"_type": "histogram", "values": self.histogram, "bins": self.bins}

    def __repr__(self) -> str:
        return f"<Histogram of {len(self.histogram)} bins from {self.bins[0]:g} to {self.bins[-1]:g}>"


def _given(np_histogram: tuple[Sequence[float], Sequence[float]]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not isinstance(np_histogram, tuple | list) or len(np_histogram) != 2:
        raise DataError(
            "np_histogram must be a pair of counts and edges", hint="Histogram(np_histogram=np.histogram(values))"
        )
    counts, edges = (_numbers(part).reshape(-1) for part in np_histogram)
    if not len(counts) or len(edges) != len(counts) + 1:
        raise DataError(
            "a histogram needs one more edge than counts", detail=f"{len(counts)} counts, {len(edges)} edges"
        )
    return counts, edges


def _counted(sequence: Any, num_bins: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    numbers = _numbers(sequence).reshape(-1).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            "values with NaN or infinities cannot become a histogram",
            detail=f"{int((~np.isfinite(numbers)).sum())} of {numbers.size} values are not finite",
            hint="leave them out: values[np.isfinite(values)]",
        )
    return counts_and_edges(numbers, num_bins)


def _numbers(values: Any) -> npt.NDArray[Any]:
    array = without_masked(as_array(values))
    if array.dtype.kind not in "biuf":
        raise DataError("only numbers become a histogram", detail=f"these are of type {array.dtype}")
    return array


def _check_length(length: int) -> None:
    if length > Histogram.MAX_LENGTH:
        raise DataError("a histogram has too many bins", detail=f"{length}; the limit is {Histogram.MAX_LENGTH}")
