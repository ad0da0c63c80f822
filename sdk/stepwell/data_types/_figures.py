"""Matplotlib figures: finds the figure of a value, and draws its picture.

Used by `Image` and `Plotly`. A figure is expensive to copy and belongs to the caller's thread, so it is drawn there.
"""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

from stepwell.data_types._libraries import library


def is_figure(value: Any) -> bool:
    """Returns whether a value is a matplotlib figure, axes, or the module pyplot. Imports nothing."""
    if "matplotlib" not in sys.modules:
        return False
    if isinstance(value, ModuleType):
        return value.__name__ == "matplotlib.pyplot"
    figure, axes = sys.modules.get("matplotlib.figure"), sys.modules.get("matplotlib.axes")
    return (figure is not None and isinstance(value, figure.FigureBase)) or (
        axes is not None and isinstance(value, axes.Axes)
    )


def figure_of(value: Any) -> Any:
    """The figure of a value that `is_figure` accepts: that of the axes, or the current one of pyplot."""
    if isinstance(value, ModuleType):
        return value.gcf()
    figure = value.figure if hasattr(value, "figure") else value
    while getattr(figure, "figure", figure) is not figure:  # a figure inside a figure
        figure = figure.figure
    return figure


def has_image(figure: Any) -> bool:
    """Returns whether some axes show a picture, which plotly would omit."""
    return any(axes.images for axes in figure.get_axes())


def drawn(figure: Any) -> Any:
    """The figure as a Pillow image, as drawn by `savefig`."""
    pillow = library("PIL.Image", "a picture of a figure")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})  # it is decoded again immediately
    picture = pillow.open(buffer)
    picture.load()
    return picture
