"""Converts arrays and tensors to pixels: determines the axes and the range of values.

Used by `Image` and `Video`. Receives any array; returns a uint8 copy of shape H×W or H×W×C, with C of 3 or 4. Runs in
the caller's thread.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.errors import DataError
from stepwell.values.convert import as_array

Pixels = npt.NDArray[np.uint8]
_CHANNELS = (1, 3, 4)
_GRID_COLUMNS = 8


def pixels_of(data: Any, normalize: bool) -> Pixels:
    """A copy of `data`: H×W, H×W×C or, for torch tensors, C×H×W and N×C×H×W (a grid with eight in a row).

    Raises:
        DataError: `data` has another shape, or does not hold numbers.
    """
    array = as_array(data)
    if isinstance(array, np.ma.MaskedArray):  # masked pixels are black
        array = array.filled(0)
    while array.ndim > (4 if _is_torch(data) else 3) and array.shape[0] == 1:  # a batch of one
        array = array[0]
    if _is_torch(data):
        array = _channels_last(array)
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[2] not in _CHANNELS and array.shape[0] == 1:  # one channel in the first axis
        array = array[0]
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS)) or 0 in array.shape:
        raise DataError(
            "an array of this shape cannot be a picture",
            detail=" × ".join(map(str, array.shape)),
            hint="height × width, or height × width × 1, 3 or 4 channels; in torch tensors, channels come first",
        )
    return to_uint8(array, normalize)


def to_uint8(array: npt.NDArray[Any], normalize: bool = True) -> Pixels:
    """A copy as bytes.

    With `normalize`, numbers of at most 1 are fractions of white, and an array with negative numbers is first stretched
    so that its lowest is black and its highest white. In any case, values are then clipped to 0 and 255; NaN is black.

    Raises:
        DataError: the array does not hold numbers.
    """
    if array.dtype.kind not in "biuf":
        raise DataError("pixels must be numbers", detail=f"these are of type {array.dtype}")
    if not normalize or not array.size:
        return _cut(array)
    if array.dtype == np.uint8:
        bytes_: Pixels = array * np.uint8(255) if array.max() <= 1 else array.copy()
        return bytes_
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = np.nan_to_num(array, nan=0.0, posinf=np.finfo(array.dtype).max, neginf=np.finfo(array.dtype).min)
    low, high = array.min(), array.max()
    if low < 0:
        with np.errstate(over="ignore"):
            numbers = array.astype(np.float64) / 2 - float(low) / 2  # halves, since the full span of float64 overflows
        array = numbers / (numbers.max() or 1.0)
        high = array.max()
    if high <= 1:
        array = array * (255.0 if array.dtype.itemsize > 2 else np.float32(255))
    return _cut(array)


def tiled(pictures: npt.NDArray[Any], columns: int) -> npt.NDArray[Any]:
    """Tiles N×…×H×W×C to one picture …×(rows·H)×(columns·W)×C; unused tiles are black."""
    count, *others, height, width, channels = pictures.shape
    rows = -(-count // columns)
    grid = np.zeros((*others, rows * height, columns * width, channels), pictures.dtype)
    for number, picture in enumerate(pictures):
        top, left = number // columns * height, number % columns * width
        grid[..., top : top + height, left : left + width, :] = picture
    return grid


def _cut(array: npt.NDArray[Any]) -> Pixels:
    if array.dtype == np.uint8:
        return array.copy()
    if array.dtype.kind == "f":
        array = np.nan_to_num(array, nan=0.0)
    pixels: Pixels = np.clip(array, 0, 255).astype(np.uint8)
    return pixels


def _channels_last(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim == 4 and array.shape[1] in _CHANNELS:
        return tiled(np.moveaxis(array, 1, -1), min(_GRID_COLUMNS, len(array) or 1))
    if array.ndim == 3 and array.shape[0] in _CHANNELS:
        return np.moveaxis(array, 0, -1)
    return array


def _is_torch(data: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(data, torch.Tensor)
