"""Sanitises text: replaces what JSON or Postgres cannot hold, wherever the text occurs.

Applied to everything that leaves the process as JSON: notes, the attach message, captions, file names. Receives values
from `jsonable`, or texts; returns bytes, or texts, that the server can store. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from stepwell.wire import UNSTORABLE


def storable(text: str) -> str:
    """`text` as a plain str, with U+FFFD for each NUL character and each lone surrogate."""
    text = str.__str__(text)  # not str(text): a string enum has a __str__ of its own
    if text.isascii() and "\0" not in text:
        return text
    return UNSTORABLE.sub("\ufffd", text)


def dump(value: Any) -> bytes:
    """`value` as JSON that Postgres stores: texts are `storable`, integers of any size are exact.

    Args:
        value: dicts, lists, texts, numbers, bools and None. Keys that are not texts become texts.

    Raises:
        TypeError: `value` contains other values.
    """
    try:
        raw = orjson.dumps(value)
    except TypeError:  # lone surrogates, integers beyond 64 bits, keys that are not texts: slower, but exact
        return json.dumps(_storable_parts(value), ensure_ascii=False, allow_nan=False).encode()
    return orjson.dumps(_storable_parts(value)) if b"\\u0000" in raw else raw


def _storable_parts(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(key) if isinstance(key, str) else key: _storable_parts(item) for key, item in value.items()}
    return [_storable_parts(item) for item in value] if isinstance(value, list | tuple) else value
