"""The current run for the callbacks of this package, and the chart that several of them log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepwell import plot
from stepwell.compat.before_init import before_init
from stepwell.data_types import Table
from stepwell.runs.process import PROCESS
from stepwell.runs.run import Run


def current_run(what: str) -> Run:
    """The current run.

    Raises:
        Error: there is no current run; the message names `what`.
    """
    if PROCESS.current is None:
        raise before_init(what)
    return PROCESS.current


def importance_chart(importances: Iterable[tuple[Any, float]], title: str = "Feature Importance") -> plot.CustomChart:
    """A bar chart with a bar for each feature, with W&B's names of the columns."""
    table = Table(columns=["Feature", "Importance"], data=[[str(name), float(value)] for name, value in importances])
    return plot.bar(table, "Feature", "Importance", title=title)
