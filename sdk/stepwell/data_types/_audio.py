"""Sound: samples, which are encoded as WAV, and files, which are kept unchanged."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media, captions_of, checked_caption
from stepwell.data_types._sources import Source
from stepwell.errors import DataError
from stepwell.values.convert import as_array

_MAX_CHANNELS = 64


class Audio(Media):
    """Sound.

    Args:
        data_or_path: samples N or N×channels (also channels×N, where unambiguous): floats from -1 to 1, or integers of
            16 or 32 bits; or a path, or a file object with a name.
        sample_rate: samples per second; required for samples.
        caption: a text shown with it.

    Samples are stored as 16 bits.

    Raises:
        DataError: sample_rate is missing, the array has another shape, or there is no such file.
    """

    folder = "audio"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: Any = None) -> None:
        self.caption = checked_caption(caption)
        self._source = Source.of(data_or_path)
        self.sample_rate = sample_rate
        self.duration: float | None = None
        if self._source is not None:
            self._suffix = self._source.suffix or ".wav"
            return
        self._suffix = ".wav"
        if sample_rate is None:
            raise DataError("sound from samples needs a sample_rate", hint="Audio(samples, sample_rate=44100)")
        if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer) or sample_rate < 1:
            raise DataError("sample_rate must be a positive integer", detail=f"{sample_rate!r}")
        library("soundfile", "sound from samples")
        self._samples = _samples_of(data_or_path)
        self.sample_rate = int(sample_rate)
        self.duration = len(self._samples) / self.sample_rate

    @classmethod
    def batch_json(cls, items: Sequence[Audio], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = {"_type": "audio", "audio": list(encoded)}
        batch["sampleRates"] = [item.sample_rate for item in items]
        batch["durations"] = [item.duration for item in items]
        if (captions := captions_of(items)) is not None:
            batch["captions"] = captions
        return batch

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        data = self._wav() if self._source is None else self._source.data
        encoded: dict[str, Any] = {
            "_type": "audio-file",
            **store(sink, self.folder, key, step, self._suffix, data).as_json(),
        }
        return encoded if self.caption is None else encoded | {"caption": self.caption}

    def _wav(self) -> bytes:
        buffer = io.BytesIO()
        library("soundfile", "sound from samples").write(buffer, self._samples, self.sample_rate, format="WAV")
        return buffer.getvalue()


def _samples_of(data: Any) -> npt.NDArray[Any]:
    """A copy as N or N×channels, in a type that soundfile supports."""
    array = as_array(data)
    if array.ndim == 2 and array.shape[1] > _MAX_CHANNELS >= array.shape[0]:
        array = array.T
    if array.ndim not in (1, 2) or not array.size or (array.ndim == 2 and array.shape[1] > _MAX_CHANNELS):
        raise DataError(
            "an array of this shape cannot be audio",
            detail=" × ".join(map(str, array.shape)),
            hint=f"samples, or samples × channels with at most {_MAX_CHANNELS} channels",
        )
    if array.dtype.kind == "f":
        return array.astype(np.float64 if array.dtype.itemsize >= 8 else np.float32)
    for wide in (np.int16, np.int32):
        if array.dtype.kind in "iu" and (array.dtype == wide or _fits(array, wide)):
            return array.astype(wide)
    raise DataError("samples must be floats, or integers of at most 32 bits", detail=f"these are of type {array.dtype}")


def _fits(array: npt.NDArray[Any], wide: type[np.signedinteger[Any]]) -> bool:
    """Returns whether integers of an unsupported width, such as those of a list, all fit the type `wide`."""
    limits = np.iinfo(wide)
    narrow = array.dtype not in (np.int16, np.int32)
    return narrow and limits.min <= int(array.min()) and int(array.max()) <= limits.max
