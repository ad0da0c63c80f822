"""A host crash: only the synced part of the spool is left, and the possible loss is bounded.

A file system may keep more than was synced; this one keeps the minimum: the content of a file at its last fsync, and
the names in a directory at its last fsync. All other writes and unlinks are undone.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fixtures.spools import IDENTITY, TINY, fill, read_all
from stepwell.runs.run import Run
from stepwell.settings import resolve
from stepwell.spool import Spool
from stepwell.wire import decode


class Disk:
    """The surviving state of a directory tree, by inode, as recorded at each `fsync`."""

    def __init__(self, fsync: Callable[[int], None]) -> None:
        self._fsync = fsync
        self._files: dict[int, bytes] = {}
        self._directories: dict[int, dict[str, tuple[int, bool]]] = {}

    def fsync(self, fd: int) -> None:
        self._fsync(fd)
        status, path = os.fstat(fd), Path(f"/proc/self/fd/{fd}")
        if stat.S_ISDIR(status.st_mode):
            entries = list(os.scandir(path))
            self._directories[status.st_ino] = {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}
        else:
            self._files[status.st_ino] = path.read_bytes()

    def after_a_crash(self, root: Path, copy: Path) -> Path:
        """Copies the surviving state below `root`, which is an old directory, to `copy`."""
        self._restore(root.stat().st_ino, copy)
        return copy

    def _restore(self, inode: int, place: Path) -> None:
        place.mkdir()
        for name, (child, is_directory) in self._directories.get(inode, {}).items():
            if is_directory:
                self._restore(child, place / name)
            else:
                (place / name).write_bytes(self._files.get(child, b""))
                os.utime(place / name, (0, 0))  # the host takes a while to restart


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(os.fsync)
    monkeypatch.setattr(os, "fsync", made.fsync)
    yield made
    monkeypatch.undo()


@pytest.mark.parametrize("seed", range(40))
def test_host_crash_loses_only_unsynced_frames(tmp_path: Path, disk: Disk, seed: int) -> None:
    chance, root = random.Random(seed), tmp_path / "root"
    root.mkdir()
    spool = Spool.create(root, IDENTITY, TINY)
    frames, synced, acknowledged = [], 0, 0
    for _ in range(chance.randint(1, 60)):
        match chance.choice(("append", "append", "sync", "acknowledge")):
            case "append":
                frames += fill(spool, chance.randint(1, 12))
            case "sync":
                spool.sync()
                synced = len(frames)
            case "acknowledge":
                acknowledged = chance.randint(acknowledged, len(frames))
                spool.acknowledge(acknowledged)
    left = disk.after_a_crash(root, tmp_path / "after")
    found = Spool.discover(left)
    if synced <= acknowledged:  # nothing is due
        assert len(found) <= 1
        spool.close()
        return
    (directory,) = found
    again = Spool.open(directory, TINY)
    assert again.first_seq <= acknowledged  # frames that the server has may come again; it reports duplicates
    kept = read_all(again)
    first = again.first_seq
    assert kept[acknowledged - first :] == frames[acknowledged : first + len(kept)]
    assert first + len(kept) >= synced
    assert fill(again, 3) == read_all(again)[-3:]  # and the spool can be used
    again.close()
    spool.close()


def test_flushed_values_survive_a_host_crash(tmp_path: Path, disk: Disk) -> None:
    root = tmp_path / "root"
    root.mkdir()
    run = Run(resolve({}, dir=root, project="p", run_id="r", mode="offline", silent="1"), {})
    run.open()
    for step in range(100):
        run.log({"loss": float(step)})
    assert run.flush(60, durable=False)
    run.log({"loss": 100.0})
    (directory,) = Spool.discover(disk.after_a_crash(root, tmp_path / "after"))
    spool = Spool.open(directory)
    steps = [int(step) for frame in read_all(spool) for block in decode(frame).blocks for step in block.steps]
    assert steps[:100] == list(range(100))
    spool.close()
    run.finish()
