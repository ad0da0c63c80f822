"""Encoded pictures: complete, and the same as Pillow's in memory, wherever they are written."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import numpy as np
import PIL.Image
import pytest

from stepwell.data_types._saving import saved

RNG = np.random.default_rng(3)
PHOTO = PIL.Image.fromarray(RNG.integers(0, 256, (40, 30, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1))
FORMATS = ["jpg", "jpeg", "bmp", "gif"]


def in_memory(picture: Any, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="jpeg" if kind == "jpg" else kind)
    return buffer.getvalue()


class ShortDisk:
    """A picture of which the system takes `share` of the file, and says nothing."""

    mode = "RGB"

    def __init__(self, share: float) -> None:
        self.share = share

    def save(self, file: Any, format: str, **options: Any) -> None:
        data = in_memory(PHOTO, format)
        file.write(data if isinstance(file, io.BytesIO) else data[: int(len(data) * self.share)])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_the_system_gets_the_bytes_that_memory_would(kind: str) -> None:
    assert saved(PHOTO, kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_without_a_directory_for_temporary_files_memory_does(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/directory")
    assert saved(PHOTO, kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_disk_that_takes_a_part_only_costs_nothing(kind: str, share: float) -> None:
    assert saved(ShortDisk(share), kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_a_png_has_every_pixel_in_any_mode_and_is_the_same_each_time(mode: str) -> None:
    picture = PHOTO.convert(mode)
    data = saved(picture, "png")
    again = PIL.Image.open(io.BytesIO(data))
    assert again.mode == mode
    np.testing.assert_array_equal(np.asarray(again.convert("RGBA")), np.asarray(picture.convert("RGBA")))
    assert saved(picture, "png") == data


@pytest.mark.parametrize("mode", ["I", "I;16"])
def test_a_png_has_sixteen_bits_of_large_numbers(mode: str) -> None:
    numbers = RNG.integers(0, 65536, (20, 30), np.int32)
    picture = PIL.Image.fromarray(numbers if mode == "I" else numbers.astype(np.uint16))
    assert picture.mode == mode
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(saved(picture, "png")))), numbers)


def test_a_png_keeps_transparency_and_colour_profile() -> None:
    picture = PHOTO.copy()
    picture.info |= {"transparency": (1, 2, 3), "icc_profile": b"profile"}
    info = PIL.Image.open(io.BytesIO(saved(picture, "png"))).info
    assert (info["transparency"], info["icc_profile"]) == ((1, 2, 3), b"profile")


def test_a_photograph_is_searched_for_runs_only_and_not_larger_for_it() -> None:
    noisy = np.asarray(PHOTO, np.int16) // 2 + RNG.integers(0, 64, (320, 240, 3))
    photo = PIL.Image.fromarray(noisy.astype(np.uint8))
    ours, usual = saved(photo, "png"), in_memory(photo, "png")
    assert ours != usual  # Pillow took the option
    assert len(ours) < len(usual) * 1.02


def test_what_pillow_cannot_write_is_an_error() -> None:
    with pytest.raises(OSError, match="RGBA"):
        saved(PHOTO.convert("RGBA"), "jpg")
