"""The media that runs can log besides plain values: pictures, sound, tables and so on.

    run.log({"samples": [stepwell.Image(pixels, caption="after") for pixels in batch]})

Each class has a module of its own, imported on first use. The encoding libraries are imported later still; `pip install
'stepwell[media]'` installs them. `_exports.py` lists the types that users make.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stepwell.data_types import _exports
from stepwell.data_types._exports import __all__ as __all__

if TYPE_CHECKING:
    from stepwell.data_types._batch import MediaList
    from stepwell.data_types._exports import *  # noqa: F403 - all of them, so that they are listed once
    from stepwell.data_types._extraction import Found, as_media, take_media
    from stepwell.data_types._files import DirectorySink, FileRef, FileSink
    from stepwell.data_types._media import Media
    from stepwell.data_types._recognition import is_media

_HOMES = {
    "DirectorySink": "_files",
    "FileRef": "_files",
    "FileSink": "_files",
    "Found": "_extraction",
    "Media": "_media",
    "MediaList": "_batch",
    "as_media": "_extraction",
    "is_media": "_recognition",
    "take_media": "_extraction",
}

__all__ += (
    "DirectorySink",
    "FileRef",
    "FileSink",
    "Found",
    "Media",
    "MediaList",
    "as_media",
    "is_media",
    "take_media",
)


def __getattr__(name: str) -> Any:
    if name in _exports.__all__:
        return _exports.media_type(name)
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
