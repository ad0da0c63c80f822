"""Cursors of paged lists: the position after which the next page begins, as text that readers do not interpret.

Stands between the reads and their callers. Receives the values of a position (numbers, texts); returns text, and reads
it back. A cursor comes from a client, so its values are checked by type, and callers check their meaning. Live views
have cursors of their own (`positions.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from stepwell.errors import UsageError


def encode_cursor(position: Iterable[Any]) -> str:
    """Returns the cursor of a position."""
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).decode()


def decode_cursor(cursor: str, types: Sequence[type]) -> list[Any]:
    """Returns the position of a cursor.

    Args:
        types: the type of each value.

    Raises:
        UsageError: the text is no cursor, or its values have other types.
    """
    try:
        position = orjson.loads(base64.urlsafe_b64decode(cursor))
    except ValueError:
        position = None
    if not isinstance(position, list) or [type(value) for value in position] != list(types):
        raise UsageError("invalid cursor", hint="start again without a cursor")
    return position
