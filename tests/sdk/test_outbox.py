"""The outbox while the disk fails: frames go to memory, then become tombstones; order and seqs are kept."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.spools import IDENTITY, SESSION, abandon, make_frame, segments
from stepwell import wire
from stepwell.delivery.outbox import Outbox
from stepwell.errors import SpoolError
from stepwell.spool import Spool, SpoolLimits
from stepwell.spool import state as spool_state

FRAME_BYTES = len(make_frame(0))
#: Room for two dozen frames, with a few per segment.
SMALL = SpoolLimits(segment_bytes=512, max_bytes=4096, cache_bytes=0)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool.create(tmp_path, IDENTITY, SMALL)
    yield spool
    spool.close()


def append(outbox: Outbox, count: int) -> list[bytes]:
    frames = [make_frame(seq) for seq in range(outbox.next_seq, outbox.next_seq + count)]
    for frame in frames:
        outbox.append(frame)
    return frames


def read_all(outbox: Outbox) -> list[bytes]:
    frames: list[bytes] = []
    while outbox.first_seq + len(frames) < outbox.next_seq:
        frames += outbox.read(outbox.first_seq + len(frames), 1 << 20, 100)
    return frames


def kinds(frames: list[bytes]) -> list[int]:
    return [wire.peek(frame).kind for frame in frames]


def test_frames_go_to_the_spool(spool: Spool) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    frames = append(outbox, 10)
    assert (
        outbox.next_seq,
        spool.next_seq,
        outbox.counts.spooled,
        outbox.counts.unspooled,
        outbox.counts.dropped,
    ) == (10, 10, 10, 0, 0)
    assert frames == read_all(outbox)


def test_full_spool_falls_back_to_memory(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    frames = append(outbox, 100)
    assert 10 < spool.next_seq < 40
    assert (spool.next_seq, 100 - spool.next_seq, 0) == (
        outbox.counts.spooled,
        outbox.counts.unspooled,
        outbox.counts.dropped,
    )
    assert frames == read_all(outbox)
    (message,) = caplog.messages
    assert message.startswith("the spool is full; frames wait in memory until it is writable. the spool has ")
    assert "reached its size limit (4088 bytes in " in message
    assert ", the limit is 4096)\n  Hint: frames are removed when the server acknowledges them" in message


def test_full_memory_makes_tombstones(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(spool, SESSION, 3 * FRAME_BYTES)
    frames = append(outbox, 100)
    spooled = spool.next_seq
    kept = spooled + 3
    got = read_all(outbox)
    assert frames[:kept] == got[:kept]
    assert [wire.KIND_TOMBSTONE] * (100 - kept) == kinds(got[kept:])
    assert [(seq, 1) for seq in range(kept, 100)] == [
        (header.seq, header.dropped) for header in map(wire.peek, got[kept:])
    ]
    assert (spooled, 3, 100 - kept) == (outbox.counts.spooled, outbox.counts.unspooled, outbox.counts.dropped)
    assert (
        f"1 values were lost: the spool is not writable, and {3 * FRAME_BYTES} bytes already wait in memory"
        == caplog.messages[1]
    )


def test_frames_in_memory_return_to_the_spool(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    frames = append(outbox, 40)
    spooled = spool.next_seq
    outbox.retry_spool()
    assert spooled == spool.next_seq

    outbox.acknowledge(spooled)
    outbox.retry_spool()
    assert (40, spooled) == (spool.next_seq, spool.first_seq)
    assert frames[spooled:] == read_all(outbox)
    assert caplog.messages[-1] == "the spool is writable again"
    frames += append(outbox, 1)
    assert (41, frames[spooled:]) == (spool.next_seq, read_all(outbox))


def test_new_frame_does_not_overtake_memory(spool: Spool) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    append(outbox, 40)
    waiting_from = spool.next_seq
    outbox.acknowledge(waiting_from)  # there is room now, but not yet for the later frames
    frames = append(outbox, 1)
    assert waiting_from == spool.next_seq
    outbox.retry_spool()
    assert (41, frames) == (spool.next_seq, spool.read(40, 1 << 20, 1))


def test_acknowledged_memory_frames_keep_only_their_seq(spool: Spool) -> None:
    outbox = Outbox(spool, SESSION, 5 * FRAME_BYTES)
    append(outbox, 1)
    while spool.next_seq == outbox.next_seq:
        append(outbox, 1)
    append(outbox, 4)
    first = spool.next_seq
    outbox.acknowledge(first + 3)
    assert (first + 3, 0) == (outbox.first_seq, outbox.counts.dropped)
    frames = append(outbox, 1)  # the bytes of the acknowledged ones are free
    assert outbox.counts.dropped == 0
    assert frames == outbox.read(first + 5, 1 << 20, 1)

    outbox.retry_spool()
    assert (first + 6, first + 3) == (spool.next_seq, spool.first_seq)
    assert kinds(spool.read(first + 3, 1 << 20, 10)) == [wire.KIND_DATA] * 3


def test_without_a_spool_frames_wait_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(None, SESSION, 3 * FRAME_BYTES)
    frames = append(outbox, 3)
    assert (frames, 0, 3) == (read_all(outbox), outbox.counts.spooled, outbox.counts.unspooled)
    append(outbox, 1)
    assert outbox.counts.dropped == 1
    outbox.acknowledge(2)
    frames += append(outbox, 1)
    assert (outbox.first_seq, outbox.next_seq) == (2, 5)
    assert kinds(read_all(outbox)) == [wire.KIND_DATA, wire.KIND_TOMBSTONE, wire.KIND_DATA]
    outbox.retry_spool()
    outbox.close()
    assert [message.partition(":")[0] for message in caplog.messages] == ["1 values were lost"]


@pytest.mark.parametrize("make", [lambda spool: spool, lambda _: None], ids=["spool", "no spool"])
def test_reads_respect_limits_but_return_one_frame(spool: Spool, make: Callable[[Spool], Spool | None]) -> None:
    outbox = Outbox(make(spool), SESSION, 1 << 20)
    frames = append(outbox, 10)
    assert frames[3:4] == outbox.read(3, 1, 10)
    assert frames[3:5] == outbox.read(3, 2 * FRAME_BYTES, 10)
    assert frames[3:6] == outbox.read(3, 1 << 20, 3)
    assert outbox.read(10, 1 << 20, 3) == []


def test_acknowledgement_beyond_the_end_covers_everything() -> None:
    outbox = Outbox(None, SESSION, 1 << 20)
    append(outbox, 3)
    outbox.acknowledge(10)
    assert (outbox.first_seq, outbox.next_seq) == (3, 3)


def test_delivered_spool_is_removed_on_close(spool: Spool, tmp_path: Path) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    spool_state.save(spool.directory, {}, 0)
    append(outbox, 3)
    outbox.acknowledge(3)
    outbox.close()
    assert list(tmp_path.iterdir()) == []


def test_undelivered_spool_keeps_memory_frames_on_close(spool: Spool, tmp_path: Path) -> None:
    outbox = Outbox(spool, SESSION, 1 << 20)
    frames = append(outbox, 40)
    spooled = spool.next_seq
    outbox.acknowledge(spooled)
    outbox.close()
    again = Spool.open(spool.directory)
    assert frames[spooled:] == again.read(spooled, 1 << 20, 100)
    again.close()


def test_tombstone_counts_points_and_objects() -> None:
    outbox = Outbox(None, SESSION, 0)
    objects = [wire.Object(0, 0, "text", b'"x"')] * 3
    outbox.append(wire.encode(SESSION, 0, wire.decode(make_frame(0, 5)).blocks, objects))
    (frame,) = read_all(outbox)
    assert (wire.peek(frame).kind, wire.peek(frame).dropped) == (wire.KIND_TOMBSTONE, 8)
    assert outbox.counts.dropped == 8


@pytest.fixture(autouse=True)
def messages_are_seen(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "stepwell")


class TestDiskThatGoesOnFailing:
    """The server acknowledges everything meanwhile: nothing may be kept, lost or rescanned because of that."""

    def test_acknowledged_frames_leave_memory(self, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "append", raising)
        outbox = Outbox(spool, SESSION, 10 * FRAME_BYTES)
        for _ in range(2000):
            frames = append(outbox, 5)
            assert read_all(outbox) == frames
            outbox.acknowledge(outbox.next_seq)
            outbox.retry_spool()
        assert (len(outbox._memory), outbox._memory_bytes) == (0, 0)
        assert (outbox.counts.dropped, outbox.counts.unspooled, outbox.next_seq) == (0, 10_000, 10_000)

    @pytest.mark.parametrize("spooled", [0, 1, 30])
    @pytest.mark.parametrize("left", [0, 3])
    def test_spool_continues_after_disk_recovery(
        self, tmp_path: Path, spooled: int, left: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spool = Spool.create(tmp_path / "here", IDENTITY, SMALL)
        outbox = Outbox(spool, SESSION, 1 << 20)
        append(outbox, spooled)
        append_really = spool.append
        monkeypatch.setattr(spool, "append", raising)
        frames = append(outbox, 100)
        outbox.acknowledge(outbox.next_seq - left)
        monkeypatch.setattr(spool, "append", append_really)
        outbox.retry_spool()
        frames = frames[100 - left :] + append(outbox, 2)
        assert read_all(outbox) == frames
        assert (spool.first_seq, spool.next_seq) == (spooled + 100 - left, spooled + 102)
        assert len(segments(spool.directory)) <= 2
        again = Spool.open(abandon(spool), SMALL)
        assert again.read(again.next_seq - len(frames), 1 << 20, 100) == frames
        assert again.next_seq == spooled + 102
        again.acknowledge(again.next_seq)
        again.close()
        assert not (tmp_path / "here" / "run-1").exists()

    def test_close_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        spool = Spool.create(tmp_path / "here", IDENTITY, SMALL)
        outbox = Outbox(spool, SESSION, 1 << 20)
        monkeypatch.setattr(spool, "append", raising)
        append(outbox, 10)
        outbox.acknowledge(10)
        outbox.close()
        assert not (tmp_path / "here" / "run-1").exists()


def raising(frame: bytes) -> None:
    raise SpoolError("the spool could not store a frame")


def test_removed_spool_directory_is_recreated(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits())
    outbox = Outbox(spool, SESSION, 1 << 20)
    frames = append(outbox, 5)
    outbox.acknowledge(2)
    shutil.rmtree(spool.directory.parent)
    frames += append(outbox, 5)
    spool.sync()
    frames += append(outbox, 5)
    again = Spool.open(abandon(spool))
    assert again.read(again.first_seq, 1 << 20, 100) == frames[2:]
    again.close()
