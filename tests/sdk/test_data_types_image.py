"""Pictures: accepted values, and pixels read back from the file."""

from __future__ import annotations

import hashlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fixtures.media import Stored
from stepwell.data_types import Image
from stepwell.errors import DataError

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (5, 7), np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
RGBA = RNG.integers(0, 256, (5, 7, 4), np.uint8)


def pixels(stored: Stored, encoded: Any) -> np.ndarray[Any, Any]:
    return np.asarray(PIL.Image.open(stored.file(encoded["path"])))


class Tensor:
    """The methods of a torch tensor that `Image` needs."""

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self._values, self.shape = values, values.shape

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self._values


def with_channels(shape: tuple[int, ...]) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sampled_from([shape, (*shape, 1), (*shape, 3), (*shape, 4)])


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake torch module with these tensors."""
    module = ModuleType("torch")
    module.Tensor = Tensor  # type: ignore[attr-defined]  # that is the point
    monkeypatch.setitem(sys.modules, "torch", module)


def test_image_file_json(stored: Stored) -> None:
    encoded = stored.log(Image(RGB, caption="a cat", grouping=2), "samples/train", 12)
    data = stored.read(encoded["path"])
    digest = hashlib.sha256(data).hexdigest()
    assert encoded == {
        "_type": "image-file",
        "sha256": digest,
        "size": len(data),
        "path": f"media/images/samples/train_12_{digest[:20]}.png",
        "format": "png",
        "width": 7,
        "height": 5,
        "caption": "a cat",
        "grouping": 2,
    }


def test_missing_caption_and_grouping_are_omitted(stored: Stored) -> None:
    assert {"_type", "sha256", "size", "path", "format", "width", "height"} == set(stored.log(Image(RGB)))


@pytest.mark.parametrize(
    ("data", "expected", "mode"),
    [
        pytest.param(GREY, GREY, "L", id="H×W"),
        pytest.param(GREY[:, :, None], GREY, "L", id="H×W×1"),
        pytest.param(RGB, RGB, "RGB", id="H×W×3"),
        pytest.param(RGBA, RGBA, "RGBA", id="H×W×4"),
        pytest.param(RGB.astype(np.int64), RGB, "RGB", id="integers"),
        pytest.param(RGB.astype(np.float32), RGB, "RGB", id="floats up to 255"),
        pytest.param(RGB.tolist(), RGB, "RGB", id="nested list"),
        pytest.param(RGB[::-1, ::2], RGB[::-1, ::2], "RGB", id="a view with strides"),
        pytest.param(PIL.Image.fromarray(RGB), RGB, "RGB", id="picture of Pillow"),
        pytest.param(Image(RGB), RGB, "RGB", id="another Image"),
    ],
)
def test_pixels_round_trip(stored: Stored, data: Any, expected: Any, mode: str) -> None:
    encoded = stored.log(Image(data))
    picture = PIL.Image.open(stored.file(encoded["path"]))
    assert (picture.mode, picture.format) == (mode, "PNG")
    np.testing.assert_array_equal(np.asarray(picture), expected)
    assert (encoded["width"], encoded["height"]) == picture.size


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(np.moveaxis(RGB, -1, 0), RGB, id="C×H×W"),
        pytest.param(GREY[None], GREY, id="1×H×W"),
        pytest.param(GREY, GREY, id="H×W"),
        pytest.param(RGB, RGB, id="H×W×C, which no axis of channels contradicts"),
        pytest.param(np.moveaxis(np.stack([RGB, RGB // 2]), -1, 1), np.hstack([RGB, RGB // 2]), id="N×C×H×W"),
        pytest.param(np.stack([GREY[None]] * 10)[:, :, :2], None, id="ten in a grid of eight a row"),
    ],
)
def test_torch_tensors_are_channels_first(stored: Stored, data: Any, expected: Any) -> None:
    got = pixels(stored, stored.log(Image(Tensor(data))))
    if expected is None:
        assert got.shape == (4, 56)
        np.testing.assert_array_equal(got[2:, 7:14], GREY[:2])
        assert not got[2:, 14:].any()
    else:
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("data", "normalize", "expected"),
    [
        pytest.param([[0.0, 0.5, 1.0]], True, [[0, 127, 255]], id="fractions of white"),
        pytest.param([[-1.0, 0.0, 1.0]], True, [[0, 127, 255]], id="negative ones are stretched"),
        pytest.param([[-2, 0, 6]], True, [[0, 63, 255]], id="negative integers, too"),
        pytest.param([[0.0, 300.0, 20.5]], True, [[0, 255, 20]], id="beyond 255 is cut off"),
        pytest.param([[True, False]], True, [[255, 0]], id="bools"),
        pytest.param(np.array([[0, 1]], np.uint8), True, [[0, 255]], id="bytes up to 1"),
        pytest.param(np.array([[0.0, 0.5]], np.float16), True, [[0, 127]], id="float16"),
        pytest.param([[np.nan, 1.0, 0.0]], True, [[0, 255, 0]], id="NaN is black"),
        pytest.param([[-np.inf, np.inf]], True, [[0, 255]], id="infinities are the ends"),
        pytest.param([[-3.0, -3.0]], True, [[0, 0]], id="all the same and negative"),
        pytest.param([[0.0, 0.5, 1.0]], False, [[0, 0, 1]], id="not normalized"),
        pytest.param([[-5.0, 7.0, 256.0, np.nan]], False, [[0, 7, 255, 0]], id="not normalized, but cut off"),
    ],
)
def test_floats_are_scaled_to_bytes(stored: Stored, data: Any, normalize: bool, expected: Any) -> None:
    """Covers the row "float array 0..1" of §0: scaled by 255; negative ones are stretched, then clipped to 0…255."""
    np.testing.assert_array_equal(pixels(stored, stored.log(Image(np.asarray(data), normalize=normalize))), expected)


def test_pixels_may_be_changed_after_log(stored: Stored) -> None:
    data, picture = RGB.copy(), PIL.Image.fromarray(RGB)
    first, second = Image(data), Image(picture)
    data[:] = 0
    picture.putpixel((0, 0), (1, 2, 3))
    np.testing.assert_array_equal(pixels(stored, stored.log(first)), RGB)
    np.testing.assert_array_equal(pixels(stored, stored.log(second)), RGB)


@pytest.mark.parametrize(("kind", "name"), [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("bmp", "BMP")])
@pytest.mark.parametrize("data", [GREY, RGB, RGBA], ids=["L", "RGB", "RGBA"])
def test_file_type_chooses_the_format(stored: Stored, kind: str, name: str, data: Any) -> None:
    encoded = stored.log(Image(data, file_type=kind))
    picture = PIL.Image.open(stored.file(encoded["path"]))
    assert (picture.format, encoded["format"], Path(encoded["path"]).suffix) == (name, kind, f".{kind}")
    assert picture.size == (7, 5)


@pytest.mark.parametrize(
    ("data", "mode", "expected"),
    [
        pytest.param(RGB, "L", np.asarray(PIL.Image.fromarray(RGB).convert("L")), id="RGB to L"),
        pytest.param(PIL.Image.fromarray(RGB), "L", np.asarray(PIL.Image.fromarray(RGB).convert("L")), id="of Pillow"),
        pytest.param(GREY, "RGB", np.stack([GREY] * 3, -1), id="L to RGB"),
        pytest.param(
            RGB,
            "YCbCr",
            np.asarray(PIL.Image.frombytes("YCbCr", (7, 5), RGB.tobytes()).convert("RGB")),
            id="channels are taken for those of the mode",
        ),
        pytest.param(
            RGBA,
            "CMYK",
            np.asarray(PIL.Image.frombytes("CMYK", (7, 5), RGBA.tobytes()).convert("RGB")),
            id="four channels, too",
        ),
    ],
)
def test_mode_selects_the_channels(stored: Stored, data: Any, mode: str, expected: Any) -> None:
    np.testing.assert_array_equal(pixels(stored, stored.log(Image(data, mode=mode))), expected)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp"])
@pytest.mark.parametrize("as_text", [True, False], ids=["str", "Path"])
def test_file_is_stored_unchanged(stored: Stored, tmp_path: Path, kind: str, as_text: bool) -> None:
    path = tmp_path / f"picture.{kind}"
    PIL.Image.fromarray(RGB).save(path)
    before = path.read_bytes()
    image = Image(str(path) if as_text else path, caption="from a file")
    path.unlink()
    encoded = stored.log(image)
    assert stored.read(encoded["path"]) == before
    assert (encoded["format"], encoded["width"], encoded["height"]) == (kind, 7, 5)


def test_file_picture_is_decoded_lazily(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "picture"  # without an extension, its content determines the format
    PIL.Image.fromarray(RGB).save(path, "bmp")
    image = Image(path)
    np.testing.assert_array_equal(np.asarray(image.image), RGB)
    assert stored.log(image)["path"].endswith(".bmp")
    png = stored.log(Image(image, file_type="png"))
    np.testing.assert_array_equal(pixels(stored, png), RGB)


def test_large_file_is_neither_loaded_nor_left_open(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "large.bmp"
    PIL.Image.new("RGB", (2400, 2400), (1, 2, 3)).save(path)
    assert path.stat().st_size > 16 << 20
    image = Image(path)
    assert image._source is not None
    assert isinstance(image._source.data, Path)
    assert stored.log(image)["size"] == path.stat().st_size


@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(with_channels)))
def test_byte_arrays_of_any_shape_round_trip(
    tmp_path_factory: pytest.TempPathFactory, data: np.ndarray[Any, Any]
) -> None:
    stored = Stored(tmp_path_factory.getbasetemp() / "pictures")
    got = pixels(stored, stored.log(Image(data, normalize=False)))
    np.testing.assert_array_equal(got, data[:, :, 0] if data.shape[2:] == (1,) else data)


def test_file_object_is_read(stored: Stored) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(RGB).save(buffer, "png")
    np.testing.assert_array_equal(pixels(stored, stored.log(Image(buffer))), RGB)


def test_image_from_another_image(stored: Stored) -> None:
    first = Image(RGB, caption="one", boxes={"b": {"box_data": []}}, grouping=4, file_type="bmp")
    same, other = stored.log(Image(first)), stored.log(Image(first, caption="two", file_type="png"))
    assert (same["caption"], same["grouping"], same["format"], set(same["boxes"])) == ("one", 4, "bmp", {"b"})
    assert (other["caption"], other["format"]) == ("two", "png")


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Image(np.zeros((2, 2, 2))), "cannot be a picture .2 × 2 × 2."),
        (lambda: Image(np.zeros(5)), "cannot be a picture .5."),
        (lambda: Image(np.zeros((0, 3))), "cannot be a picture .0 × 3."),
        (lambda: Image(np.array([["a"]])), "pixels must be numbers"),
        (lambda: Image(np.array([[1j]])), "pixels must be numbers"),
        (lambda: Image("https://example.com/a.png"), "files on other hosts cannot be logged"),
        (lambda: Image("s3://bucket/a.png"), "files on other hosts cannot be logged"),
        (lambda: Image("gs://bucket/a.png"), "files on other hosts cannot be logged"),
        (lambda: Image("/no/such/file.png"), "cannot be read"),
        (lambda: Image(__file__), "Pillow cannot read the file as a picture"),
        (lambda: Image(io.BytesIO(b"text")), "not a picture"),
        (lambda: Image(RGB, file_type="tiff"), "a picture cannot have the format 'tiff'"),
        (lambda: Image(RGB, mode="ABC"), "mode 'ABC'"),
        (lambda: Image(object()), "pixels must be numbers|cannot be a picture"),
        (lambda: Image(RGB, caption=["a"]), "caption must be a string"),
    ],
)
def test_invalid_picture_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


def test_missing_pillow_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(DataError, match=re.escape("pip install 'stepwell[media]'")):
        Image(RGB)


def test_construction_only_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget of `log()` is 5 ms. This is not timed here, but nothing is compressed before `encode`."""
    monkeypatch.setattr(PIL.Image.Image, "save", lambda *_, **__: pytest.fail("compressed in the caller's thread"))
    Image(np.zeros((224, 224, 3), np.float32)).prepare()


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (1, 4, 6), (1, 4, 6, 1), (1, 1, 4, 6), (1, 1, 4, 6, 1)])
def test_dimensions_of_one_are_dropped(shape: tuple[int, ...]) -> None:
    pixels = np.arange(24, dtype=np.uint8)
    picture = Image(pixels.reshape(shape))
    assert (picture.width, picture.height, picture.image.mode) == (6, 4, "L")
    assert np.asarray(picture.image).tolist() == pixels.reshape(4, 6).tolist()


def test_batch_of_one_and_one_pixel_height() -> None:
    assert (Image(np.zeros((1, 4, 6, 3), np.uint8)).width, Image(np.zeros((1, 6, 3), np.uint8)).height) == (6, 1)
