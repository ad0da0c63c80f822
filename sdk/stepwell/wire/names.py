"""Packs the keys of a block into bytes: their lengths, then their UTF-8. Pure; `frame.py` has the frame's layout.

The SDK packs the keys of a key set once; the server unpacks them once and caches the result by these bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from stepwell.errors import DataError, FrameCorruptError
from stepwell.wire.limits import MAX_KEY_BYTES
from stepwell.wire.rules import is_key


def pack_names(keys: Sequence[str]) -> bytes:
    """Packs keys into the `names` part of a block: lengths, then UTF-8, padded to 8 bytes.

    Raises:
        DataError: a key is empty, holds a NUL or is longer than `MAX_KEY_BYTES`.
    """
    encoded = [key.encode("utf-8", "replace") for key in keys]
    for key, raw in zip(keys, encoded, strict=True):
        if not is_key(raw):
            raise DataError(
                "a key cannot be stored",
                detail=f"{key[:60]!r}, {len(raw)} bytes",
                hint=f"keys have 1 to {MAX_KEY_BYTES} bytes of UTF-8 and no NUL character",
            )
    blob = struct.pack(f"<{len(keys)}H", *map(len, encoded)) + b"".join(encoded)
    return blob + bytes(-len(blob) % 8)


def unpack_names(names: bytes, count: int) -> list[str]:
    """Unpacks the keys of a block's `names` part.

    Raises:
        FrameCorruptError: lengths that do not fit, text that is not UTF-8, a repeated or invalid key (see
            `rules.is_key`), padding that is not zero.
    """
    if len(names) < 2 * count:
        raise FrameCorruptError("the names of a block are cut off", detail=f"{len(names)} bytes for {count} keys")
    lengths = struct.unpack_from(f"<{count}H", names)
    end = 2 * count + sum(lengths)
    if end > len(names) or len(names) - end >= 8 or any(names[end:]):
        raise FrameCorruptError(
            "the names of a block do not fill their space", detail=f"{end} bytes claimed, {len(names)} found"
        )
    raw: list[bytes] = []
    position = 2 * count
    for length in lengths:
        raw.append(names[position : position + length])
        position += length
    try:
        keys = [key.decode() for key in raw]
    except UnicodeDecodeError as error:
        raise FrameCorruptError("a key is not UTF-8", detail=str(error)) from error
    if len(set(keys)) != count or not all(map(is_key, raw)):
        raise FrameCorruptError("a block key is empty, too long, repeated or holds a NUL")
    return keys
