"""HTML pages."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._media import Media
from stepwell.data_types._sources import Source
from stepwell.errors import DataError

#: Links open in a new tab, not inside the panel; text has the font of the other pages. Loads no further resources.
_HEAD = '<base target="_blank"><style>body { font-family: system-ui, sans-serif; }</style>'


class Html(Media):
    """A page.

    Args:
        data: the HTML text, the path of an .html file, or a file object.
        inject: whether to put a plain style and `<base target="_blank">` into its head.
        data_is_not_path: whether a str is always the text, even if a file has that name.

    Raises:
        DataError: `data` is not text, or the path is not that of an .html file.
    """

    folder = "html"

    def __init__(self, data: Any, inject: bool = True, data_is_not_path: bool = False) -> None:
        if isinstance(data, os.PathLike) or (isinstance(data, str) and not data_is_not_path and _is_file(data)):
            if Path(os.fspath(data)).suffix.lower() not in (".html", ".htm"):
                raise DataError("a page must come from an .html file", detail=str(data)[:200])
            text = _decoded(Source.of_path(data))
        elif isinstance(data, str):
            text = data
        elif hasattr(data, "read"):
            text = _decoded(Source.of_readable(data))
        else:
            raise DataError(
                "a page must be a string, a path or a file object", detail=type(data).__name__, hint='Html("<p>…</p>")'
            )
        self.html = _injected(text) if inject else text

    @classmethod
    def batch_json(cls, items: Sequence[Html], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"_type": "html", "html": list(encoded)}

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        data = self.html.encode("utf-8", "replace")
        return {"_type": "html-file", **store(sink, self.folder, key, step, ".html", data).as_json()}


def _is_file(text: str) -> bool:
    try:
        return text.lower().endswith((".html", ".htm")) and Path(text).is_file()
    except (OSError, ValueError):  # a name that is too long, or contains a NUL
        return False


def _decoded(source: Source) -> str:
    try:
        return source.read().decode()
    except UnicodeDecodeError as error:
        raise DataError("a page must be UTF-8", detail=str(error)) from error


def _injected(text: str) -> str:
    """Inserts `_HEAD` after the first tag that it may follow, else at the start."""
    for tag in (r"<head\b[^>]*>", r"<html\b[^>]*>", r"<!doctype\b[^>]*>"):
        if (found := re.search(tag, text, re.IGNORECASE)) is not None:
            return text[: found.end()] + _HEAD + text[found.end() :]
    return _HEAD + text
