"""Estimates the memory of a media object that waits to be encoded.

Used by the media queue, whose limit is in bytes. Receives the attributes of any media object and returns a number of
bytes. Runs in the caller's thread, so the size of a long list is estimated from samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: The size of all other values: a Python object, and its slot in the container.
_OBJECT_BYTES = 64
_SAMPLES = 128
_MAX_DEPTH = 20
_OURS = "stepwell."
#: Pillow's bytes per pixel, by mode; three channels take as much as four.
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}


def held_bytes(value: Any, depth: int = 0) -> int:
    """The size of arrays, Pillow images, bytes, strings, and of containers and objects that hold them."""
    if isinstance(value, bytes | str):
        return _OBJECT_BYTES + len(value)
    if isinstance(size := getattr(value, "nbytes", None), int):  # arrays, tensors, series
        return _OBJECT_BYTES + size
    if hasattr(value, "getbands"):
        width, height = value.size
        return _OBJECT_BYTES + int(width * height) * _PIXEL_BYTES.get(value.mode, 4)
    if depth == _MAX_DEPTH:
        return _OBJECT_BYTES
    if isinstance(value, Mapping):
        return _of_many(list(value.values()), depth) + _of_many(list(value), depth)
    if isinstance(value, list | tuple):
        return _of_many(value, depth)
    if depth == 0 or hasattr(type(value), "held_bytes") or type(value).__module__.startswith(_OURS):
        return _OBJECT_BYTES + sum(held_bytes(part, depth + 1) for part in getattr(value, "__dict__", {}).values())
    return _OBJECT_BYTES  # the attributes of other objects may lead to whole libraries


def _of_many(items: Sequence[Any], depth: int) -> int:
    stride = -(-len(items) // _SAMPLES) or 1
    samples = items[::stride]
    total = sum(held_bytes(item, depth + 1) for item in samples)
    return _OBJECT_BYTES + total * len(items) // (len(samples) or 1)
