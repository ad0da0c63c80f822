"""Matplotlib figures: finds the figure that was meant, and draws its picture.

Used by `Image` and `Plotly`. A figure is expensive to copy and belongs to the caller's thread, so it is drawn there.
"""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

from stepwell.data_types._libraries import library


def is_figure(value: Any) -> bool:
    """Whether it is a figure of matplotlib, axes, or the module pyplot. Imports nothing."""
    if "matplotlib" not in sys.modules:
        return False
    if isinstance(value, ModuleType):
        return value.__name__ == "matplotlib.pyplot"
    figure, axes = sys.modules.get("matplotlib.figure"), sys.modules.get("matplotlib.axes")
    return (figure is not None and isinstance(value, figure.FigureBase)) or (
        axes is not None and isinstance(value, axes.Axes)
    )


def figure_of(value: Any) -> Any:
    """The whole figure of what `is_figure` takes: that of the axes, or the current one of pyplot."""
    if isinstance(value, ModuleType):
        return value.gcf()
    figure = value.figure if hasattr(value, "figure") else value
    while getattr(figure, "figure", figure) is not figure:  # a figure inside of a figure
        figure = figure.figure
    return figure


def has_image(figure: Any) -> bool:
    """Whether some axes show a picture, which plotly would not."""
    return any(axes.images for axes in figure.get_axes())


def drawn(figure: Any) -> Any:
    """The figure as a picture of Pillow, as `savefig` draws it."""
    pillow = library("PIL.Image", "a picture of a figure")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", pil_kwargs={"compress_level": 1})  # it is decoded again at once
    picture = pillow.open(buffer)
    picture.load()
    return picture
