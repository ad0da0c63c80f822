"""Sound: samples read back from the file."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.media import Stored
from stepwell.data_types import Audio
from stepwell.errors import DataError

RATE = 8000
WAVE = np.sin(np.arange(400) / 9)
STEREO = np.stack([WAVE, WAVE / 2], axis=1)


def test_audio_file_json(stored: Stored) -> None:
    encoded = stored.log(Audio(WAVE, RATE, "a sine"), "sounds", 2)
    assert encoded == {
        "_type": "audio-file",
        "sha256": encoded["sha256"],
        "size": len(stored.read(encoded["path"])),
        "path": f"media/audio/sounds_2_{encoded['sha256'][:20]}.wav",
        "caption": "a sine",
    }


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        pytest.param(WAVE, WAVE, id="float64"),
        pytest.param(WAVE.astype(np.float32), WAVE, id="float32"),
        pytest.param(WAVE.astype(np.float16), WAVE.astype(np.float16), id="float16"),
        pytest.param(WAVE.tolist(), WAVE, id="list"),
        pytest.param(STEREO, STEREO, id="two channels"),
        pytest.param(STEREO.T, STEREO, id="channels first"),
        pytest.param(WAVE[None], WAVE, id="one channel first"),
        pytest.param(WAVE[::2], WAVE[::2], id="a view with strides"),
    ],
)
def test_samples_round_trip_at_16_bits(stored: Stored, samples: Any, expected: Any) -> None:
    got, rate = soundfile.read(stored.file(stored.log(Audio(samples, RATE))["path"]))
    assert rate == RATE
    np.testing.assert_allclose(got, expected, atol=1 / 32768)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.int8, list])
def test_int16_samples_are_exact(stored: Stored, kind: Any) -> None:
    samples = (WAVE * 100).astype(np.int16)
    given = samples.tolist() if kind is list else samples.astype(kind)
    got, _ = soundfile.read(stored.file(stored.log(Audio(given, RATE))["path"]), dtype="int16")
    np.testing.assert_array_equal(got, samples)


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_int32_samples_keep_their_upper_half(stored: Stored, kind: Any) -> None:
    samples = (WAVE * 2**30).astype(kind)
    got, _ = soundfile.read(stored.file(stored.log(Audio(samples, RATE))["path"]), dtype="int32")
    np.testing.assert_allclose(got, samples, atol=1 << 16)


def test_samples_may_be_changed_after_log(stored: Stored) -> None:
    samples = WAVE.copy()
    audio = Audio(samples, RATE)
    samples[:] = 0
    got, _ = soundfile.read(stored.file(stored.log(audio)["path"]))
    np.testing.assert_allclose(got, WAVE, atol=1 / 32768)


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg"])
def test_file_is_stored_unchanged(stored: Stored, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"sound.{kind}"
    soundfile.write(path, WAVE, RATE)
    before = path.read_bytes()
    audio = Audio(str(path))
    path.unlink()
    encoded = stored.log(audio)
    assert stored.read(encoded["path"]) == before
    assert encoded["path"].endswith(f".{kind}")
    assert stored.log(Audio(io.BytesIO(before)))["path"].endswith(".wav")


def test_list_is_one_object(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, WAVE, RATE)
    encoded = stored.log([Audio(WAVE / 2, RATE, "a"), Audio(path)])
    assert (encoded["_type"], encoded["count"]) == ("audio", 2)
    assert (encoded["sampleRates"], encoded["durations"]) == ([RATE, None], [0.05, None])
    assert encoded["captions"] == ["a", None]
    assert [one["path"] for one in encoded["files"]] == [one["path"] for one in encoded["audio"]]
    assert "captions" not in stored.log([Audio(WAVE, RATE)])


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Audio(WAVE), "needs a sample_rate"),
        (lambda: Audio(WAVE, 0), "positive integer"),
        (lambda: Audio(WAVE, 44.1), "positive integer"),  # type: ignore[arg-type]  # the mistake
        (lambda: Audio(np.zeros((2, 2, 2)), RATE), "cannot be audio .2 × 2 × 2."),
        (lambda: Audio([], RATE), "cannot be audio .0."),
        (lambda: Audio(np.zeros((100, 100)), RATE), "cannot be audio .100 × 100."),
        (lambda: Audio(["a"], RATE), "floats, or integers"),
        (lambda: Audio(np.array([2**40]), RATE), "at most 32 bits"),
        (lambda: Audio("/no/such/file.wav"), "cannot be read"),
        (lambda: Audio("gs://bucket/a.wav"), "on other hosts"),
    ],
)
def test_invalid_audio_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


def test_missing_soundfile_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(DataError, match=r"pip install 'stepwell\[media\]'"):
        Audio(WAVE, RATE)
