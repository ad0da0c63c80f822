"""Charts to log: `run.log({"pr": stepwell.plot.pr_curve(y_true, y_probas)})`.

Each function returns a `CustomChart`: a table, and the description of its chart for the web pages.
"""

from __future__ import annotations

from stepwell.plot._chart import CustomChart, plot_table
from stepwell.plot._confusion import confusion_matrix
from stepwell.plot._curves import pr_curve, roc_curve
from stepwell.plot._tables import bar, histogram, line, line_series, scatter

__all__ = [
    "CustomChart",
    "bar",
    "confusion_matrix",
    "histogram",
    "line",
    "line_series",
    "plot_table",
    "pr_curve",
    "roc_curve",
    "scatter",
]
