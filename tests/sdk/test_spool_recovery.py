"""The spool after a crash or on a bad disk: appended frames are kept, and wrong bytes are never returned."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from fixtures.spools import IDENTITY, SDK, SESSION, TINY, abandon, fill, make_frame, read_all, segments
from stepwell import wire
from stepwell.errors import SpoolFormatError
from stepwell.spool import Spool, SpoolLimits
from stepwell.spool.segment import encode_head

ONE_SEGMENT = SpoolLimits(cache_bytes=0)


def reopened(spool: Spool) -> Spool:
    return Spool.open(abandon(spool), ONE_SEGMENT)


def is_tombstone(frame: bytes, seq: int, dropped: int | None = None) -> bool:
    header = wire.decode(frame).header
    return (
        header.kind == wire.KIND_TOMBSTONE
        and header.seq == seq
        and header.session == SESSION
        and (dropped is None or header.dropped == dropped)
    )


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
@pytest.mark.parametrize("after", [1, 40, 333])
def test_completed_appends_survive_sigkill(tmp_path: Path, after: int) -> None:
    code = """
import sys, pathlib
from fixtures.spools import *
spool = Spool.create(pathlib.Path(sys.argv[1]), IDENTITY, TINY)
while True:
    spool.append(make_frame(spool.next_seq, points=50))
    print(spool.next_seq, flush=True)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SDK, str(Path(__file__).parent.parent)])}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= after:
                break
        process.send_signal(signal.SIGKILL)
        returned = max([after, *(int(line) for line in process.stdout.read().splitlines() if line)])
    (directory,) = Spool.discover(tmp_path)
    spool = Spool.open(directory)
    assert spool.next_seq in (returned, returned + 1)  # killed between the append and the print
    assert read_all(spool) == [make_frame(seq, points=50) for seq in range(spool.next_seq)]
    assert spool.damaged_frames == 0
    spool.acknowledge(spool.next_seq)
    spool.close()


