"""One run: its attributes, and its history in several forms.

Receives answers of the server; returns exactly the values that were logged.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from stepwell.api._attributes import RunAttributes
from stepwell.api._history import HistoryScan, Series, joined, read_rows, scan_rows
from stepwell.api._system import as_frame, is_system, sample_system, scan_system
from stepwell.api._table import RESERVED, STEP, Rows, Shape, Table
from stepwell.errors import UsageError

log = logging.getLogger("stepwell")

_NO_PANDAS = "pandas is not installed, so history() returns a list of dicts"


class Run(RunAttributes):
    """A run from the read API: its attributes, and its history, which is read again at each call."""

    def history(
        self,
        samples: int = 500,
        keys: Sequence[str] | None = None,
        x_axis: str = STEP,
        pandas: bool = True,
        stream: Literal["default", "system", "events"] = "default",
    ) -> Any:
        """About `samples` of the logged rows, for an overview; all rows if there are no more.

        In every bucket of steps, the rows with the first, last, smallest and largest value of each key are kept, and
        any NaN or Inf (without keys: for up to 100 metrics). The number of rows left out is logged, and in
        `attrs["stepwell"]` of the DataFrame. For every row, use `scan_history` or `history_arrow`; for every point,
        `series`.

        Args:
            samples: the number of rows to aim at; many keys may need more.
            keys: the keys that rows must have; None: whole rows.
            x_axis: another key that rows must have; rows are ordered by it.
            pandas: whether to return a DataFrame if pandas is installed; otherwise, the result is a list of dicts.
            stream: "system" (or "events"): the system metrics of all writers in the order of time, with times and
                without steps: about `samples` rows at even distances, and each writer's last one.

        Raises:
            UsageError: `samples` is invalid, or the stream is unknown.
        """
        if keys is not None and (isinstance(keys, str) or not isinstance(keys, Sequence)):
            log.error("keys must be a list of names, not %r", keys)
            return []
        if is_system(stream):
            if keys is not None:
                log.error("keys and stream=%r are mutually exclusive", stream)
                return []
            return self._system(samples, pandas)
        if keys is not None and x_axis not in (*RESERVED, *keys):
            keys = [*keys, x_axis]
        end: dict[str, Any] = {}
        parts = list(read_rows(self._client, self._path, {"keys": keys, "samples": samples}, end))
        sampled = end.get("sampled")
        self._warn(sampled)
        found = self._as_asked(parts, keys, {"sampled": sampled}, pandas)
        if x_axis == STEP or not len(found):
            return found
        if isinstance(found, list):
            return sorted(found, key=lambda row: row.get(x_axis, float("nan")))
        return found.sort_values(x_axis, kind="stable", ignore_index=True) if x_axis in found else found

    def scan_history(
        self,
        keys: Sequence[str] | None = None,
        page_size: int = 1000,
        min_step: int = 0,
        max_step: int | None = None,
        use_cache: bool = True,
        stream: Literal["default", "system", "events"] = "default",
    ) -> HistoryScan:
        """Every row as a dict, read lazily.

        Args:
            keys: the keys that rows must have; rows then hold these and `_step` only. None: whole rows.
            page_size, use_cache: accepted for scripts written for W&B; the server decides how much it sends in one
                batch, and nothing is cached.
            min_step, max_step: min ≤ step < max.
            stream: "system" (or "events"): the system metrics, without steps; keys cannot be chosen.

        Raises:
            UsageError: `keys` is not a list, `page_size` is below 1, the stream is unknown, or keys or steps are given
                for the system metrics.
        """
        names = self._names(keys)
        if page_size < 1:
            raise UsageError("page_size must be 1 or more", detail=repr(page_size))
        if is_system(stream):
            if names is not None or min_step or max_step is not None:
                raise UsageError(
                    f"the stream {stream!r} has no steps, so it is always read as a whole",
                    hint="leave keys and steps out",
                )
            return HistoryScan(partial(scan_system, self._client, self._path, self._shape(None)))
        query = {"keys": names, "min_step": min_step, "max_step": max_step}
        return HistoryScan(partial(scan_rows, self._client, self._path, self._shape(names), query))

    def series(self, key: str, min_step: int = 0, max_step: int | None = None) -> Series:
        """Every point of one metric as arrays; arrays of length 0 if there are none."""
        query = {"keys": [key], "min_step": min_step, "max_step": max_step}
        parts = list(read_rows(self._client, self._path, query, {}, route="series"))
        writers = sorted({name for part in parts for name in part.writers})
        steps, values, writer = [np.zeros(0, np.int64)], [np.zeros(0)], [np.zeros(0, np.int32)]
        for part in parts:
            number = np.array([writers.index(name) for name in part.writers], np.int32)[part.writer]
            for column in part.columns:
                if isinstance(column.values, np.ndarray):
                    at = slice(None) if column.rows is None else column.rows
                    steps.append(part.steps[at])
                    values.append(column.values.astype(np.float64, copy=False))
                    writer.append(number[at])
        return Series(joined(steps), joined(values), joined(writer), writers)

    def history_arrow(self, keys: Sequence[str] | None = None, min_step: int = 0, max_step: int | None = None) -> Any:
        """Every row as a pyarrow.Table. Missing values are null; NaN is NaN.

        Raises:
            UsageError: pyarrow is not installed.
        """
        return self._table(keys, min_step, max_step).arrow({"sampled": None})

    def to_polars(self, keys: Sequence[str] | None = None, min_step: int = 0, max_step: int | None = None) -> Any:
        """Every row as a polars.DataFrame. Missing values are null; NaN is NaN.

        Raises:
            UsageError: polars or pyarrow is not installed.
        """
        return self._table(keys, min_step, max_step).polars({"sampled": None})

    def _names(self, keys: Sequence[str] | None) -> list[str] | None:
        if keys is None:
            return None
        if isinstance(keys, str) or not isinstance(keys, Iterable) or not all(isinstance(key, str) for key in keys):
            raise UsageError("keys must be a list of names", detail=repr(keys)[:80], hint='keys=["train/loss"]')
        return list(dict.fromkeys(keys)) or None

    def _shape(self, keys: Iterable[str] | None) -> Shape:
        if (self._attributes["writers"] or 0) < 2 and self.state == "running":
            self._attributes["writers"] = self._client.get_json(self._path)["writers"]  # others may have attached since
        return Shape(keys, self._started_us, (self._attributes["writers"] or 0) > 1)

    def _table(self, keys: Sequence[str] | None, min_step: int, max_step: int | None) -> Table:
        names = self._names(keys)
        query = {"keys": names, "min_step": min_step, "max_step": max_step}
        return Table(read_rows(self._client, self._path, query, {}), self._shape(names), names)

    def _system(self, samples: int, pandas: bool) -> Any:
        rows, sampled = sample_system(self._client, self._path, self._shape(None), samples)
        self._warn(sampled)
        if pandas:
            try:
                return as_frame(rows, {"sampled": sampled})
            except UsageError:
                log.warning(_NO_PANDAS)
        return rows

    def _warn(self, sampled: dict[str, Any] | None) -> None:
        if sampled:
            log.warning(
                "history() of %s returned %d of %d rows (%s); scan_history() returns all of them",
                *("/".join(self.path), sampled["rows"], sampled["from_rows"], sampled["by"]),
            )

    def _as_asked(self, parts: list[Rows], keys: Sequence[str] | None, about: dict[str, Any], pandas: bool) -> Any:
        shape = self._shape(keys)
        if pandas:
            try:
                return Table(parts, shape, keys).pandas(about)
            except UsageError:
                log.warning(_NO_PANDAS)
        return [row for part in parts for row in part.as_dicts(shape)]
