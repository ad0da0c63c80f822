"""3D objects."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.media import Stored
from stepwell.data_types import Object3D
from stepwell.errors import DataError

RNG = np.random.default_rng(1)
XYZ = RNG.random((50, 3))
CLASSES = np.column_stack([XYZ, RNG.integers(1, 15, 50)])
COLOURS = np.column_stack([XYZ, RNG.integers(0, 256, (50, 3))])
BOX = {"corners": RNG.random((8, 3)).tolist(), "label": "car", "color": [1, 2, 3], "score": 0.5}
VECTOR = {"start": [0, 0, 0], "end": [1, 0.5, 0]}
MESH = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"


@pytest.mark.parametrize("points", [XYZ, CLASSES, COLOURS], ids=["N×3", "N×4", "N×6"])
@pytest.mark.parametrize("make", [Object3D, Object3D.from_numpy], ids=["constructor", "from_numpy"])
def test_points_round_trip(stored: Stored, points: Any, make: Any) -> None:
    encoded = stored.log(make(points), "cloud", 2)
    np.testing.assert_array_equal(stored.json(encoded["path"]), points)
    assert encoded == {
        "_type": "object3D-file",
        "sha256": encoded["sha256"],
        "size": len(stored.read(encoded["path"])),
        "path": f"media/object3D/cloud_2_{encoded['sha256'][:20]}.pts.json",
    }


def test_points_may_be_changed_after_log(stored: Stored) -> None:
    points = XYZ.copy()
    first, second = Object3D(points, caption="a cloud"), Object3D.from_point_cloud(points)
    points[:] = 0
    encoded = stored.log(first)
    assert encoded["caption"] == "a cloud"
    np.testing.assert_array_equal(stored.json(encoded["path"]), XYZ)
    np.testing.assert_array_equal(stored.json(stored.log(second)["path"])["points"], XYZ)


@pytest.mark.parametrize(
    "make", [Object3D, lambda scene: Object3D.from_point_cloud(scene["points"], scene["boxes"], scene["vectors"])]
)
def test_scene_has_points_boxes_and_vectors(stored: Stored, make: Any) -> None:
    scene = {"type": "lidar/beta", "points": COLOURS, "boxes": [BOX], "vectors": [VECTOR]}
    encoded = stored.log(make(scene))
    assert stored.json(encoded["path"]) == {**scene, "points": COLOURS.tolist()}
    assert encoded["path"].endswith(".pts.json")


def test_scene_parts_are_optional(stored: Stored) -> None:
    box = {"corners": np.zeros((8, 3)), "label": "x", "color": np.array([1, 2, 3])}
    encoded = stored.log(Object3D({"type": "lidar/beta", "boxes": np.array([box])}))
    assert stored.json(encoded["path"]) == {
        "type": "lidar/beta",
        "points": [],
        "boxes": [{"corners": [[0.0] * 3] * 8, "label": "x", "color": [1, 2, 3]}],
        "vectors": [],
    }


@pytest.mark.parametrize("kind", ["obj", "gltf", "glb", "babylon", "stl", "pts.json"])
@pytest.mark.parametrize("how", ["str", "Path", "open", "from_file", "BytesIO"])
def test_files_are_stored_unchanged(stored: Stored, tmp_path: Path, kind: str, how: str) -> None:
    path = tmp_path / f"Shape.{kind.upper() if how == 'Path' else kind}"
    path.write_bytes(MESH)
    if how == "open":
        with path.open() as file:
            shape = Object3D(file)
    elif how == "BytesIO":
        shape = Object3D(io.BytesIO(MESH), file_type=kind)
    else:
        shape = {"str": Object3D, "Path": Object3D, "from_file": Object3D.from_file}[how](
            str(path) if how == "str" else path
        )
    path.unlink()
    encoded = stored.log(shape)
    assert stored.read(encoded["path"]) == MESH
    assert encoded["path"].endswith(f"{encoded['sha256'][:20]}.{kind}")


def test_text_mode_file_is_stored_as_bytes(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "shape.glb"
    path.write_bytes(b"glTF\xff\xfe\r\n")
    with path.open() as file:
        assert stored.read(stored.log(Object3D(file))["path"]) == b"glTF\xff\xfe\r\n"


def test_list_of_open_files_is_one_object(stored: Stored, tmp_path: Path) -> None:
    """As in the documentation: files that are open while they are logged."""
    for name in ("a.obj", "b.obj"):
        (tmp_path / name).write_bytes(MESH + name.encode())
    with (tmp_path / "a.obj").open() as first, (tmp_path / "b.obj").open() as second:
        encoded = stored.log([Object3D(first), Object3D(second)], "shapes", 1)
    assert (encoded["_type"], encoded["count"]) == ("object3D", 2)
    assert [f"media/object3D/{name}" for name in encoded["filenames"]] == [one["path"] for one in encoded["objects"]]
    assert [one["path"] for one in encoded["files"]] == [one["path"] for one in encoded["objects"]]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Object3D(np.zeros((4, 5))), "cannot be a point cloud .4 × 5."),
        (lambda: Object3D(np.zeros(3)), "cannot be a point cloud"),
        (lambda: Object3D(np.full((1, 3), np.nan)), "finite numbers"),
        (lambda: Object3D(np.array([["a", "b", "c"]])), "finite numbers"),
        (lambda: Object3D(np.array([[0, 0, 0, 15]])), "from 1 to 14"),
        (lambda: Object3D(np.array([[0, 0, 0, 1.5]])), "from 1 to 14"),
        (lambda: Object3D(np.array([[0, 0, 0, 256, 0, 0]])), "from 0 to 255"),
        (lambda: Object3D({"type": "other"}), "must have the type 'lidar/beta'"),
        (lambda: Object3D.from_point_cloud(XYZ, [{"label": "x"}]), "eight corners"),
        (lambda: Object3D.from_point_cloud(XYZ, [{**BOX, "corners": [[0, 0, 0]] * 7}]), "eight corners"),
        (lambda: Object3D.from_point_cloud(XYZ, [{**BOX, "label": 5}]), "label of a box must be a string"),
        (lambda: Object3D.from_point_cloud(XYZ, [{**BOX, "color": "red"}]), "color of a box must be three numbers"),
        (lambda: Object3D.from_point_cloud(XYZ, [{**BOX, "score": "high"}]), "score of a box must be a number"),
        (lambda: Object3D.from_point_cloud(XYZ, [], [{"start": [0, 0]}]), "a start and an end"),
        (lambda: Object3D({"type": "lidar/beta", "boxes": 5}), "boxes of a scene must be a list"),
        (lambda: Object3D(io.BytesIO(MESH)), "the format of a 3D object is not given"),
        (lambda: Object3D(io.BytesIO(MESH), file_type="ply"), "cannot have the format 'ply'"),
        (lambda: Object3D(__file__), "cannot have the format '.py'"),
        (lambda: Object3D("/no/such/file.obj"), "cannot be read"),
        (lambda: Object3D("http://example.com/a.obj"), "on other hosts"),
        (lambda: Object3D.from_file(XYZ), "a path or a file object"),
    ],
)
def test_invalid_object3d_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)