def test_torn_tail_loses_only_the_last_frame(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    frames = fill(spool, 4)
    directory = abandon(spool)
    (path,) = segments(directory)
    whole = path.read_bytes()
    for cut in range(1, len(frames[-1]) + 1):
        path.write_bytes(whole[:-cut])
        again = Spool.open(directory, ONE_SEGMENT)
        assert again.next_seq == 3
        assert again.repaired_bytes == len(frames[-1]) - cut
        assert read_all(again) == frames[:3]
        again.append(frames[3])
        assert read_all(again) == frames
        again.close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("where", ["header", "body"])
def test_flipped_bit_costs_only_its_frame(tmp_path: Path, where: str) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    frames = fill(spool, 5)
    directory = abandon(spool)
    (path,) = segments(directory)
    whole = path.read_bytes()
    start = whole.index(frames[2])
    span = range(wire.HEADER_BYTES) if where == "header" else range(wire.HEADER_BYTES, len(frames[2]))
    for offset in span:
        for bit in (0, 3, 7):
            damaged = bytearray(whole)
            damaged[start + offset] ^= 1 << bit
            path.write_bytes(damaged)
            again = Spool.open(directory, ONE_SEGMENT)
            got = read_all(again)
            assert read_all(again) == got
            assert (got[:2], got[3:]) == (frames[:2], frames[3:])
            assert is_tombstone(got[2], 2, dropped=0 if where == "header" else 1)
            assert (again.damaged_frames, again.repaired_bytes) == (1, 0)
            again.close()
            assert path.read_bytes() == damaged


def test_flipped_bit_never_gives_a_wrong_frame(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 25)
    directory = abandon(spool)
    for number, path in enumerate(segments(directory)):
        last = path == segments(directory)[-1]
        whole = path.read_bytes()
        for offset in range(3, len(whole), 37):
            damaged = bytearray(whole)
            damaged[offset] ^= 0x10
            path.write_bytes(damaged)
            again = Spool.open(directory, TINY)
            got = read_all(again)
            # Only the very last header has nothing after it that distinguishes it from a torn tail.
            assert len(got) == 25 or (last and len(got) == 24 and again.repaired_bytes == len(frames[-1]))
            wrong = [seq for seq, frame in enumerate(got) if frame != frames[seq]]
            assert len(wrong) <= 1, (number, offset)
            assert all(is_tombstone(got[seq], seq) for seq in wrong)
            assert again.damaged_frames == len(wrong)
            again.close()
            path.write_bytes(whole)


def test_damaged_last_frame_keeps_its_seq(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    frames = fill(spool, 3, points=1000)
    directory = abandon(spool)
    (path,) = segments(directory)
    data = path.read_bytes()
    path.write_bytes(data[:-4096] + bytes(4096))
    again = Spool.open(directory, ONE_SEGMENT)
    got = read_all(again)
    assert got[:2] == frames[:2]
    assert is_tombstone(got[2], 2, dropped=1000)
    assert again.next_seq == 3
    again.close()


@pytest.mark.parametrize("zeros", [1, 8, 64, 4096, 100_000])
def test_zero_pages_at_the_tail_are_removed(tmp_path: Path, zeros: int) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    frames = fill(spool, 3)
    directory = abandon(spool)
    with segments(directory)[0].open("ab") as file:
        file.write(bytes(zeros))
    again = Spool.open(directory, ONE_SEGMENT)
    assert again.repaired_bytes == zeros
    frames += fill(again, 2)
    assert read_all(again) == frames
    again.close()


@pytest.mark.parametrize("garbage", [bytes(4096), b"\xff" * 512, b"SWFR" * 256])
def test_pages_lost_in_the_middle_become_tombstones(tmp_path: Path, garbage: bytes) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    frames = fill(spool, 100)
    directory = abandon(spool)
    (path,) = segments(directory)
    data = bytearray(path.read_bytes())
    data[2000 : 2000 + len(garbage)] = garbage
    path.write_bytes(data)
    again = Spool.open(directory, ONE_SEGMENT)
    got = read_all(again)
    assert len(got) == 100
    lost = [seq for seq in range(100) if got[seq] != frames[seq]]
    assert lost == list(range(lost[0], lost[-1] + 1))
    assert len(lost) <= len(garbage) // len(frames[0]) + 2
    assert all(is_tombstone(got[seq], seq) for seq in lost)
    assert again.damaged_frames == len(lost)
    assert [again.read(seq, 1, 1)[0] for seq in range(99, -1, -1)] == got[::-1]
    assert again.damaged_frames == len(lost)
    again.close()


def test_missing_segment_becomes_tombstones(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 30)
    directory = abandon(spool)
    files = segments(directory)
    files[1].unlink()
    gone = range(int(files[1].stem), int(files[2].stem))
    again = Spool.open(directory, TINY)
    got = read_all(again)
    assert len(got) == 30
    for seq in range(30):
        assert is_tombstone(got[seq], seq) if seq in gone else got[seq] == frames[seq]
    again.close()


@pytest.mark.parametrize("which", [0, 1, -1])
def test_damaged_header_is_recovered_from_another_segment(tmp_path: Path, which: int) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 30)
    directory = abandon(spool)
    path = segments(directory)[which]
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    again = Spool.open(directory, TINY)
    assert again.identity == IDENTITY
    assert read_all(again) == frames
    assert (again.damaged_frames, again.repaired_bytes) == (0, 0)
    again.close()


def test_torn_header_is_removed(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 12)
    directory = abandon(spool)
    head = encode_head(IDENTITY, 12)
    torn = directory / f"{12:020}.seg"
    unpadded = len(head.rstrip(b"\0"))
    for length in range(unpadded):
        for tail in (b"", bytes(4096)):
            torn.write_bytes(head[:length] + tail)
            again = Spool.open(directory, TINY)
            assert again.repaired_bytes == length + len(tail)
            assert again.next_seq == 12
            assert read_all(again) == frames
            assert not torn.exists()
            again.close()


def test_damaged_empty_segment_does_not_block_delivery(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 12)
    directory = abandon(spool)
    head = encode_head(IDENTITY, 12)
    for offset in range(8, len(head.rstrip(b"\0"))):
        damaged = bytearray(head)
        damaged[offset] ^= 4
        (directory / f"{12:020}.seg").write_bytes(damaged)
        again = Spool.open(directory, TINY)
        assert read_all(again) == frames
        assert again.next_seq == 12
        again.close()


def test_foreign_file_is_refused_and_kept(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    fill(spool, 12)
    directory = abandon(spool)
    foreign = directory / f"{12:020}.seg"
    foreign.write_text("these are my notes")
    with pytest.raises(SpoolFormatError, match="not a segment") as caught:
        Spool.open(directory, TINY)
    assert "move it" in str(caught.value)
    assert foreign.read_text() == "these are my notes"
    foreign.unlink()
    Spool.open(directory, TINY).close()


@pytest.mark.parametrize("content", [None, b"", b"no spool at all, but quite a long text"])
def test_other_directory_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / f"{0:020}.seg").write_bytes(content)
    with pytest.raises(SpoolFormatError, match=r"not a spool|no frames"):
        Spool.open(tmp_path)
    with pytest.raises(SpoolFormatError, match="not a spool"):
        Spool.open(tmp_path / "missing")
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize(
    ("field", "value", "hint"), [("format", 2, "upgrade"), ("wire", 9, "upgrade"), ("wire", 0, "deliver")]
)
def test_spool_of_another_version_is_refused(tmp_path: Path, field: str, value: int, hint: str) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    fill(spool, 20)
    directory = abandon(spool)
    path = segments(directory)[-1]
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 8)
    text = json.dumps({**json.loads(data[12 : 12 + length]), field: value}).encode()
    head = data[:8] + struct.pack("<I", len(text)) + text
    path.write_bytes(head + struct.pack("<I", zlib.crc32(head)) + b"whatever that version writes")
    before = {file: file.read_bytes() for file in segments(directory)}
    with pytest.raises(SpoolFormatError, match="cannot be read") as caught:
        Spool.open(directory)
    assert hint in str(caught.value)
    assert f"{value}" in str(caught.value)
    assert before == {file: file.read_bytes() for file in segments(directory)}
    assert Spool.discover(tmp_path) == [directory]


