"""Boxes, masks and class labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fixtures.media import Stored
from stepwell.data_types import Classes, Image, as_media
from stepwell.errors import DataError

RGB = np.zeros((4, 6, 3), np.uint8)
IDS = np.array([[0, 1, 2], [255, 1, 0]])
CORNERS = {"minX": 0.1, "maxX": 0.2, "minY": 0.3, "maxY": 0.4}
MIDDLE = {"middle": [0.5, 0.5], "width": 0.1, "height": 0.2}


def boxes(*data: Any, **more: Any) -> Any:
    return {"predictions": {"box_data": list(data), **more}}


def test_boxes_are_a_json_file(stored: Stored) -> None:
    full = {
        "position": MIDDLE,
        "class_id": 2,
        "scores": {"iou": 0.5, "n": 3},
        "box_caption": "a car",
        "domain": "pixel",
    }
    image = Image(RGB, boxes=boxes({"position": CORNERS, "class_id": 0}, full, class_labels={0: "cat", 2: "car"}))
    encoded = stored.log(image, "val/pictures", 5)
    described = encoded["boxes"]["predictions"]
    assert described["_type"] == "boxes2D"
    assert described["size"] == len(stored.read(described["path"]))
    assert described["path"] == (f"media/metadata/boxes2D/val/pictures_5_{described['sha256'][:20]}.boxes2D.json")
    assert stored.json(described["path"]) == {
        "box_data": [{"position": CORNERS, "class_id": 0}, full],
        "class_labels": {"0": "cat", "2": "car"},
    }


@pytest.mark.parametrize(
    "position",
    [
        CORNERS,
        MIDDLE,
        {"minX": 1, "maxX": 2, "minY": 3, "maxY": 4},
        {key: np.float32(0.5) for key in CORNERS},
        {"middle": np.array([1, 2]), "width": np.int64(3), "height": 4},
        {"middle": (1, 2), "width": 3, "height": 4},
    ],
)
def test_box_positions(stored: Stored, position: Any) -> None:
    encoded = stored.log(Image(RGB, boxes=boxes({"position": position})))
    [box] = stored.json(encoded["boxes"]["predictions"]["path"])["box_data"]
    assert {key: np.asarray(value).tolist() for key, value in position.items()} == box["position"]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"b": {}}, "need a list under 'box_data'"),
        ({"b": {"box_data": {"position": CORNERS}}}, "need a list under 'box_data'"),
        ({"b": [1]}, "need a list under 'box_data'"),
        ([{"box_data": []}], "must be dicts with names as keys"),
        ({1: {"box_data": []}}, "must be dicts with names as keys"),
        (boxes([1, 2, 3, 4]), "a box must be a dict"),
        (boxes({}), "needs a valid position"),
        (boxes({"position": [1, 2, 3, 4]}), "needs a valid position"),
        (boxes({"position": {"minX": 1, "maxX": 2, "minY": 3}}), "needs a valid position"),
        (boxes({"position": CORNERS | {"minX": "1"}}), "needs a valid position"),
        (boxes({"position": MIDDLE | {"middle": [1]}}), "needs a valid position"),
        (boxes({"position": {"middle": [1, 2], "width": 3}}), "needs a valid position"),
        (boxes({"position": CORNERS, "class_id": "cat"}), "class_id of a box must be an integer"),
        (boxes({"position": CORNERS, "class_id": 1.5}), "class_id of a box must be an integer"),
        (boxes({"position": CORNERS, "scores": [0.5]}), "scores of a box must be a dict of numbers"),
        (boxes({"position": CORNERS, "scores": {"a": "b"}}), "scores of a box must be a dict of numbers"),
        (boxes({"position": CORNERS, "box_caption": 5}), "box_caption of a box must be a string"),
        (boxes({"position": CORNERS, "domain": 5}), "domain of a box must be a string"),
        (boxes(class_labels={"0": "cat"}), "class_labels must be a dict from integers to names"),
        (boxes(class_labels=["cat"]), "class_labels must be a dict from integers to names"),
    ],
)
def test_invalid_boxes_are_refused(wrong: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text):
        Image(RGB, boxes=wrong)


@pytest.mark.parametrize(
    "ids",
    [
        pytest.param(IDS, id="ints"),
        pytest.param(IDS.astype(np.uint8), id="uint8"),
        pytest.param(IDS.astype(float), id="whole floats"),
        pytest.param(IDS.tolist(), id="lists"),
    ],
)
def test_mask_is_a_png_of_classes(stored: Stored, ids: Any) -> None:
    encoded = stored.log(Image(RGB, masks={"truth": {"mask_data": ids}}), "m", 0)
    described = encoded["masks"]["truth"]
    assert (described["_type"], described["size"]) == ("mask", len(stored.read(described["path"])))
    assert described["path"] == f"media/images/mask/m_0_{described['sha256'][:20]}.mask.png"
    picture = PIL.Image.open(stored.file(described["path"]))
    assert (picture.mode, picture.format) == ("L", "PNG")
    np.testing.assert_array_equal(np.asarray(picture), IDS)


def test_mask_from_file(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    PIL.Image.fromarray(IDS.astype(np.uint8)).save(path)
    encoded = stored.log(Image(RGB, masks={"truth": {"path": str(path), "class_labels": {1: "road"}}}))
    assert stored.read(encoded["masks"]["truth"]["path"]) == path.read_bytes()


def test_mask_may_be_changed_after_log(stored: Stored) -> None:
    ids = IDS.astype(np.uint8)
    image = Image(RGB, masks={"truth": {"mask_data": ids}})
    ids[:] = 9
    encoded = stored.log(image)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(stored.file(encoded["masks"]["truth"]["path"]))), IDS)


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"mask_data": [1, 2]}, "2-dimensional"),
        ({"mask_data": np.zeros((1, 2, 3))}, "2-dimensional"),
        ({"mask_data": [["a"]]}, "2-dimensional array of class ids"),
        ({"mask_data": [[256]]}, "integers from 0 to 255"),
        ({"mask_data": [[-1]]}, "integers from 0 to 255"),
        ({"mask_data": [[0.5]]}, "integers from 0 to 255"),
        ({}, "either 'mask_data' or 'path'"),
        ({"mask_data": IDS, "path": "x"}, "either 'mask_data' or 'path'"),
        ({"path": 5}, "must be a string or a path object"),
        ({"path": "/no/such/mask.png"}, "cannot be read"),
        ({"mask_data": IDS, "class_labels": {0: 1}}, "class_labels must be"),
        (IDS, "either 'mask_data' or 'path'"),
    ],
)
def test_invalid_masks_are_refused(wrong: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text):
        Image(RGB, masks={"truth": wrong})


def test_class_names_are_in_the_config() -> None:
    """The row "class labels": type, key and value under the image's key and the name of the boxes or the mask."""
    image = Image(
        RGB,
        boxes=boxes({"position": CORNERS, "class_id": 7}, class_labels={0: "cat"}),
        masks={"truth": {"mask_data": IDS, "class_labels": {1: "road"}}},
    )
    box_key, mask_key = "val/img_wandb_delimeter_predictions", "val/img_wandb_delimeter_truth"
    assert image.config_entries("val/img") == {
        "bounding_box/class_labels": {
            box_key: {"type": "bounding_box/class_labels", "key": box_key, "value": {"0": "cat", "7": "class_7"}}
        },
        "mask/class_labels": {
            mask_key: {
                "type": "mask/class_labels",
                "key": mask_key,
                "value": {"1": "road", "0": "class_0", "2": "class_2", "255": "class_255"},
            }
        },
    }
    assert Image(RGB).config_entries("val/img") == {}


