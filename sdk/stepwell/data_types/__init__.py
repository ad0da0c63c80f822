"""The media that runs can log besides plain values: pictures, sound, tables and so on.

    run.log({"samples": [stepwell.Image(pixels, caption="after") for pixels in batch]})

Each class has a module of its own, imported on first use. The encoding libraries are imported later still; `pip install
'stepwell[media]'` installs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.data_types._audio import Audio
    from stepwell.data_types._batch import MediaList
    from stepwell.data_types._bokeh import Bokeh
    from stepwell.data_types._extraction import Found, as_media, take_media
    from stepwell.data_types._files import DirectorySink, FileRef, FileSink
    from stepwell.data_types._histogram import Histogram
    from stepwell.data_types._html import Html
    from stepwell.data_types._image import Image
    from stepwell.data_types._image_overlays import Classes
    from stepwell.data_types._media import Media
    from stepwell.data_types._molecule import Molecule
    from stepwell.data_types._object3d import Object3D
    from stepwell.data_types._plotly import Plotly
    from stepwell.data_types._recognition import is_media
    from stepwell.data_types._table import Table
    from stepwell.data_types._video import Video

_HOMES = {
    "Audio": "_audio",
    "Bokeh": "_bokeh",
    "Classes": "_image_overlays",
    "DirectorySink": "_files",
    "FileRef": "_files",
    "FileSink": "_files",
    "Found": "_extraction",
    "Histogram": "_histogram",
    "Html": "_html",
    "Image": "_image",
    "Media": "_media",
    "MediaList": "_batch",
    "Molecule": "_molecule",
    "Object3D": "_object3d",
    "Plotly": "_plotly",
    "Table": "_table",
    "Video": "_video",
    "as_media": "_extraction",
    "is_media": "_recognition",
    "take_media": "_extraction",
}

__all__ = [
    "Audio",
    "Bokeh",
    "Classes",
    "DirectorySink",
    "FileRef",
    "FileSink",
    "Found",
    "Histogram",
    "Html",
    "Image",
    "Media",
    "MediaList",
    "Molecule",
    "Object3D",
    "Plotly",
    "Table",
    "Video",
    "as_media",
    "is_media",
    "take_media",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
