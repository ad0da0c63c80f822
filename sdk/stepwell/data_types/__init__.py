"""The media that runs can log besides plain values: pictures, sound, tables and so on.

    run.log({"samples": [stepwell.Image(pixels, caption="after") for pixels in batch]})

Each class has a module of its own, imported on first use. The encoding libraries are imported later still; `pip install
'stepwell[media]'` installs them. `_exports.py` lists the types that users make.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stepwell.data_types import _exports

if TYPE_CHECKING:
    from stepwell.data_types._batch import MediaList as MediaList
    from stepwell.data_types._exports import *  # noqa: F403 - all of them, so that they are listed once
    from stepwell.data_types._extraction import Found as Found
    from stepwell.data_types._extraction import as_media as as_media
    from stepwell.data_types._extraction import take_media as take_media
    from stepwell.data_types._files import DirectorySink as DirectorySink
    from stepwell.data_types._files import FileRef as FileRef
    from stepwell.data_types._files import FileSink as FileSink
    from stepwell.data_types._media import Media as Media
    from stepwell.data_types._recognition import is_media as is_media

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

if not TYPE_CHECKING:  # type checkers go by the imports: what is imported as itself is exported
    __all__ = (*_exports.__all__, *_HOMES)


def __getattr__(name: str) -> Any:
    if name in _exports.__all__:
        return _exports.media_type(name)
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
