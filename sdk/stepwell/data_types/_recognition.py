"""Recognises media: Stepwell's own classes, and the pictures, figures and data frames of other libraries.

The first step of the media path: `log()` calls it for each value that is not a plain number. It imports none of those
libraries: a value can only belong to a library that has been imported already.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from stepwell.data_types._figures import figure_of, has_image, is_figure
from stepwell.data_types._media import Media
from stepwell.wire import MAX_DEPTH

_PLAIN = frozenset({float, int, str, bool, type(None), bytes})
#: Classes of other libraries that are media: module, class name, and the class of Stepwell that stands for it.
_FOREIGN = (
    ("PIL.Image", "Image", "Image"),
    ("pandas", "DataFrame", "Table"),
    ("plotly.basedatatypes", "BaseFigure", "Plotly"),
    ("bokeh.model", "Model", "Bokeh"),
)


def is_media(value: object) -> bool:
    """Returns whether `recognised` converts the value to media. For a list, its first item decides."""
    for _ in range(MAX_DEPTH):  # a list may contain itself
        if type(value) in _PLAIN:
            return False
        if isinstance(value, Media):
            return True
        if not isinstance(value, list | tuple):
            return _foreign(value) is not None or is_figure(value)
        if not value:
            return False
        value = value[0]
    return False


def recognised(value: Any, table_of: Callable[[Any], Media]) -> Media | None:
    """The media object for `value`, not prepared yet; None for a plain value.

    Args:
        value: any value that `log()` or a table's cell accepts.
        table_of: converts a pandas DataFrame to a table. Tables call this module for their cells, so it cannot import
            them.

    Raises:
        DataError: a list mixes media and plain values; or a value looks like media but cannot be converted.
    """
    if isinstance(value, Media):
        return value
    if type(value) in _PLAIN or not is_media(value):
        return None
    if isinstance(value, list | tuple):
        from stepwell.data_types._batch import MediaList

        return MediaList([item if (media := recognised(item, table_of)) is None else media for item in value])
    from stepwell.data_types._bokeh import Bokeh
    from stepwell.data_types._image import Image
    from stepwell.data_types._plotly import Plotly

    if is_figure(value):
        figure = figure_of(value)
        return Image(figure) if has_image(figure) else Plotly.of_figure(figure)
    makers: dict[str | None, Callable[[Any], Media]] = {
        "Image": Image,
        "Plotly": Plotly,
        "Bokeh": Bokeh,
        "Table": table_of,
    }
    return makers[_foreign(value)](value)


def _foreign(value: object) -> str | None:
    for module, kind, ours in _FOREIGN:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(value, getattr(loaded, kind, ())):
            return ours
    return None
