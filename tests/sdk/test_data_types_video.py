"""Videos (gif by default): frames read back from the files."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL.Image
import PIL.ImageSequence
import pytest

from fixtures.media import Stored
from stepwell.data_types import Video
from stepwell.errors import DataError

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 20, 30]], np.uint8)
#: T×C×H×W: five frames of one colour each.
FRAMES = np.broadcast_to(COLOURS[:, :, None, None], (5, 3, 16, 24)).copy()


def gif_frames(file: io.BytesIO) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The frames as T×H×W×3, and the duration of each in ms."""
    frames = [
        (np.asarray(one.convert("RGB")), one.info["duration"])
        for one in PIL.ImageSequence.Iterator(PIL.Image.open(file))
    ]
    return np.stack([one for one, _ in frames]), [shown for _, shown in frames]


def decoded(file: io.BytesIO) -> tuple[np.ndarray[Any, Any], float, str]:
    with av.open(file) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), float(stream.guessed_rate or 0), stream.codec_context.name


def test_default_video_is_a_gif_at_4_fps(stored: Stored) -> None:
    encoded = stored.log(Video(FRAMES, caption="all colours"), "rollout", 7)
    frames, shown = gif_frames(stored.file(encoded["path"]))
    np.testing.assert_array_equal(frames, np.moveaxis(FRAMES, 1, -1))
    assert shown == [250] * 5
    assert encoded == {
        "_type": "video-file",
        "sha256": encoded["sha256"],
        "size": len(stored.read(encoded["path"])),
        "path": f"media/videos/rollout_7_{encoded['sha256'][:20]}.gif",
        "width": 24,
        "height": 16,
        "caption": "all colours",
    }


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "h264"), ("webm", "vp9"), ("ogg", "vp8")])
def test_video_contains_every_frame(stored: Stored, kind: str, codec: str) -> None:
    encoded = stored.log(Video(FRAMES, fps=10, format=kind))
    frames, rate, name = decoded(stored.file(encoded["path"]))
    assert (frames.shape, rate, name, Path(encoded["path"]).suffix) == ((5, 16, 24, 3), 10, codec, f".{kind}")
    np.testing.assert_allclose(frames.astype(float), np.moveaxis(FRAMES, 1, -1), atol=12)  # the colours are lossy


def test_mp4_size_is_even(stored: Stored) -> None:
    encoded = stored.log(Video(FRAMES[:, :, :15, :23], format="mp4"))
    frames, _, _ = decoded(stored.file(encoded["path"]))
    assert frames.shape[1:3] == (encoded["height"], encoded["width"]) == (16, 24)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(FRAMES[:, :1], np.repeat(FRAMES[:, :1], 3, 1), id="grey"),
        pytest.param(np.concatenate([FRAMES, FRAMES[:, :1]], 1), FRAMES, id="alpha is dropped"),
        pytest.param(FRAMES.astype(np.int64), FRAMES, id="integers"),
        pytest.param(FRAMES / 255.0, FRAMES, id="fractions of white"),
        pytest.param(FRAMES[None], FRAMES, id="a batch of one"),
        pytest.param(FRAMES.tolist(), FRAMES, id="nested lists"),
    ],
)
def test_arrays_are_tchw(stored: Stored, data: Any, expected: Any) -> None:
    frames, _ = gif_frames(stored.file(stored.log(Video(data))["path"]))
    kept = expected[
        np.append(True, (np.diff(expected.astype(int), axis=0) != 0).any((1, 2, 3)))
    ]  # equal frames are merged
    np.testing.assert_array_equal(frames, np.moveaxis(kept, 1, -1))


@pytest.mark.parametrize(
    ("count", "rows", "columns"), [(2, 1, 2), (3, 2, 2), (4, 2, 2), (5, 2, 4), (8, 2, 4), (9, 4, 4)]
)
def test_batch_is_tiled(stored: Stored, count: int, rows: int, columns: int) -> None:
    batch = np.zeros((count, 2, 3, 4, 4), np.uint8)
    batch[:, 1] = np.arange(1, count + 1)[:, None, None, None] * 10
    encoded = stored.log(Video(batch))
    frames, _ = gif_frames(stored.file(encoded["path"]))
    assert (encoded["height"], encoded["width"]) == (4 * rows, 4 * columns)
    expected = np.zeros(rows * columns, int)
    expected[:count] = np.arange(1, count + 1) * 10
    np.testing.assert_array_equal(frames[1][::4, ::4, 0], expected.reshape(rows, columns))


