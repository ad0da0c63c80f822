"""3D objects: model files, point clouds, and scenes with boxes and vectors."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._media import Media, checked_caption
from stepwell.data_types._sources import Source, checked_format
from stepwell.errors import DataError
from stepwell.values.convert import as_array, described, jsonable
from stepwell.values.text import dump

_FORMATS = ("obj", "gltf", "glb", "babylon", "stl", "pts.json")
_POINTS = "pts.json"
_SCENE = "lidar/beta"
_CLASSES = 14


class Object3D(Media):
    """A 3D model, a point cloud or a scene.

    Args:
        data_or_path: an array N×3 (x, y, z), N×4 (and a class, 1 to 14) or N×6 (and red, green, blue, 0 to 255); a
            scene, `{"type": "lidar/beta", "points": …, "boxes": …, "vectors": …}`; a path or a file object.
        caption: a text shown with it.
        file_type: the format of a file object without a name: "obj", "gltf", "glb", "babylon", "stl" or "pts.json".

    Raises:
        DataError: the data is malformed, or the file has another format.
    """

    folder = "object3D"

    def __init__(self, data_or_path: Any, caption: Any = None, file_type: str | None = None) -> None:
        self.caption = checked_caption(caption)
        self._source = Source.of(data_or_path)
        if self._source is not None:
            self._suffix = f".{_format_of(data_or_path, self._source, file_type)}"
            return
        self._suffix = f".{_POINTS}"
        if isinstance(data_or_path, Mapping):
            self._content: Any = _scene(data_or_path)
        else:
            self._content = _points(data_or_path)

    @classmethod
    def from_file(cls, data_or_path: Any, file_type: str | None = None) -> Object3D:
        """An object from a path or a file object; see `Object3D`.

        Raises:
            DataError: `data_or_path` is neither a path nor a file object, there is no such file, or the file has
                another format.
        """
        if not isinstance(data_or_path, str | os.PathLike) and not hasattr(data_or_path, "read"):
            raise DataError("from_file takes a path or a file object", detail=type(data_or_path).__name__)
        return cls(data_or_path, file_type=file_type)

    @classmethod
    def from_numpy(cls, data: Any) -> Object3D:
        """A point cloud from an array N×3, N×4 or N×6."""
        return cls(as_array(data))

    @classmethod
    def from_point_cloud(
        cls,
        points: Sequence[Any] | npt.NDArray[Any],
        boxes: Sequence[Mapping[str, Any]] = (),
        vectors: Sequence[Mapping[str, Any]] | None = None,
        point_cloud_type: str = _SCENE,
    ) -> Object3D:
        """A scene of points with boxes and vectors."""
        return cls({"type": point_cloud_type, "points": points, "boxes": boxes, "vectors": vectors or []})

    @classmethod
    def batch_json(cls, items: Sequence[Object3D], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "_type": "object3D",
            "filenames": [one["path"].removeprefix(f"media/{cls.folder}/") for one in encoded],
            "objects": list(encoded),
        }

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        data = self._source.data if self._source is not None else dump(jsonable(_listed(self._content)))
        encoded: dict[str, Any] = {
            "_type": "object3D-file",
            **store(sink, self.folder, key, step, self._suffix, data).as_json(),
        }
        return encoded if self.caption is None else encoded | {"caption": self.caption}


def _format_of(data: Any, source: Source, file_type: str | None) -> str:
    name = os.fspath(data) if isinstance(data, str | os.PathLike) else getattr(data, "name", "")
    if isinstance(name, str) and name.lower().endswith(f".{_POINTS}"):
        return _POINTS
    return checked_format(source.suffix or file_type or "", _FORMATS, "a 3D object")


def _points(data: Any) -> npt.NDArray[Any]:
    """Checks a point cloud; returns a copy as N×3, N×4 or N×6."""
    array = as_array(data)
    if array.ndim != 2 or array.shape[1] not in (3, 4, 6):
        raise DataError(
            "an array of this shape cannot be a point cloud",
            detail=" × ".join(map(str, array.shape)) or described(data),
            hint="points × 3 (x, y, z), × 4 (and a class) or × 6 (and red, green, blue)",
        )
    if array.dtype.kind not in "biuf":
        raise DataError("points must be finite numbers", detail=f"they are of type {array.dtype}")
    if not np.isfinite(array).all():
        raise DataError("points must be finite numbers", detail="some are NaN or infinite")
    if array.shape[1] == 4 and len(array) and not np.isin(array[:, 3], np.arange(1, _CLASSES + 1)).all():
        raise DataError(f"the classes of points must be integers from 1 to {_CLASSES}")
    if array.shape[1] == 6 and len(array) and not ((array[:, 3:] >= 0) & (array[:, 3:] <= 255)).all():
        raise DataError("the colors of points must be numbers from 0 to 255")
    return array.copy()


def _scene(data: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a scene; returns a copy."""
    if data.get("type") != _SCENE:
        raise DataError(f"a scene must have the type {_SCENE!r}", detail=described(data.get("type")))
    scene = {name: jsonable(value) for name, value in data.items() if name not in ("points", "boxes", "vectors")}
    points = data.get("points")
    scene["points"] = _points(points) if points is not None and len(points) else np.zeros((0, 3))
    scene["boxes"] = [_checked_box(box) for box in _sequence(data, "boxes")]
    scene["vectors"] = [_checked_vector(vector) for vector in _sequence(data, "vectors")]
    return scene


def _sequence(data: Mapping[str, Any], name: str) -> list[Any]:
    given = data.get(name)
    if given is None:
        return []
    if not isinstance(given, list | tuple | np.ndarray):
        raise DataError(f"the {name} of a scene must be a list", detail=described(given))
    return list(given)


def _checked_box(box: Any) -> dict[str, Any]:
    if not isinstance(box, Mapping) or not _has_shape(box.get("corners"), (8, 3)):
        raise DataError("a box of a scene needs eight corners of three numbers each", detail=described(box))
    label, color, score = (box.get(name) for name in ("label", "color", "score"))
    if label is not None and not isinstance(label, str):
        raise DataError("the label of a box must be a string", detail=described(label))
    if color is not None and not _has_shape(color, (3,)):
        raise DataError("the color of a box must be three numbers", detail=described(color))
    if score is not None and not _has_shape(score, ()):
        raise DataError("the score of a box must be a number", detail=described(score))
    return _plain(box)


def _checked_vector(vector: Any) -> dict[str, Any]:
    ends = [vector.get(name) for name in ("start", "end")] if isinstance(vector, Mapping) else [None]
    if not all(_has_shape(end, (3,)) for end in ends):
        raise DataError("a vector needs a start and an end of three numbers each", detail=described(vector))
    return _plain(vector)


def _has_shape(value: Any, shape: tuple[int, ...]) -> bool:
    try:
        array = as_array(value)
    except DataError:
        return False
    return array.shape == shape and array.dtype.kind in "iuf"


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = jsonable(value)
    return plain


def _listed(content: Any) -> Any:
    """All points as lists; plain arrays above 32 values would become histograms."""
    if isinstance(content, np.ndarray):
        return content.tolist()
    return {name: _listed(value) for name, value in content.items()} if isinstance(content, dict) else content
