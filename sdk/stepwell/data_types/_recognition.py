"""Which values are media: ours, and what other libraries make.

First of the media's way: `log()` asks for each value that is no plain number. Imports none of those libraries: where
one is not imported yet, no value can be of it.
"""

from __future__ import annotations

import sys
from typing import Any

from stepwell.data_types._figures import figure_of, has_image, is_figure
from stepwell.data_types._media import Media

_PLAIN = frozenset({float, int, str, bool, type(None), bytes})
#: What is media, too: module, class in it, and our class for it.
_FOREIGN = (
    ("PIL.Image", "Image", "Image"),
    ("pandas", "DataFrame", "Table"),
    ("plotly.basedatatypes", "BaseFigure", "Plotly"),
    ("bokeh.model", "Model", "Bokeh"),
)


def is_media(value: object) -> bool:
    """Whether `as_media` makes media of it. For a list, its first item decides."""
    kind = type(value)
    if kind in _PLAIN:
        return False
    if isinstance(value, Media):
        return True
    if isinstance(value, list | tuple):
        return bool(value) and is_media(value[0])
    return _foreign(value) is not None or is_figure(value)


def as_media(value: Any) -> Media | None:
    """The media that is logged for `value`; None when it is a plain value. Not prepared yet.

    Raises:
        DataError: a list of media and plain values; or something that looks like media and makes none.
    """
    if isinstance(value, Media):
        return value
    if type(value) in _PLAIN or not is_media(value):
        return None
    if isinstance(value, list | tuple):
        from stepwell.data_types._batch import MediaList

        return MediaList([item if (media := as_media(item)) is None else media for item in value])
    from stepwell import data_types

    if is_figure(value):
        figure = figure_of(value)
        return data_types.Image(figure) if has_image(figure) else data_types.Plotly.of_figure(figure)
    name = _foreign(value)
    if name == "Table":
        return data_types.Table(dataframe=value, allow_mixed_types=True)
    made: Media = getattr(data_types, str(name))(value)
    return made


def _foreign(value: object) -> str | None:
    for module, kind, ours in _FOREIGN:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(value, getattr(loaded, kind, ())):
            return ours
    return None