def test_frames_may_be_changed_after_log(stored: Stored) -> None:
    data = FRAMES.copy()
    video = Video(data)
    data[:] = 7
    frames, _ = gif_frames(stored.file(stored.log(video)["path"]))
    np.testing.assert_array_equal(frames, np.moveaxis(FRAMES, 1, -1))


@pytest.fixture
def mp4(stored: Stored) -> bytes:
    return stored.read(stored.log(Video(FRAMES, format="mp4"), "made before")["path"])


def test_file_is_stored_unchanged(stored: Stored, tmp_path: Path, mp4: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(mp4)
    video = Video(str(path))
    path.unlink()
    encoded = stored.log(video)
    assert stored.read(encoded["path"]) == mp4
    assert set(encoded) == {"_type", "sha256", "size", "path"}  # no size: nothing was decoded
    assert encoded["path"].endswith(".mp4")


def test_large_file_is_copied_and_removed(stored: Stored, tmp_path: Path) -> None:
    path = tmp_path / "large.mp4"
    path.write_bytes(b"\0\0\0\x18ftyp" + bytes(17 << 20))
    video = Video(path)
    assert video._source is not None
    aside = video._source.data
    assert isinstance(aside, Path)
    path.write_bytes(b"changed")
    assert len(stored.read(stored.log(video)["path"])) == 8 + (17 << 20)
    del video
    assert not aside.exists()


@pytest.mark.parametrize(("format", "suffix"), [(None, "mp4"), ("mp4", "mp4"), ("webm", "webm")])
def test_format_of_a_file_object_is_detected(stored: Stored, mp4: bytes, format: Any, suffix: str) -> None:
    encoded = stored.log(Video(io.BytesIO(mp4), format=format))
    assert stored.read(encoded["path"]) == mp4
    assert encoded["path"].endswith(f".{suffix}")
    assert stored.log(Video(io.BytesIO(b"whatever")))["path"].endswith(".gif")


@pytest.mark.parametrize(
    "make", [lambda path: path, lambda path: io.BytesIO(path.read_bytes())], ids=["path", "BytesIO"]
)
def test_fps_of_an_encoded_video_gives_a_warning(
    tmp_path: Path, mp4: bytes, make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(mp4)
    Video(make(path))
    assert caplog.text == ""
    Video(make(path), fps=8)
    assert "fps=8 has no effect" in caplog.text


@pytest.mark.parametrize(("captions", "expected"), [(["a", None], ["a", None]), ([None, "b"], False)])
def test_list_is_one_object(stored: Stored, captions: Any, expected: Any) -> None:
    encoded = stored.log([Video(FRAMES[number:], caption=caption) for number, caption in enumerate(captions)])
    assert (encoded["_type"], encoded["count"], encoded["captions"]) == ("videos", 2, expected)
    assert [one["_type"] for one in encoded["videos"]] == ["video-file"] * 2
    assert [one["path"] for one in encoded["files"]] == [one["path"] for one in encoded["videos"]]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Video(FRAMES[0]), "cannot be a video .3 × 16 × 24."),
        (lambda: Video(FRAMES[:, :2]), "cannot be a video .5 × 2 × 16 × 24."),
        (lambda: Video(FRAMES[:0]), "cannot be a video"),
        (lambda: Video(FRAMES, format="avi"), "a video cannot have the format 'avi'"),
        (lambda: Video(FRAMES, fps=0), "fps must be above 0"),
        (lambda: Video(FRAMES, fps="fast"), "fps must be a number"),  # type: ignore[arg-type]  # the mistake
        (lambda: Video("/no/such/file.mp4"), "cannot be read"),
        (lambda: Video("https://example.com/a.mp4"), "on other hosts"),
        (lambda: Video(__file__), "a video cannot have the format '.py'"),
        (lambda: Video(np.array(["a"])), "cannot be a video"),
    ],
)
def test_invalid_video_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


def test_missing_pyav_error_names_the_package(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"a video in mp4 needs PyAV.*\n.*pip install 'stepwell\[media\]'"):
        stored.log(Video(FRAMES, format="mp4"))
