"""Encoded pictures are complete, and equal to Pillow's in-memory encoding, wherever they are written."""

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
    """A picture of whose file the system silently writes only `share`."""

    mode = "RGB"

    def __init__(self, share: float) -> None:
        self.share = share

    def save(self, file: Any, format: str, **options: Any) -> None:
        data = in_memory(PHOTO, format)
        file.write(data if isinstance(file, io.BytesIO) else data[: int(len(data) * self.share)])


@pytest.mark.parametrize("kind", FORMATS)
def test_file_encoding_equals_memory_encoding(kind: str) -> None:
    assert saved(PHOTO, kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("kind", FORMATS)
def test_encoding_works_without_a_temporary_directory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/directory")
    assert saved(PHOTO, kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_short_write_falls_back_to_memory(kind: str, share: float) -> None:
    assert saved(ShortDisk(share), kind) == in_memory(PHOTO, kind)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_is_lossless_and_deterministic(mode: str) -> None:
    picture = PHOTO.convert(mode)
    data = saved(picture, "png")
    again = PIL.Image.open(io.BytesIO(data))
    assert again.mode == mode
    np.testing.assert_array_equal(np.asarray(again.convert("RGBA")), np.asarray(picture.convert("RGBA")))
    assert saved(picture, "png") == data


@pytest.mark.parametrize("mode", ["I", "I;16"])
def test_png_keeps_16_bits(mode: str) -> None:
    numbers = RNG.integers(0, 65536, (20, 30), np.int32)
    picture = PIL.Image.fromarray(numbers if mode == "I" else numbers.astype(np.uint16))
    assert picture.mode == mode
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(saved(picture, "png")))), numbers)


def test_png_keeps_transparency_and_profile() -> None:
    picture = PHOTO.copy()
    picture.info |= {"transparency": (1, 2, 3), "icc_profile": b"profile"}
    info = PIL.Image.open(io.BytesIO(saved(picture, "png"))).info
    assert (info["transparency"], info["icc_profile"]) == ((1, 2, 3), b"profile")


def test_photograph_uses_run_length_coding() -> None:
    noisy = np.asarray(PHOTO, np.int16) // 2 + RNG.integers(0, 64, (320, 240, 3))
    photo = PIL.Image.fromarray(noisy.astype(np.uint8))
    ours, usual = saved(photo, "png"), in_memory(photo, "png")
    assert ours != usual  # Pillow has applied the option
    assert len(ours) < len(usual) * 1.02


def test_unsupported_picture_is_an_error() -> None:
    with pytest.raises(OSError, match="RGBA"):
        saved(PHOTO.convert("RGBA"), "jpg")
