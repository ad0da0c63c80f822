"""Videos: arrays of frames, which are encoded later, and files, which are kept unchanged."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media, captions_of, checked_caption
from stepwell.data_types._pixels import Pixels, tiled, to_uint8
from stepwell.data_types._saving import saved
from stepwell.data_types._sources import Source, checked_format
from stepwell.errors import DataError
from stepwell.values.convert import as_array

log = logging.getLogger("stepwell")

_CODECS = {"mp4": "libx264", "webm": "libvpx-vp9", "ogg": "libvpx"}
_FORMATS = ("gif", *_CODECS)
_DEFAULT_FPS = 4
#: The first bytes of files, for file objects without a name: offset, bytes, format.
_BEGINNINGS = ((0, b"GIF8", "gif"), (4, b"ftyp", "mp4"), (0, b"\x1a\x45\xdf\xa3", "webm"), (0, b"OggS", "ogg"))


class Video(Media):
    """A video.

    Args:
        data_or_path: an array or tensor of bytes T×C×H×W, or B×T×C×H×W, whose videos are tiled to one; C is 1, 3 or 4
            (alpha is dropped); or a path, or a file object.
        caption: a text shown with it.
        fps: frames per second of an array; default 4.
        format: "gif" (default), "mp4", "webm" or "ogg". For a file object it takes precedence over its name and its
            first bytes; a path keeps its own.

    Numbers other than bytes are scaled as in `Image`. A gif has 256 colours per frame; consecutive equal frames are
    stored once, with a longer duration. The size of an mp4 must be even, so a row or column may be doubled.

    Raises:
        DataError: the array has another shape, there is no such file, or the format is unknown.
    """

    folder = "videos"

    def __init__(
        self, data_or_path: Any, caption: Any = None, fps: float | None = None, format: str | None = None
    ) -> None:
        self.caption = checked_caption(caption)
        self._source = Source.of(data_or_path)
        if self._source is None:
            self.format = checked_format(format or "gif", _FORMATS, "a video")
            self._frames = _frames_of(data_or_path)
            self._fps = _checked_fps(_DEFAULT_FPS if fps is None else fps)
            return
        if fps is not None:
            log.warning("an encoded video keeps its frame rate; fps=%s has no effect", fps)
        if isinstance(data_or_path, str | os.PathLike):
            named = self._source.suffix or _sniffed(self._source) or ""
        else:
            named = format or self._source.suffix or _sniffed(self._source) or "gif"
        self.format = checked_format(named, _FORMATS, "a video")

    @classmethod
    def batch_json(cls, items: Sequence[Video], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"_type": "videos", "videos": list(encoded), "captions": captions_of(items) or False}

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        with self._file() as data:
            ref = store(sink, self.folder, key, step, f".{self.format}", data)
        encoded: dict[str, Any] = {"_type": "video-file", **ref.as_json()}
        if self._source is None:
            encoded |= {"width": self._frames.shape[2], "height": self._frames.shape[1]}
        if self.caption is not None:
            encoded["caption"] = self.caption
        return encoded

    @contextmanager
    def _file(self) -> Iterator[bytes | Path]:
        if self._source is not None:
            yield self._source.data
        elif self.format == "gif":
            yield _gif(self._frames, self._fps)
        else:
            self._frames = _evened(self._frames) if self.format == "mp4" else self._frames
            with tempfile.TemporaryDirectory(prefix="stepwell-") as directory:
                path = Path(directory, f"video.{self.format}")
                _encode(self._frames, self._fps, path, self.format)
                yield path


def _frames_of(data: Any) -> Pixels:
    """Converts an array to a copy T×H×W×3."""
    given = as_array(data)
    array = given[None] if given.ndim == 4 else given
    if array.ndim != 5 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise DataError(
            "an array of this shape cannot be a video",
            detail=" × ".join(map(str, given.shape)),
            hint="time × channels × height × width, with 1, 3 or 4 channels, and optionally a leading batch dimension",
        )
    array = np.moveaxis(array, 2, -1)[..., :3]
    if array.dtype != np.uint8:
        array = to_uint8(array)
    if array.shape[-1] == 1:
        array = np.repeat(array, 3, axis=-1)
    padded = 1 << (len(array) - 1).bit_length()  # to a power of two, as in W&B's client
    columns = padded // (1 << (padded.bit_length() - 1) // 2)
    return np.array(array[0]) if len(array) == 1 else _filled(tiled(array, columns), array.shape[2], padded // columns)


def _filled(frames: Pixels, height: int, rows: int) -> Pixels:
    """Pads a batch with black videos."""
    lacking = rows * height - frames.shape[1]
    return np.pad(frames, ((0, 0), (0, lacking), (0, 0), (0, 0)))


def _checked_fps(fps: Any) -> Fraction:
    try:
        number = Fraction(float(fps)).limit_denominator(1001)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("fps must be a number", detail=f"{fps!r}") from error
    if not 0 < number <= 1000:
        raise DataError("fps must be above 0 and at most 1000", detail=f"{fps!r}")
    return number


def _sniffed(source: Source) -> str | None:
    head = source.read()[:16]
    return next((kind for place, start, kind in _BEGINNINGS if head[place : place + len(start)] == start), None)


def _gif(frames: Pixels, fps: Fraction) -> bytes:
    pillow = library("PIL.Image", "a gif")
    first, *rest = (pillow.fromarray(frame) for frame in frames)
    return saved(first, "gif", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _evened(frames: Pixels) -> Pixels:
    """Pads frames to an even width and height, which H.264 for browsers needs, since it halves the resolution of
    colours."""
    return np.pad(frames, ((0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)), mode="edge")


def _encode(frames: Pixels, fps: Fraction, path: Path, kind: str) -> None:
    av = library("av", f"a video in {kind}")
    options = {"movflags": "+faststart"} if kind == "mp4" else {}  # pages can play it during the download
    with av.open(str(path), "w", format=kind, options=options) as container:
        stream = container.add_stream(_CODECS[kind], rate=fps)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
