"""The list of media types for users; both `stepwell` and `stepwell.data_types` export them.

A type has a module of its own, named after it in lower case, which is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.data_types._audio import Audio
    from stepwell.data_types._bokeh import Bokeh
    from stepwell.data_types._histogram import Histogram
    from stepwell.data_types._html import Html
    from stepwell.data_types._image import Image
    from stepwell.data_types._image_overlays import Classes
    from stepwell.data_types._molecule import Molecule
    from stepwell.data_types._object3d import Object3D
    from stepwell.data_types._plotly import Plotly
    from stepwell.data_types._table import Table
    from stepwell.data_types._video import Video

__all__ = (
    "Audio",
    "Bokeh",
    "Classes",
    "Histogram",
    "Html",
    "Image",
    "Molecule",
    "Object3D",
    "Plotly",
    "Table",
    "Video",
)

#: Modules that are not named after their type.
_HOMES = {"Classes": "_image_overlays"}


def media_type(name: str) -> Any:
    """The type of this name."""
    return getattr(importlib.import_module(f"stepwell.data_types.{_HOMES.get(name, f'_{name.lower()}')}"), name)