def test_segment_header_is_as_documented(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 1)
    data = segments(abandon(spool))[0].read_bytes()
    (length,) = struct.unpack_from("<I", data, 8)
    assert data[:8] == b"SWSPOOL1"
    assert json.loads(data[12 : 12 + length]) == {
        "format": 1,
        "wire": 1,
        "first_seq": 0,
        "entity": "team",
        "project": "mnist",
        "run": "run-1",
        "writer": "0",
        "session": SESSION.hex(),
        "started_at": 1_700_000_000.25,
        "info": {"config": {"lr": 0.1}, "pid": 7},
    }
    assert struct.unpack_from("<I", data, 12 + length)[0] == zlib.crc32(data[: 12 + length])
    start = -(-(16 + length) // 8) * 8
    assert not any(data[16 + length : start])
    assert data[start:] == frames[0]


def test_segments_of_two_sessions_do_not_mix(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    fill(spool, 12)
    directory = abandon(spool)
    stray = segments(directory)[0].rename(directory / f"{500:020}.seg")
    with pytest.raises(SpoolFormatError, match="does not belong"):
        Spool.open(directory)
    assert stray.exists()


def test_interrupted_rewrite_is_discarded(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 12)
    directory = abandon(spool)
    (directory / f"{9:020}.seg.tmp").write_bytes(encode_head(IDENTITY, 9))
    again = Spool.open(directory, TINY)
    assert read_all(again) == frames
    assert list(directory.glob("*.tmp")) == []
    again.close()


def test_payload_that_looks_like_a_header_is_no_frame(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, ONE_SEGMENT)
    fake = wire.encode_tombstone(SESSION, 900, 0)
    body = wire.Object(0, 0, "k" * 8, b'"' + bytes(fake) + b'"')
    for offset in range(8):
        item = body._replace(body=b"x" * offset + fake)
        spool.append(wire.encode(SESSION, offset, [], [item]))
    frames = read_all(spool)
    directory = abandon(spool)
    (path,) = segments(directory)
    data = bytearray(path.read_bytes())
    for seq in range(0, 8, 2):
        data[data.index(frames[seq]) + 20] ^= 1
    path.write_bytes(data)
    again = Spool.open(directory, ONE_SEGMENT)
    got = read_all(again)
    assert len(got) == 8
    assert all(is_tombstone(got[seq], seq) if seq % 2 == 0 else got[seq] == frames[seq] for seq in range(8))
    again.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_kill_at_any_system_call_leaves_a_valid_spool(tmp_path: Path) -> None:
    """Kills a process before the n-th write, truncate, unlink, rename or fsync, for every n, and checks the spool."""
    for deadline in range(1, 200):
        root = tmp_path / str(deadline)
        journal_read, journal_write = os.pipe()
        child = os.fork()
        if child == 0:
            _die_at(deadline, root, journal_write)
        os.close(journal_write)
        with os.fdopen(journal_read, "rb") as pipe:
            journal = pipe.read().split()
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        appended = sum(entry == b"+" for entry in journal)
        acknowledged = max([0, *(int(entry) for entry in journal if entry != b"+")])
        found = Spool.discover(root)
        if found:
            spool = Spool.open(found[0], TINY)
            assert spool.first_seq <= acknowledged
            assert spool.next_seq in (appended, appended + 1)
            assert read_all(spool) == [make_frame(seq) for seq in range(spool.first_seq, spool.next_seq)]
            assert spool.damaged_frames == 0
            fill(spool, 9)
            spool.acknowledge(spool.next_seq)
            spool.close()
        else:
            # the last acknowledgement is recorded before it is given
            assert acknowledged == appended
        assert code in (0, 9)
        if code == 0:
            assert deadline > 30
            return
    pytest.fail("the script never came to its end")


def _die_at(deadline: int, root: Path, journal: int) -> None:
    real_write, calls, code = os.write, 0, 1

    def counted(function):  # type: ignore[no-untyped-def]
        def call(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal calls
            calls += 1
            if calls == deadline:
                os._exit(9)
            return function(*arguments, **options)

        return call

    try:
        for name in ("write", "ftruncate", "unlink", "rename", "replace", "fsync", "rmdir", "mkdir", "utime"):
            setattr(os, name, counted(getattr(os, name)))
        spool = Spool.create(root, IDENTITY, TINY)
        for seq in range(20):
            spool.append(make_frame(seq))
            real_write(journal, b"+ ")
            if seq % 6 == 5:
                spool.sync()
                real_write(journal, b"%d " % (seq - 1))
                spool.acknowledge(seq - 1)
        real_write(journal, b"20 ")
        spool.acknowledge(20)
        spool.close()
        code = 0
    finally:
        os._exit(code)
