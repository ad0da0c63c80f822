"""Interactive figures: those of Plotly, and Matplotlib figures that Plotly can show."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import Any

from stepwell.data_types._figures import figure_of, is_figure
from stepwell.data_types._files import FileSink, store
from stepwell.data_types._image import Image
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media
from stepwell.errors import DataError

log = logging.getLogger("stepwell")


class Plotly(Media):
    """A Plotly figure.

    Args:
        figure: a plotly figure, or a matplotlib figure, which plotly converts.

    Raises:
        DataError: `figure` is neither a plotly nor a matplotlib figure, or plotly cannot convert it.
    """

    folder = "plotly"

    def __init__(self, figure: Any) -> None:
        self._json = library("plotly.io", "a plotly figure")
        if is_figure(figure):
            figure = _converted(figure_of(figure))
        if not isinstance(figure, library("plotly.basedatatypes", "a plotly figure").BaseFigure):
            raise DataError("the value is not a plotly or matplotlib figure", detail=type(figure).__name__)
        self._figure: dict[str, Any] = copy.deepcopy(figure.to_dict())  # its arrays may belong to the caller

    @classmethod
    def of_figure(cls, figure: Any) -> Media:
        """Converts a matplotlib figure to plotly or, if plotly cannot convert it, to a picture, with a warning."""
        try:
            return cls(figure)
        except DataError as error:
            log.warning("a matplotlib figure is logged as a picture: %s", error)
            return Image(figure)

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        data = self._json.to_json(self._figure, validate=False).encode()
        return {"_type": "plotly-file", **store(sink, self.folder, key, step, ".plotly.json", data).as_json()}


def _converted(figure: Any) -> Any:
    tools = library("plotly.tools", "an interactive matplotlib figure")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about each part that it leaves out
            return tools.mpl_to_plotly(figure)
    except Exception as error:  # it uses internals of matplotlib, whose versions break it in many ways
        raise DataError(
            "plotly cannot convert the matplotlib figure",
            detail=f"{type(error).__name__}: {error}"[:200],
            hint="log stepwell.Image(figure), which draws it",
        ) from error
