"""Charts of tables that users provide: line, scatter, bar, histogram; and lines from plain sequences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stepwell.data_types._table import Table
from stepwell.errors import DataError
from stepwell.plot._chart import CustomChart
from stepwell.values.convert import as_array


def line(
    table: Table, x: str, y: str, stroke: str | None = None, title: str = "", split_table: bool = False
) -> CustomChart:
    """A line chart of column `y` over column `x`, with one line for each value of column `stroke`."""
    fields = {"x": x, "y": y} | ({"stroke": stroke} if stroke is not None else {})
    return CustomChart("wandb/line/v0", table, fields, {"title": title}, split_table)


def scatter(table: Table, x: str, y: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A scatter plot with a dot for each row, at columns `x` and `y`."""
    return CustomChart("wandb/scatter/v0", table, {"x": x, "y": y}, {"title": title}, split_table)


def bar(table: Table, label: str, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A bar chart with a bar for each row: its length from column `value`, its name from column `label`."""
    return CustomChart("wandb/bar/v0", table, {"label": label, "value": value}, {"title": title}, split_table)


def histogram(table: Table, value: str, title: str = "", split_table: bool = False) -> CustomChart:
    """A histogram of the values of a column; pages count them."""
    return CustomChart("wandb/histogram/v0", table, {"value": value}, {"title": title}, split_table)


def line_series(
    xs: Iterable[Any],
    ys: Iterable[Iterable[Any]],
    keys: Sequence[Any] | None = None,
    title: str = "",
    xname: str = "x",
    split_table: bool = False,
) -> CustomChart:
    """A chart of several lines.

    Args:
        xs: the x values: one sequence for all lines, or one for each line.
        ys: the y values of each line.
        keys: names of the lines; default line_0, line_1, …
        title: the title of the chart.
        xname: the name of the x axis.
        split_table: see `CustomChart`.

    Raises:
        DataError: the numbers of lines, names or values do not match.
    """
    lines = [_plain(one) for one in _plain(ys)]
    xs = _plain(xs)
    several = bool(xs) and _is_sequence(xs[0])
    xs_of_lines = [_plain(one) for one in xs] if several else [xs] * len(lines)
    if len(xs_of_lines) != len(lines):
        raise DataError(f"there are {len(xs_of_lines)} sequences of x values for {len(lines)} lines")
    names = [f"line_{number}" for number in range(len(lines))] if keys is None else [str(name) for name in keys]
    if len(names) != len(lines):
        raise DataError(f"there are {len(names)} keys for {len(lines)} lines")
    table = Table(columns=["step", "lineKey", "lineVal"], allow_mixed_types=True)
    for name, x_values, y_values in zip(names, xs_of_lines, lines, strict=True):
        if len(x_values) != len(y_values):
            raise DataError(f"{name!r} has {len(y_values)} y values for {len(x_values)} x values")
        for x, y in zip(x_values, y_values, strict=True):
            table.add_data(x, name, y)
    fields = {"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"}
    return CustomChart("wandb/lineseries/v0", table, fields, {"title": title, "xname": xname}, split_table)


def _plain(values: Any) -> list[Any]:
    if hasattr(values, "__array__"):
        array = as_array(values)
        if array.ndim:
            plain: list[Any] = array.tolist()
            return plain
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise DataError("a line needs a sequence of values", detail=type(values).__name__)
    return list(values)


def _is_sequence(value: Any) -> bool:
    return (
        np.ndim(value) > 0
        if hasattr(value, "__array__")
        else isinstance(value, Iterable) and not isinstance(value, str)
    )
