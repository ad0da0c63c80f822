"""Media are encoded in the background, in order and within bounds; failures are counted and affect nothing else."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from stepwell.data_types._files import FileSink as Sink
from stepwell.errors import BlobTooLargeError, SpoolFullError
from stepwell.files.blob_spool import Blob
from stepwell.files.media_queue import MediaQueue

PATIENCE_S = 30.0


@dataclass
class Picture:
    """A media object whose encoding waits for `go`."""

    data: bytes = b"pixels"
    held_bytes: int = 1000
    go: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None

    def encode(self, key: str, step: int, sink: Sink) -> dict[str, Any]:
        assert self.go.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        file = sink.add(f"media/images/{key}_{step}.png", self.data)
        return {"_type": "image-file", "path": file.path, "sha256": file.sha256, "size": file.size}


def ready(**options: Any) -> Picture:
    picture = Picture(**options)
    picture.go.set()
    return picture


def keep(data: bytes | os.PathLike[str] | os.PathLike[bytes]) -> Blob:
    assert isinstance(data, bytes)
    return Blob(hashlib.sha256(data).hexdigest(), len(data))


class Notes(list[tuple[str, int, int, Any]]):
    """The delivered objects and files."""

    def take(self, key: str, step: int, time_us: int, value: bytes) -> None:
        self.append((key, step, time_us, orjson.loads(value)))


MakeQueue = Callable[..., MediaQueue]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def make_queue(notes: Notes) -> Iterator[MakeQueue]:
    made: list[MediaQueue] = []

    def make(max_bytes: int = 10_000, keep: Any = keep, when_full: str = "drop") -> MediaQueue:
        made.append(MediaQueue(max_bytes, keep, notes.take, when_full))
        return made[-1]

    yield make
    for queue in made:
        queue.finish(0)


def test_media_are_delivered_in_order(make_queue: MakeQueue, notes: Notes) -> None:
    queue = make_queue(max_bytes=50_000)
    for step in range(50):
        queue.put("pic", step, 1_000_000 + step, ready(data=bytes([step])))
    assert queue.finish(PATIENCE_S)
    assert [(key, step, time_us, value["path"]) for key, step, time_us, value in notes] == [
        ("pic", step, 1_000_000 + step, f"media/images/pic_{step}.png") for step in range(50)
    ]
    assert [value["sha256"] for *_, value in notes] == [hashlib.sha256(bytes([step])).hexdigest() for step in range(50)]
    assert (queue.counts.logged, queue.counts.encoded, queue.waiting, queue.counts.waits) == (50, 50, 0, 0)


def test_caller_does_not_wait_for_encoding(make_queue: MakeQueue, notes: Notes) -> None:
    queue, slow = make_queue(), Picture()
    queue.put("pic", 0, 0, slow)
    queue.put("pic", 1, 0, ready())
    assert (queue.waiting, notes) == (2, [])
    slow.go.set()
    assert queue.wait(PATIENCE_S)
    assert [step for _, step, *_ in notes] == [0, 1]


def test_full_queue_makes_the_caller_wait(make_queue: MakeQueue, notes: Notes) -> None:
    queue, slow = make_queue(max_bytes=2500), Picture()
    queue.put("pic", 0, 0, slow)
    queue.put("pic", 1, 0, ready())
    late = threading.Thread(target=queue.put, args=("pic", 2, 0, ready()))
    late.start()
    late.join(0.05)
    assert late.is_alive()
    slow.go.set()
    late.join(PATIENCE_S)
    assert queue.wait(PATIENCE_S)
    assert (queue.counts.waits, queue.counts.waited_s > 0, len(notes)) == (1, True, 3)


def test_oversized_media_are_accepted_alone(make_queue: MakeQueue, notes: Notes) -> None:
    queue = make_queue(max_bytes=10)
    for step in range(5):
        queue.put("pic", step, 0, ready())
    assert queue.finish(PATIENCE_S)
    assert len(notes) == 5


@pytest.mark.parametrize(
    "error", [ValueError("bad pixels"), FileNotFoundError("clip.mp4"), BlobTooLargeError("too large"), KeyError("x")]
)
def test_failed_media_are_logged_and_skipped(
    make_queue: MakeQueue, notes: Notes, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    queue = make_queue()
    queue.put("good", 0, 0, ready())
    queue.put("bad", 7, 0, ready(error=error))
    queue.put("good", 8, 0, ready())
    assert queue.finish(PATIENCE_S)
    assert ([step for _, step, *_ in notes], queue.counts.failed) == ([0, 8], 1)
    assert "bad of step 7" in caplog.text
    assert str(error) in caplog.text


def test_invalid_json_fails_alone(make_queue: MakeQueue, notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Picture):
        def encode(self, key: str, step: int, sink: Sink) -> dict[str, Any]:
            return {"_type": "odd", "value": object()}

    queue = make_queue()
    queue.put("odd", 0, 0, Odd())
    assert queue.finish(PATIENCE_S)
    assert (notes, queue.counts.failed) == ([], 1)
    assert "not JSON serializable" in caplog.text


class Full:
    """A spool that has no room until it is given some."""

    def __init__(self) -> None:
        self.room = threading.Event()
        self.tried = threading.Event()

    def keep(self, data: bytes) -> Blob:
        self.tried.set()
        if not self.room.is_set():
            raise SpoolFullError("the spool has no room for the file")
        return keep(data)


def test_full_spool_with_drop(make_queue: MakeQueue, notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    full = Full()
    queue = make_queue(keep=full.keep, when_full="drop")
    queue.put("pic", 3, 0, ready())
    assert queue.wait(PATIENCE_S)
    full.room.set()
    queue.put("pic", 4, 0, ready())
    assert queue.finish(PATIENCE_S)
    assert (queue.counts.dropped, [step for _, step, *_ in notes]) == (1, [4])
    assert "pic of step 3 is lost: there is no room for its files" in caplog.text


def test_full_spool_with_block(make_queue: MakeQueue, notes: Notes) -> None:
    full = Full()
    queue = make_queue(keep=full.keep, when_full="block")
    queue.put("pic", 0, 0, ready())
    assert full.tried.wait(PATIENCE_S)
    assert not queue.wait(0.1)
    full.room.set()
    assert queue.finish(PATIENCE_S)
    assert (queue.counts.dropped, len(notes)) == (0, 1)


def test_full_spool_with_raise(make_queue: MakeQueue, notes: Notes) -> None:
    full = Full()
    queue = make_queue(keep=full.keep, when_full="raise")
    queue.put("pic", 0, 0, ready())
    assert queue.wait(PATIENCE_S)
    with pytest.raises(SpoolFullError, match="no room"):
        queue.put("pic", 1, 0, ready())
    full.room.set()
    queue.put("pic", 2, 0, ready())
    assert queue.finish(PATIENCE_S)
    assert [step for _, step, *_ in notes] == [2]


def test_hanging_encoding_is_given_up(make_queue: MakeQueue, notes: Notes, caplog: pytest.LogCaptureFixture) -> None:
    queue, endless = make_queue(), Picture()
    queue.put("pic", 0, 0, endless)
    queue.put("pic", 1, 0, ready())
    assert not queue.finish(0.1)
    assert (queue.waiting, notes) == (2, [])
    assert "2 media objects are lost, because none of them was encoded within 0.1 s" in caplog.text
    endless.go.set()


def test_nothing_is_accepted_after_the_end(make_queue: MakeQueue, caplog: pytest.LogCaptureFixture) -> None:
    queue = make_queue()
    queue.finish(0)
    queue.put("pic", 9, 0, ready())
    assert queue.counts.logged == 0
    assert "pic of step 9 came after the end of the run" in caplog.text


def test_finish_may_interrupt_put_in_the_same_thread(make_queue: MakeQueue, notes: Notes) -> None:
    """A signal handler calls `finish` while `put` waits for room, without a deadlock."""
    queue, slow = make_queue(max_bytes=10), Picture()
    queue.put("pic", 0, 0, slow)
    assert not queue.in_use
    with queue._changed:  # the lock that `put` holds
        assert queue.in_use
        slow.go.set()
        assert queue.finish(PATIENCE_S)
    assert len(notes) == 1
