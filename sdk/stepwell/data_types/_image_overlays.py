"""Overlays of a picture: boxes and masks, and their class labels.

Handles the arguments `boxes`, `masks` and `classes` of `Image`. They are validated and copied at once; `store` makes
one file for each overlay.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from stepwell.data_types._files import FileRef, FileSink, store
from stepwell.data_types._libraries import library
from stepwell.data_types._saving import saved
from stepwell.data_types._sources import Source
from stepwell.errors import DataError
from stepwell.values.convert import as_array, described, jsonable
from stepwell.values.text import dump

_CORNERS = ("minX", "maxX", "minY", "maxY")
#: Part of the format: W&B's pages split keys of class labels at this text.
_DELIMITER = "_wandb_delimeter_"

Labels = dict[int, str]


class Classes:
    """Class labels for those boxes and masks of a picture that have no `class_labels` of their own.

    Args:
        class_set: `[{"id": 0, "name": "cat"}, …]`.

    Raises:
        DataError: an entry has no integer `id` or no `name`.
    """

    def __init__(self, class_set: Iterable[Mapping[str, Any]]) -> None:
        self.labels: Labels = {}
        for entry in class_set:
            if not isinstance(entry, Mapping) or not _is_int(entry.get("id")) or not isinstance(entry.get("name"), str):
                raise DataError("a class needs an integer id and a name", detail=described(entry))
            self.labels[int(entry["id"])] = entry["name"]


class Boxes:
    """One set of boxes over a picture, an entry of `Image(boxes={"name": …})`."""

    folder = "metadata/boxes2D"
    type = "boxes2D"
    config_type = "bounding_box/class_labels"

    def __init__(self, value: Mapping[str, Any], classes: Labels) -> None:
        boxes = value.get("box_data") if isinstance(value, Mapping) else None
        if not isinstance(boxes, list | tuple):
            raise DataError(
                "boxes need a list under 'box_data'",
                detail=described(value),
                hint='boxes={"name": {"box_data": [...]}}',
            )
        self.boxes = [_checked_box(box) for box in boxes]
        self.labels = _labels(value, classes, {int(box["class_id"]) for box in self.boxes if "class_id" in box})

    def store(self, key: str, step: int | str, sink: FileSink) -> FileRef:
        labels = {str(number): name for number, name in self.labels.items()}
        data = dump({"box_data": self.boxes, "class_labels": labels})
        return store(sink, self.folder, key, step, ".boxes2D.json", data)


class Mask:
    """One mask over a picture, an entry of `Image(masks={"name": …})`: a class, 0 to 255, for each pixel."""

    folder = "images/mask"
    type = "mask"
    config_type = "mask/class_labels"

    def __init__(self, value: Mapping[str, Any], classes: Labels) -> None:
        if not isinstance(value, Mapping) or ("mask_data" in value) == ("path" in value):
            raise DataError(
                "a mask needs either 'mask_data' or 'path'",
                detail=described(value),
                hint='masks={"name": {"mask_data": ids, "class_labels": {0: "cat"}}}',
            )
        self._source: Source | None = None
        present: set[int] = set()
        if "path" in value:
            if not isinstance(value["path"], str | os.PathLike):
                raise DataError(
                    "the 'path' of a mask must be a string or a path object", detail=described(value["path"])
                )
            self._source = Source.of_path(value["path"])
        else:
            self.pixels = _checked_mask(value["mask_data"])
            present = set(np.flatnonzero(np.bincount(self.pixels.reshape(-1), minlength=1)).tolist())
        self.labels = _labels(value, classes, present)

    def store(self, key: str, step: int | str, sink: FileSink) -> FileRef:
        if self._source is not None:
            data: Any = self._source.data
        else:
            data = saved(library("PIL.Image", "a mask").fromarray(self.pixels), "png")
        return store(sink, self.folder, key, step, ".mask.png", data)


def overlays(kind: type[Boxes] | type[Mask], values: Any, classes: Labels) -> dict[str, Any]:
    """Checks boxes or masks; returns them by name.

    Raises:
        DataError: `values` is malformed.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise DataError("boxes and masks must be dicts with names as keys", detail=described(values))
    return {name: value if isinstance(value, kind) else kind(value, classes) for name, value in values.items()}


def label_entries(key: str, *groups: Mapping[str, Boxes | Mask]) -> dict[str, Any]:
    """The entries of the run's internal config (`_wandb`) with the class labels of an image logged under `key`."""
    entries: dict[str, Any] = {}
    for group in groups:
        for name, overlay in group.items():
            full = f"{key}{_DELIMITER}{name}"
            labels = {str(number): label for number, label in overlay.labels.items()}
            entry = {"type": overlay.config_type, "key": full, "value": labels}
            entries.setdefault(overlay.config_type, {})[full] = entry
    return entries


def checked_classes(classes: Any) -> Labels:
    if classes is None:
        return {}
    return (classes if isinstance(classes, Classes) else Classes(classes)).labels


def _labels(value: Mapping[str, Any], classes: Labels, present: set[int]) -> Labels:
    """Names for all classes: the given ones, else those of the picture, else class_<id>."""
    given = value.get("class_labels")
    if given is None:
        given = classes
    if not isinstance(given, Mapping) or not all(_is_int(key) and isinstance(name, str) for key, name in given.items()):
        raise DataError("class_labels must be a dict from integers to names", detail=described(given))
    labels = {int(key): name for key, name in given.items()}
    return labels | {number: f"class_{number}" for number in sorted(present) if number not in labels}


def _checked_box(box: Any) -> dict[str, Any]:
    """Checks a box; returns a copy in plain values.

    Raises:
        DataError: a part of the box is malformed.
    """
    if not isinstance(box, Mapping):
        raise DataError("a box must be a dict", detail=described(box))
    position = box.get("position")
    if not isinstance(position, Mapping) or not (_by_corners(position) or _by_middle(position)):
        raise DataError(
            "a box needs a valid position",
            detail=described(position),
            hint="position: minX, maxX, minY and maxY; or middle (two numbers), width and height",
        )
    checks = {
        "class_id": (_is_int, "an integer"),
        "box_caption": (lambda item: isinstance(item, str), "a string"),
        "domain": (lambda item: isinstance(item, str), "a string, such as 'pixel'"),
        "scores": (
            lambda item: isinstance(item, Mapping) and all(map(_is_number, item.values())),
            "a dict of numbers",
        ),
    }
    for name, (check, wanted) in checks.items():
        if box.get(name) is not None and not check(box[name]):
            raise DataError(f"the {name} of a box must be {wanted}", detail=described(box[name]))
    plain: dict[str, Any] = jsonable({name: item for name, item in box.items() if item is not None})
    return plain


def _by_corners(position: Mapping[str, Any]) -> bool:
    return all(_is_number(position.get(name)) for name in _CORNERS)


def _by_middle(position: Mapping[str, Any]) -> bool:
    middle = position.get("middle")
    return (
        isinstance(middle, list | tuple | np.ndarray)
        and len(middle) == 2
        and all(map(_is_number, [*middle, position.get("width"), position.get("height")]))
    )


def _checked_mask(data: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    array = as_array(data)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "biuf":
        raise DataError(
            "mask_data must be a 2-dimensional array of class ids",
            detail=f"{array.ndim} dimensions, type {array.dtype}",
        )
    ids = array.astype(np.uint8)
    if not np.array_equal(ids, array):
        raise DataError(
            "mask_data must hold integers from 0 to 255", detail=f"the values range from {array.min()} to {array.max()}"
        )
    return ids


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