@pytest.mark.parametrize("classes", [[{"id": 7, "name": "dog"}], Classes([{"id": 7, "name": "dog"}])])
def test_image_classes_are_the_default_labels(classes: Any) -> None:
    image = Image(RGB, boxes=boxes({"position": CORNERS, "class_id": 7}), classes=classes)
    [entry] = image.config_entries("k")["bounding_box/class_labels"].values()
    assert entry["value"] == {"7": "dog"}


@pytest.mark.parametrize("classes", [[{"id": "7", "name": "dog"}], [{"id": 7}], ["dog"]])
def test_classes_need_an_id_and_a_name(classes: Any) -> None:
    with pytest.raises(DataError, match="integer id and a name"):
        Image(RGB, classes=classes)


def test_lists_have_null_for_missing_boxes_and_masks(stored: Stored) -> None:
    first = Image(RGB, boxes=boxes({"position": CORNERS, "class_id": 1}))
    second = Image(RGB + 1)
    third = Image(RGB + 2, masks={"truth": {"mask_data": IDS}})
    encoded = stored.log([first, second, third], "k")
    assert [entry and set(entry) for entry in encoded["all_boxes"]] == [{"predictions"}, None, None]
    assert [entry and set(entry) for entry in encoded["all_masks"]] == [None, None, {"truth"}]
    paths = {file["path"] for file in encoded["files"]}
    assert paths == set(stored.sink.paths)
    assert len(paths) == 5
    media = as_media([first, second, third])
    assert media is not None
    assert set(media.config_entries("k")) == {"bounding_box/class_labels", "mask/class_labels"}
