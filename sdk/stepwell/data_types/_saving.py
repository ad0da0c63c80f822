"""Encodes Pillow images without blocking the training loop.

Used by `Image`, `Mask` and `Video`, in the encoding thread. Receives a Pillow image and returns the bytes of the file.
Pillow's PNG encoder releases the GIL. Its JPEG, BMP and GIF encoders hold it when they write to memory (9 ms for a JPEG
of 2048×2048, 24 ms for 4096×4096) and release it when they write to a real file.
"""

from __future__ import annotations

import io
import tempfile
import zlib
from typing import Any

#: The last bytes of complete files.
_ENDS = {"jpeg": b"\xff\xd9", "gif": b";"}
#: Modes whose filtered pixels mostly repeat their neighbours, so a search for only such repetitions takes half of the
#: time: 3.4 instead of 6.8 ms for a photograph of 224×224, of the same size. Files of plots grow by some 14 %.
_PHOTO_MODES = {"L", "LA", "RGB", "RGBA"}


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    """Encodes a picture as a file.

    Args:
        picture: a Pillow image.
        kind: "png", "jpg", "jpeg", "bmp" or "gif".
        options: options for Pillow's `save`.

    Raises:
        OSError, ValueError: Pillow cannot write the picture in this format.
    """
    kind = "jpeg" if kind == "jpg" else kind
    if kind == "png":
        if picture.mode == "I":  # 32 bits, which Pillow 13 no longer writes; a PNG has 16
            picture = picture.convert("I;16")
        if picture.mode in _PHOTO_MODES:
            options.setdefault("compress_type", zlib.Z_RLE)
        return _in_memory(picture, kind, options)
    try:
        with tempfile.TemporaryFile(prefix="stepwell-") as file:
            picture.save(file, format=kind, **options)
            file.seek(0)
            data = file.read()
    except OSError:
        data = b""
    # Pillow does not notice a partial write to a full disk. Without room for the file, encoding in memory works, too.
    return data if _is_whole(data, kind) else _in_memory(picture, kind, options)


def _in_memory(picture: Any, kind: str, options: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _is_whole(data: bytes, kind: str) -> bool:
    if kind == "bmp":
        return len(data) > 6 and int.from_bytes(data[2:6], "little") == len(data)
    return bool(data) and data.endswith(_ENDS[kind])
