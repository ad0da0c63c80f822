"""The spool in normal operation: frames are read back, acknowledged ones are removed, limits and owners are
enforced."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fixtures.spools import (
    IDENTITY,
    SDK,
    SESSION,
    TINY,
    abandon,
    dead_pid,
    fill,
    make_frame,
    read_all,
    segments,
)
from stepwell import wire
from stepwell.errors import SpoolError, SpoolFormatError, SpoolFullError, SpoolLockedError
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits
from stepwell.spool.directory import file_name


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    yield spool
    spool.close()


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([SDK, str(Path(__file__).parent.parent)])}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_frames_round_trip(spool: Spool) -> None:
    frames = fill(spool, 50)
    assert read_all(spool) == frames
    assert (spool.first_seq, spool.next_seq, spool.pending_frames) == (0, 50, 50)


def test_reads_respect_limits_but_return_one_frame(spool: Spool) -> None:
    frames = fill(spool, 20)
    size = len(frames[0])
    assert spool.read(3, 1, 10) == frames[3:4]
    assert spool.read(3, 3 * size, 10) == frames[3:6]
    assert spool.read(3, 4 * size - 1, 10) == frames[3:6]
    assert spool.read(3, 1 << 20, 2) == frames[3:5]
    assert spool.read(20, 1 << 20, 2) == []


@pytest.mark.parametrize("cache_bytes", [0, 500, 2000, 1 << 20])
def test_frames_from_disk_and_from_memory_are_the_same(tmp_path: Path, cache_bytes: int) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(1024, 1 << 20, cache_bytes))
    frames = fill(spool, 60)
    got: list[bytes] = []
    while len(got) < 60:
        got += spool.read(len(got), 1000, 7)
    assert got == frames
    assert [spool.read(seq, 1, 1)[0] for seq in reversed(range(60))] == frames[::-1]
    spool.close()


def test_read_during_append(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(cache_bytes=0))
    frames: list[bytes] = []
    for _ in range(30):
        frames += fill(spool, 3)
        assert spool.read(len(frames) - 3, 1 << 20, 10) == frames[-3:]
    assert len(segments(spool.directory)) == 1
    spool.close()


def test_segments_rotate_and_are_deleted(spool: Spool) -> None:
    fill(spool, 40)
    names = [int(path.stem) for path in segments(spool.directory)]
    assert len(names) > 3
    assert names[0] == 0
    spool.acknowledge(names[2] - 1)
    assert [int(path.stem) for path in segments(spool.directory)] == names[1:]
    spool.acknowledge(names[2])
    assert [int(path.stem) for path in segments(spool.directory)] == names[2:]
    spool.acknowledge(40)
    assert [int(path.stem) for path in segments(spool.directory)] == names[-1:]
    assert spool.stored_bytes == segments(spool.directory)[0].stat().st_size
    assert (spool.first_seq, spool.pending_frames) == (40, 0)


def test_repeated_acknowledgements_are_harmless(spool: Spool) -> None:
    frames = fill(spool, 10)
    spool.acknowledge(4)
    spool.acknowledge(4)
    spool.acknowledge(2)
    assert spool.first_seq == 4
    assert read_all(spool) == frames[4:]
    with pytest.raises(ValueError, match="never appended"):
        spool.acknowledge(11)


def test_out_of_order_frame_is_refused(spool: Spool) -> None:
    fill(spool, 2)
    frame = make_frame(2)
    for wrong in (
        make_frame(1),
        make_frame(3),
        frame + frame,
        frame[:-8],
        b"",
        wire.encode_tombstone(bytes(16), 2, 0),
    ):
        with pytest.raises(ValueError, match="not"):
            spool.append(wrong)
    spool.append(frame)
    assert spool.next_seq == 3


def test_read_out_of_range_is_refused(spool: Spool) -> None:
    fill(spool, 5)
    spool.acknowledge(2)
    for seq in (1, 6):
        with pytest.raises(ValueError, match="not in the spool"):
            spool.read(seq, 1, 1)


def test_files_are_private_and_name_their_session(spool: Spool) -> None:
    fill(spool, 20)
    assert spool.directory.stat().st_mode & 0o777 == 0o700
    assert spool.directory.parent.stat().st_mode & 0o777 == 0o700
    for path in spool.directory.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    abandon(spool)
    for path in segments(spool.directory)[:-1]:
        path.unlink()
    alone = Spool.open(spool.directory, TINY)
    assert alone.identity == IDENTITY
    alone.close()


def test_close_removes_only_delivered_spools(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    frames = fill(spool, 30)
    spool.acknowledge(7)
    spool.close()
    spool.close()
    with pytest.raises(SpoolError, match="closed"):
        spool.append(make_frame(30))
    again = Spool.open(spool.directory, TINY)
    assert read_all(again) == frames[again.first_seq :]
    assert again.first_seq <= 7
    again.acknowledge(30)
    again.close()
    assert list(tmp_path.iterdir()) == []


def test_close_can_keep_an_empty_spool(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, TINY)
    fill(spool, 3)
    spool.acknowledge(3)
    spool.close(remove_if_empty=False)
    again = Spool.open(spool.directory, TINY)
    assert again.next_seq == 3
    again.acknowledge(3)
    again.close()


def test_spools_are_found_oldest_first(tmp_path: Path) -> None:
    made = []
    for number, started in enumerate([30.0, 10.0, 20.0]):
        identity = SpoolIdentity("e", "p", f"run {number}", "a/b", bytes([number]) * 16, started, {})
        spool = Spool.create(tmp_path, identity)
        fill_frame = wire.encode_tombstone(identity.session, 0, 1)
        spool.append(fill_frame)
        spool.close()
        made.append(spool.directory)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file.seg").write_text("x")
    never_begun = tmp_path / "run 9" / "0-00000000"
    never_begun.mkdir(parents=True)
    (never_begun / f"{0:020}.seg").write_bytes(b"SWSP")
    assert Spool.discover(tmp_path) == [made[1], made[2], made[0]]
    assert Spool.discover(made[0]) == [made[0]]
    assert Spool.discover(tmp_path / "missing") == []
    with pytest.raises(SpoolFormatError, match="holds no frames"):
        Spool.open(never_begun)


def test_spool_of_a_thousand_segments_opens(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(segment_bytes=1, cache_bytes=0))
    frames = fill(spool, 1000)
    assert len(segments(spool.directory)) == 1000
    again = Spool.open(abandon(spool), TINY)
    assert read_all(again) == frames
    again.acknowledge(1000)
    again.close()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("abc-1_2.x", "abc-1_2.x"),
        ("a/b\\c:d", "a%2Fb%5Cc%3Ad"),
        ("..", "%2E%2E"),
        ("nul", "%6Eul"),
        ("COM1.txt", "%43OM1.txt"),
        ("end.", "end%2E"),
        ("~ü", "%7E%C3%BC"),
        ("", "%"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_names_become_portable_file_names(text: str, name: str) -> None:
    assert file_name(text) == name


def test_long_names_are_shortened_uniquely() -> None:
    one, other = file_name("x" * 300), file_name("x" * 301)
    assert len(one) == len(other) == 80
    assert one != other


def test_second_process_is_refused_with_the_owner(spool: Spool) -> None:
    fill(spool, 3)
    code = "import sys, pathlib; from stepwell.spool import Spool; Spool.open(pathlib.Path(sys.argv[1]))"
    result = run_python(code, str(spool.directory))
    assert result.returncode == 1
    assert "SpoolLockedError" in result.stderr
    assert f"pid {os.getpid()}" in result.stderr
    with pytest.raises(SpoolLockedError):
        Spool.open(spool.directory)
    with pytest.raises(SpoolError, match="be created"):
        Spool.create(spool.directory.parent.parent, IDENTITY)
    assert read_all(spool) == [make_frame(seq) for seq in range(3)]


@pytest.mark.parametrize(
    ("changes", "age_s", "live"),
    [
        ({}, 0, True),
        ({"pid": "dead"}, 0, False),
        ({"started": 1}, 0, False),  # the pid was reused by another process
        ({"host": "elsewhere"}, 500, True),
        ({"host": "elsewhere"}, 700, False),
        ({"namespace": "pid:[1]", "pid": "dead"}, 500, True),  # another container with the same host name
        ({"boot": "other", "pid": "dead"}, 700, False),
        (None, 0, True),  # the lock file is being written
        (None, 60, False),
    ],
)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times of processes come from /proc")
def test_lock_of_a_dead_owner_is_taken_over(
    tmp_path: Path, changes: dict[str, object] | None, age_s: int, live: bool
) -> None:
    spool = Spool.create(tmp_path, IDENTITY)
    frames = fill(spool, 2)
    lock = spool.directory / "lock"
    owner = json.loads(lock.read_text())
    if changes is not None and changes.get("pid") == "dead":
        changes = {**changes, "pid": dead_pid()}
    lock.write_text("" if changes is None else json.dumps({**owner, **changes}))
    os.utime(lock, (time.time() - age_s,) * 2)
    if live:
        with pytest.raises(SpoolLockedError, match="owns the spool"):
            Spool.open(spool.directory)
        return
    again = Spool.open(spool.directory)
    assert read_all(again) == frames
    assert sorted(path.name for path in spool.directory.iterdir() if "lock" in path.name) == ["lock"]
    with pytest.raises(SpoolLockedError, match="taken over"):
        spool.sync()
    with pytest.raises(SpoolLockedError, match="taken over"):
        spool.append(make_frame(2))
    spool.close()
    assert lock.exists()
    again.close()


def test_sync_refreshes_the_lock(spool: Spool) -> None:
    lock = spool.directory / "lock"
    os.utime(lock, (0, 0))
    spool.sync()
    assert lock.stat().st_mtime > 1e9
    lock.unlink()
    spool.sync()
    assert lock.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_cannot_use_the_spool(spool: Spool) -> None:
    frames = fill(spool, 2)
    child = os.fork()
    if child == 0:
        refused = 0
        for call in (lambda: spool.append(make_frame(2)), lambda: spool.acknowledge(2), spool.sync):
            try:
                call()
            except SpoolError as error:
                refused += "forked" in str(error)
        spool.close()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    fill(spool, 1)
    assert read_all(spool)[:2] == frames
    assert (spool.directory / "lock").exists()


def test_size_limit_refuses_frames_until_acknowledged(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(segment_bytes=1 << 20, max_bytes=8000, cache_bytes=0))
    with pytest.raises(SpoolFullError, match="size limit") as caught:
        fill(spool, 1000)
    assert "stepwell status" in str(caught.value)
    count = spool.next_seq
    assert count > 20
    assert spool.stored_bytes <= 8000
    spool.acknowledge(count // 2)
    fill(spool, 5)
    assert read_all(spool) == [make_frame(seq) for seq in range(count // 2, count + 5)]
    with pytest.raises(SpoolFullError):
        spool.append(make_frame(spool.next_seq, points=2000))
    spool.acknowledge(spool.next_seq)
    with pytest.raises(SpoolFullError):
        spool.append(make_frame(spool.next_seq, points=2000))
    fill(spool, 10)
    spool.acknowledge(spool.next_seq)
    spool.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("stored_anyway", [0, 1, 63, 100])
def test_partial_write_keeps_earlier_frames(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, code: int, stored_anyway: int
) -> None:
    frames = fill(spool, 12)
    real_write = os.write
    fails = True

    def write(fd: int, data: bytes) -> int:
        if not fails or len(data) < 120:
            return real_write(fd, data) if not fails else _raise(code)
        return real_write(fd, bytes(data)[:stored_anyway]) if stored_anyway else _raise(code)

    monkeypatch.setattr(os, "write", write)
    for _ in range(3):
        with pytest.raises(SpoolError, match="could not") as caught:
            spool.append(make_frame(12))
        assert isinstance(caught.value, SpoolFullError) == (code != errno.EIO)
        assert "Hint" in str(caught.value)
    fails = False
    frames += fill(spool, 12)
    assert read_all(spool) == frames
    again = Spool.open(abandon(spool), TINY)
    assert read_all(again) == frames
    assert again.repaired_bytes == 0
    again.close()


def _raise(code: int) -> int:
    raise OSError(code, os.strerror(code))


def test_partial_record_is_abandoned_with_its_segment(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = fill(spool, 3)
    real_write, real_truncate = os.write, os.ftruncate
    monkeypatch.setattr(os, "ftruncate", lambda fd, length: _raise(errno.EIO))
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data)[:40]) if len(data) > 80 else _raise(5))
    with pytest.raises(SpoolError):
        spool.append(make_frame(3))
    monkeypatch.setattr(os, "write", real_write)
    monkeypatch.setattr(os, "ftruncate", real_truncate)
    frames += fill(spool, 3)
    assert read_all(spool) == frames
    again = Spool.open(abandon(spool), TINY)
    assert read_all(again) == frames
    assert again.damaged_frames == 0
    again.close()


def test_file_size_limit_starts_a_new_segment(tmp_path: Path) -> None:
    pytest.importorskip("resource", reason="limits of a process")
    code = """
