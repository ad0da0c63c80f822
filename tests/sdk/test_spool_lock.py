"""The owner of a spool when pids and clocks mislead: `exec`, and file servers with their own clock."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.spools import IDENTITY, SDK, fill, read_all
from stepwell.errors import SpoolLockedError
from stepwell.files.blob_spool import BlobSpool
from stepwell.spool import Spool
from stepwell.spool.lock import holder

HOUR_S = 3600.0

#: A program that leaves a spool and executes another program, with the same pid, start time and arguments.
EXEC = """
import os, pathlib, sys
from fixtures.spools import IDENTITY, fill
from stepwell.spool import Spool
fill(Spool.create(pathlib.Path(sys.argv[1]), IDENTITY), 3)
os.execv(sys.executable, [sys.executable, "-c", "print('here', flush=True); input()"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="programs are told apart by /proc")
def test_spool_is_free_after_exec(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((SDK, str(Path(__file__).parents[1])))}
    with subprocess.Popen(
        [sys.executable, "-c", EXEC, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        (directory,) = Spool.discover(tmp_path)
        assert holder(directory) is None
        spool = Spool.open(directory)
        assert len(read_all(spool)) == 3
        spool.acknowledge(3)
        spool.close()
        assert process.poll() is None
        process.communicate(b"\n")


@pytest.mark.parametrize("age_s", [0.0, 700.0])
@pytest.mark.parametrize("off_s", [-HOUR_S, HOUR_S])
def test_lock_age_uses_the_file_system_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, off_s: float, age_s: float
) -> None:
    spool = Spool.create(tmp_path, IDENTITY)
    fill(spool, 1)
    lock = spool.directory / "lock"
    lock.write_text(json.dumps({**json.loads(lock.read_text()), "host": "elsewhere"}))
    os.utime(lock, (time.time() - age_s,) * 2)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + off_s)
    if age_s:
        Spool.open(spool.directory).close()
    else:
        with pytest.raises(SpoolLockedError, match="host elsewhere"):
            Spool.open(spool.directory)
    assert [path.name for path in spool.directory.iterdir() if path.name.startswith("lock.")] == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.EBADF, errno.EIO])
def test_file_system_without_directory_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    fsync = os.fsync

    def fsync_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", fsync_files)
    spool = Spool.create(tmp_path, IDENTITY)
    fill(spool, 1)
    files = BlobSpool(spool.directory, 1000, 1000)
    if number == errno.EIO:  # a failing disk is different
        for keep in (spool.sync, lambda: files.add(b"picture")):
            with pytest.raises(Exception, match="Input/output error"):
                keep()
        monkeypatch.undo()
    else:
        spool.sync()
        assert files.path(files.add(b"picture").sha256).read_bytes() == b"picture"
    spool.close()
