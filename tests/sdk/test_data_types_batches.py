"""Media in general, and lists of media: names of files, one object for a list, the directory."""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fixtures.media import Stored
from stepwell.data_types import DirectorySink, Image

RGB = np.random.default_rng(7).integers(0, 256, (5, 7, 3), np.uint8)


def test_same_object_under_two_keys_is_one_file(stored: Stored, tmp_path: Path) -> None:
    image = Image(RGB)
    first = stored.log(image, "one", 1)
    assert stored.log(image, "two", 2) == first
    other = Stored(tmp_path / "another run").log(image, "two", 2)
    assert other["path"].startswith("media/images/two_2_")


@pytest.mark.parametrize(
    ("key", "cleaned"),
    [
        ("a", "a"),
        ("a/b c/größe", "a/b c/größe"),
        ("/a", "a"),
        ("../../etc/x", "__/__/etc/x"),
        ("./a/.", "_/a/_"),
        ("a//b", "a/b"),
        ("..a/...", "..a/..."),
    ],
)
def test_path_is_derived_from_the_key(stored: Stored, key: str, cleaned: str) -> None:
    path = stored.log(Image(RGB), key, 0)["path"]
    assert re.fullmatch(rf"media/images/{re.escape(cleaned)}_0_[0-9a-f]{{20}}\.png", path)


def test_summary_replaces_the_step_in_paths(stored: Stored) -> None:
    assert "/k_summary_" in Image(RGB).encode("k", "summary", stored.sink)["path"]  # type: ignore[call-overload]  # a dict


def test_list_is_one_object_with_all_files(stored: Stored) -> None:
    images = [Image(RGB), Image(RGB // 2), Image(RGB)]
    encoded = stored.log(images)
    paths = encoded.pop("filenames")
    files = encoded.pop("files")
    assert encoded == {"_type": "images/separated", "count": 3, "width": 7, "height": 5, "format": "png"}
    assert paths[0] == paths[2] != paths[1]  # equal content is one file
    assert {file["path"] for file in files} == set(paths)
    assert all(hashlib.sha256(stored.read(file["path"])).hexdigest() == file["sha256"] for file in files)
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(stored.file(paths[1]))), RGB // 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([None, None], None),
        ([None, "b"], None),
        (["a", None], ["a", None]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_list_has_captions_if_the_first_has_one(stored: Stored, given: list[Any], expected: Any) -> None:
    assert stored.log([Image(RGB, caption=caption) for caption in given]).get("captions") == expected


def test_list_keeps_108_pictures(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    encoded = stored.log([Image(np.full((1, 1), number, np.uint8)) for number in range(110)])
    assert (encoded["count"], len(encoded["filenames"])) == (108, 108)
    assert "only the first 108 of 110 Images" in caplog.text


def test_different_picture_sizes_give_a_warning(stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    encoded = stored.log((Image(RGB), Image(RGB[:2])))
    assert (encoded["width"], encoded["height"], encoded["count"]) == (7, 5, 2)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_pillow_pictures_are_logged_unchanged(stored: Stored) -> None:
    encoded = stored.log([PIL.Image.fromarray(RGB)])
    assert encoded["_type"] == "images/separated"
    assert stored.log(PIL.Image.fromarray(RGB))["_type"] == "image-file"


def test_equal_content_is_stored_once(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "files")
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    first, second = sink.add("a/b", b"abc"), sink.add("c", source)
    assert (first.sha256, first.size) == (second.sha256, second.size) == (hashlib.sha256(b"abc").hexdigest(), 3)
    assert (first.path, second.path) == ("a/b", "c")
    assert [path for path in sink.root.rglob("*") if path.is_file()] == [sink.path_of(first.sha256)]
    assert source.exists()
