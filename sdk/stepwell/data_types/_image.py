"""Pictures: arrays, tensors, Pillow images, figures and files.

The constructor takes a private copy in the caller's thread (half a millisecond for 224×224); `encode` compresses.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.data_types._figures import drawn, figure_of, is_figure
from stepwell.data_types._files import FileRef, FileSink, store
from stepwell.data_types._image_overlays import Boxes, Mask, checked_classes, label_entries, overlays
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media, captions_of, checked_caption
from stepwell.data_types._pixels import pixels_of
from stepwell.data_types._saving import saved
from stepwell.data_types._sources import Source, checked_format
from stepwell.errors import DataError
from stepwell.values.convert import described

log = logging.getLogger("stepwell")

#: The kinds of new files, and the Pillow modes that they support; other modes become RGB.
_MODES = {
    "png": {"1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA"},
    "jpg": {"L", "RGB", "CMYK"},
    "jpeg": {"L", "RGB", "CMYK"},
    "bmp": {"1", "L", "P", "RGB"},
}
#: The modes of an array by its number of channels; for other modes it is converted.
_EIGHT_BIT_MODES = {1: {"L"}, 3: {"RGB", "YCbCr", "LAB", "HSV"}, 4: {"RGBA", "CMYK", "RGBX"}}


class Image(Media):
    """A picture.

    Args:
        data_or_path: an array H×W or H×W×C (C of 1, 3 or 4: grey, RGB, RGBA), a torch tensor C×H×W or N×C×H×W (a grid),
            a Pillow image, a matplotlib figure or axes, a path, a file object, or another `Image`.
        mode: the Pillow mode of an array's channels ("L", "RGB", "YCbCr"). Pillow images are converted to it; figures
            and files keep theirs.
        caption: a text shown with it.
        grouping: an integer that is kept in the row.
        classes: names of classes, `[{"id": 0, "name": "cat"}, …]`, for boxes and masks without names of their own.
        boxes: `{"name": {"box_data": [{"position": …, "class_id": …}, …], "class_labels": {0: "cat"}}}`.
        masks: `{"name": {"mask_data": class ids H×W, "class_labels": {0: "cat"}}}`, or "path" instead of "mask_data".
        file_type: "png" (default), "jpg", "jpeg" or "bmp". A path keeps its own.
        normalize: whether to treat numbers of at most 1 as fractions of white, and to stretch an array with negative
            numbers from black to white; otherwise numbers are clipped to 0 and 255.

    Attributes:
        width, height: the size in pixels.
        format: the kind of file, "png" and so on.
        caption: the caption.

    Raises:
        DataError: the data cannot be converted to a picture, or boxes, masks or classes are malformed.
    """

    folder = "images"
    MAX_ITEMS = 108

    def __init__(
        self,
        data_or_path: Any,
        mode: str | None = None,
        caption: Any = None,
        grouping: int | None = None,
        classes: Any = None,
        boxes: Mapping[str, Any] | None = None,
        masks: Mapping[str, Any] | None = None,
        file_type: str | None = None,
        normalize: bool = True,
    ) -> None:
        self.caption = checked_caption(caption)
        self._grouping = grouping
        self._source: Source | None = None
        self.format = "png" if file_type is None else checked_format(file_type, _MODES, "a picture")
        self._picture: Any = None
        self._boxes: dict[str, Boxes] = {}
        self._masks: dict[str, Mask] = {}
        if isinstance(data_or_path, Image):
            self._copy(data_or_path, caption, grouping, file_type)
        elif isinstance(data_or_path, str | os.PathLike):
            self._open(Source.of_path(data_or_path))
        else:
            self._picture = _picture_of(data_or_path, mode, normalize)
            self.width, self.height = self._picture.size
        labels = checked_classes(classes)
        self._boxes |= overlays(Boxes, boxes, labels)
        self._masks |= overlays(Mask, masks, labels)

    @property
    def image(self) -> Any:
        """The picture as a Pillow image; a file is decoded now."""
        if self._source is None:
            return self._picture
        picture = library("PIL.Image", "a picture").open(io.BytesIO(self._source.read()))
        picture.load()
        return picture

    def config_entries(self, key: str) -> dict[str, Any]:
        return label_entries(key, self._boxes, self._masks)

    def files_of(self, encoded: dict[str, Any]) -> list[FileRef]:
        parts = [*encoded.get("boxes", {}).values(), *encoded.get("masks", {}).values()]
        return super().files_of(encoded) + [FileRef(part["sha256"], part["size"], part["path"]) for part in parts]

    @classmethod
    def batch_limit(cls) -> int:
        return cls.MAX_ITEMS

    @classmethod
    def batch_json(cls, items: Sequence[Image], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if len({(item.width, item.height) for item in items}) > 1:
            log.warning("the pictures of a list have different sizes; pages may show them distorted")
        batch = {
            "_type": "images/separated",
            "width": items[0].width,
            "height": items[0].height,
            "format": items[0].format,
            "filenames": [item["path"] for item in encoded],
        }
        if (captions := captions_of(items)) is not None:
            batch["captions"] = captions
        for part in ("masks", "boxes"):
            if any(part in item for item in encoded):
                batch[f"all_{part}"] = [item.get(part) for item in encoded]
        return batch

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        data = self._compressed() if self._source is None else self._source.data
        ref = store(sink, self.folder, key, step, f".{self.format}", data)
        encoded: dict[str, Any] = {"_type": "image-file", **ref.as_json(), "format": self.format}
        encoded |= {"width": self.width, "height": self.height}
        if self.caption is not None:
            encoded["caption"] = self.caption
        if self._grouping is not None:
            encoded["grouping"] = self._grouping
        for part, group in (("boxes", self._boxes), ("masks", self._masks)):
            if group:
                encoded[part] = {
                    name: {"_type": overlay.type, **overlay.store(key, step, sink).as_json()}
                    for name, overlay in group.items()
                }
        return encoded

    def _compressed(self) -> bytes:
        picture = self._picture
        if picture.mode not in _MODES[self.format]:
            picture = picture.convert("RGB")
        return saved(picture, self.format)

    def _copy(self, other: Image, caption: Any, grouping: int | None, file_type: str | None) -> None:
        self.width, self.height, self._boxes, self._masks = (
            other.width,
            other.height,
            {**other._boxes},
            {**other._masks},
        )
        if file_type is None:
            self._source, self.format, self._picture = other._source, other.format, other._picture
        else:
            self._picture = other.image
        self.caption = other.caption if caption is None else self.caption
        self._grouping = other._grouping if grouping is None else grouping

    def _open(self, source: Source) -> None:
        """Keeps a file unchanged; reads only its head, for the size."""
        pillow = library("PIL.Image", "a picture")
        data = source.data
        try:
            with pillow.open(io.BytesIO(data) if isinstance(data, bytes) else data) as picture:
                self.width, self.height = picture.size
                kind = str(picture.format or "png").lower()
        except (OSError, ValueError) as error:
            raise DataError(
                "Pillow cannot read the file as a picture",
                detail=str(error)[:200],
                hint="Pillow reads png, jpg, bmp, gif, webp and others",
            ) from error
        self._source = source
        self.format = source.suffix.removeprefix(".") or kind


def _picture_of(data: Any, mode: str | None, normalize: bool) -> Any:
    """A Pillow image that no other code refers to."""
    pillow = library("PIL.Image", "a picture")
    if is_figure(data):
        return drawn(figure_of(data))
    if isinstance(data, pillow.Image):
        return data.convert(mode) if mode is not None and mode != data.mode else data.copy()
    if hasattr(data, "read"):
        try:
            picture = pillow.open(io.BytesIO(Source.of_readable(data).read()))
            picture.load()
        except (OSError, ValueError) as error:
            raise DataError("the content of the file object is not a picture", detail=str(error)[:200]) from error
        return picture
    pixels = pixels_of(data, normalize)
    picture = pillow.fromarray(pixels)
    if mode is None or mode == picture.mode:
        return picture
    try:
        if mode in _EIGHT_BIT_MODES.get(pixels.shape[-1] if pixels.ndim == 3 else 1, ()):
            return pillow.frombytes(mode, picture.size, pixels.tobytes())
        return picture.convert(mode)
    except (ValueError, KeyError) as error:
        raise DataError(f"unknown picture mode {mode!r}", detail=described(error)) from error