import sys, pathlib, resource
from fixtures.spools import *
from stepwell.errors import SpoolFullError
spool = Spool.create(pathlib.Path(sys.argv[1]), IDENTITY, SpoolLimits(cache_bytes=0))
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
refused = 0
while spool.next_seq < 40:
    try:
        spool.append(make_frame(spool.next_seq))
    except SpoolFullError as error:
        refused += 1
        assert "no room" in str(error) and "Hint" in str(error), error
assert read_all(spool) == [make_frame(seq) for seq in range(40)]
assert spool.damaged_frames == 0
print(refused, len(segments(spool.directory)))
"""
    result = run_python(code, str(tmp_path))
    assert result.returncode == 0, result.stderr
    refused, files = map(int, result.stdout.split())
    assert refused == files - 1 > 1


@pytest.fixture
def small_disk() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp())
    mounted = sys.platform == "linux" and shutil.which("mount") is not None
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=128k", "none", str(directory)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        directory.rmdir()
        pytest.skip("a small file system can be mounted by root on Linux only")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)
    directory.rmdir()


def test_full_disk_is_reported_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(32 * 1024))
    spool = Spool.create(small_disk / "spools", IDENTITY, SpoolLimits(segment_bytes=8192, cache_bytes=0))
    frames: list[bytes] = []
    with pytest.raises(SpoolFullError, match="no room on the disk"):
        while True:
            frames += fill(spool, 1, points=100)
    with pytest.raises(SpoolFullError, match="STEPWELL_DIR"):
        fill(spool, 1, points=100)
    assert read_all(spool) == frames
    ballast.unlink()
    frames += fill(spool, 10, points=100)
    assert read_all(spool) == frames
    again = Spool.open(abandon(spool))
    assert read_all(again) == frames
    again.acknowledge(again.next_seq)
    again.close()


def test_full_disk_reuses_acknowledged_space(small_disk: Path) -> None:
    spool = Spool.create(small_disk / "spools", IDENTITY, SpoolLimits(cache_bytes=0))
    for _ in range(3):
        with pytest.raises(SpoolFullError):
            while True:
                fill(spool, 1, points=100)
        spool.acknowledge(spool.next_seq)
        with pytest.raises(SpoolFullError):
            spool.append(make_frame(spool.next_seq, points=100))
        fill(spool, 5, points=100)
    spool.acknowledge(spool.next_seq)
    spool.close()


def test_failed_creation_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: _raise(errno.ENOSPC))
    with pytest.raises(SpoolFullError, match="could not be created"):
        Spool.create(tmp_path, IDENTITY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("synced", [0, 3])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_failed_fsync_rewrites_its_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synced: int, cache_bytes: int
) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(1024, 1 << 20, cache_bytes))
    frames = fill(spool, synced)
    spool.sync()
    frames += fill(spool, 17)
    failures = len(segments(spool.directory))
    real_fsync, left = os.fsync, [failures]

    def fsync(fd: int) -> None:
        # The kernel reports the error once per file; a second fsync of the same pages would succeed.
        if left[0] and os.fstat(fd).st_size > 0 and not _is_new(fd, spool.directory):
            left[0] -= 1
            _raise(errno.EIO)
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    before = {path: path.stat().st_ino for path in segments(spool.directory)}
    keep_inodes(spool.directory, tmp_path)
    spool.sync()
    after = {path: path.stat().st_ino for path in segments(spool.directory)}
    assert spool.failed_syncs == failures
    changed = sum(before.get(path) != inode for path, inode in after.items())
    assert changed == failures
    frames += fill(spool, 5)
    assert read_all(spool) == frames
    assert spool.stored_bytes == sum(path.stat().st_size for path in segments(spool.directory))
    again = Spool.open(abandon(spool), TINY)
    assert read_all(again) == frames
    again.acknowledge(len(frames))
    again.close()


def keep_inodes(directory: Path, elsewhere: Path) -> None:
    """Makes second links to the segments, so that no new file gets the inode of a removed one."""
    for path in segments(directory):
        os.link(path, elsewhere / f"{path.name}.kept")


def _is_new(fd: int, directory: Path) -> bool:
    return any(path.stat().st_ino == os.fstat(fd).st_ino for path in directory.glob("*.tmp"))


def test_failed_rewrite_is_retried(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = fill(spool, 20)
    real_fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: _raise(errno.EIO))
    for _ in range(3):
        with pytest.raises(SpoolError, match="sync frames to the disk"):
            spool.sync()
        frames += fill(spool, 1)
    monkeypatch.setattr(os, "fsync", real_fsync)
    assert list(spool.directory.glob("*.tmp")) == []
    old = {path.stat().st_ino for path in segments(spool.directory)[:-1]}
    keep_inodes(spool.directory, tmp_path)
    spool.sync()
    assert not old & {path.stat().st_ino for path in segments(spool.directory)}
    assert read_all(spool) == frames
    spool.acknowledge(len(frames))
    spool.sync()


def test_appended_frames_are_synced_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    real_fsync, synced = os.fsync, []

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        real_fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    fill(spool, 30)
    spool.sync()
    assert {path.stat().st_ino for path in segments(spool.directory)} <= set(synced)
    assert spool.directory.stat().st_ino in synced
    synced.clear()
    spool.sync()
    assert synced == []
    fill(spool, 1)
    spool.sync()
    assert len(synced) == 1


def test_unsynced_spool_keeps_few_descriptors(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits of a process")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(segment_bytes=1, cache_bytes=0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        frames = fill(spool, 400)
        spool.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert read_all(spool) == frames
    spool.acknowledge(400)
    spool.close()


def test_concurrent_sync_and_append(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, IDENTITY, SpoolLimits(2048, 1 << 20, 1000))
    stop, failures = threading.Event(), []

    def sync() -> None:
        while not stop.is_set():
            try:
                spool.sync()
            except BaseException as error:
                failures.append(error)
                raise

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        for seq in range(1500):
            spool.append(make_frame(seq))
            if seq % 50 == 49:
                assert spool.read(seq - 20, 1 << 20, 5) == [make_frame(each) for each in range(seq - 20, seq - 15)]
                spool.acknowledge(seq - 10)
    finally:
        stop.set()
        thread.join()
    assert not failures
    assert read_all(spool) == [make_frame(seq) for seq in range(1489, 1500)]
    spool.acknowledge(1500)
    spool.close()


class SpoolMachine(RuleBasedStateMachine):
    """Compares the spool with a list: after any operations, each frame can be read until it is acknowledged."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.frames: list[bytes] = []
        self.acknowledged = 0
        self.limits = SpoolLimits(700, 6000, 300)
        self.spool = Spool.create(self.root, IDENTITY, self.limits)

    def teardown(self) -> None:
        self.spool.close()
        shutil.rmtree(self.root)

    @rule(points=st.integers(1, 30), count=st.integers(1, 6))
    def append(self, points: int, count: int) -> None:
        for _ in range(count):
            frame = make_frame(len(self.frames), points)
            try:
                self.spool.append(frame)
            except SpoolFullError:
                assert self.spool.stored_bytes + len(frame) > 6000
            else:
                self.frames.append(frame)

    @rule(data=st.data(), max_bytes=st.integers(0, 2000), max_frames=st.integers(1, 10))
    def read(self, data: st.DataObject, max_bytes: int, max_frames: int) -> None:
        start = data.draw(st.integers(self.acknowledged, len(self.frames)))
        want: list[bytes] = []
        for frame in self.frames[start : start + max_frames]:
            if want and sum(map(len, want)) + len(frame) > max_bytes:
                break
            want.append(frame)
        assert self.spool.read(start, max_bytes, max_frames) == want

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        seq = data.draw(st.integers(0, len(self.frames)))
        self.spool.acknowledge(seq)
        self.acknowledged = max(self.acknowledged, seq)

    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @rule()
    def crash_and_open(self) -> None:
        self.spool._chain.close(remove=False)
        self.spool._owner.release()
        self.spool._closed = True
        self._open()

    @precondition(lambda self: self.acknowledged < len(self.frames))
    @rule()
    def close_and_open(self) -> None:
        self.spool.close()
        self._open()

    def _open(self) -> None:
        assert Spool.discover(self.root) == [self.spool.directory]
        self.spool = Spool.open(self.spool.directory, self.limits)
        assert self.spool.first_seq <= self.acknowledged  # acknowledged frames may come again, but no others
        assert read_all(self.spool) == self.frames[self.spool.first_seq :]
        self.acknowledged = self.spool.first_seq

    @invariant()
    def counts_agree(self) -> None:
        assert self.spool.first_seq == self.acknowledged
        assert self.spool.next_seq == len(self.frames)
        assert self.spool.stored_bytes == sum(path.stat().st_size for path in segments(self.spool.directory))
        assert self.spool.identity.session == SESSION
        assert self.spool.damaged_frames == self.spool.repaired_bytes == 0


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
