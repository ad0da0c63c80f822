"""The lock of a spool directory: a `lock` file, created with O_CREAT | O_EXCL, that names its owner.

Acquired before `stepwell.spool` reads a segment. Byte-range locks are not used because they fail or give wrong answers
on the shared file systems where training jobs run. The file holds JSON:

    host, pid        the owner
    boot, namespace  boot id and pid namespace of the owner if /proc tells them, else null
    started          when the owner started, in clock ticks since boot (from /proc/<pid>/stat), else null
    image            where the stack of its program starts (from the same file), else null; changes with `exec`
    token            random; distinguishes this lock from a later one of the same process

A lock of this host, boot and namespace is stale when its pid is dead, alive with another start time (reused), or alive
with another program (after `os.execv` the owner is gone, while its pid and start time stay). Any other owner cannot be
looked up: its lock is stale when its modification time is `STALE_AFTER_S` old, since owners refresh it. So an owner
that was stopped for longer (SIGSTOP, a sleeping laptop) can lose its lock, which `refresh` reports. The age is measured
against a new file in the same directory, because the clock of a file server may differ by any amount.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from stepwell.errors import SpoolLockedError
from stepwell.spool.writer import write_all

STALE_AFTER_S = 600.0
#: The age at which a lock without readable content is stale: either it is being written, or its owner died between
#: creating and writing it.
UNREADABLE_STALE_AFTER_S = 10.0
_ATTEMPTS = 10


class SpoolLock:
    """The lock on one directory, held until `release`."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._path = path
        self._content = content

    @classmethod
    def acquire(cls, directory: Path) -> SpoolLock:
        """Acquires the lock of `directory`; removes the lock of a dead owner.

        Raises:
            SpoolLockedError: the directory has a live owner, whose host and pid the error names; or the lock keeps
                changing its owner.
            OSError: the directory cannot be written.
        """
        path = directory / "lock"
        content = json.dumps(_describe_self()).encode()
        for _ in range(_ATTEMPTS):
            try:
                _create(path, content)
            except FileExistsError:
                _clear_if_stale(path)
            else:
                return cls(path, content)
        raise SpoolLockedError("the lock of the spool keeps changing its owner", detail=str(path))

    def refresh(self) -> None:
        """Renews the modification time, by which other hosts see that the owner is alive.

        Raises:
            SpoolLockedError: another process holds the lock by now.
            OSError: the lock cannot be read or touched.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:  # the file was removed by hand; the directory is still ours
            _create(self._path, self._content)
            return
        if content != self._content:
            raise SpoolLockedError(
                "the spool was taken over by another process",
                detail=str(self._path),
                hint=f"this process did not refresh its lock for {STALE_AFTER_S:.0f} s, so it may not write there now",
            )
        os.utime(self._path)

    def release(self) -> None:
        """Releases the lock, if it is still ours."""
        with contextlib.suppress(OSError):
            if self._path.read_bytes() == self._content:
                self._path.unlink()


def holder(directory: Path) -> str | None:
    """The live process that owns the spool in `directory`, for display; None if there is none.

    This changes nothing on the disk, so the age of another host's lock is measured by the clock of this host.
    """
    path = directory / "lock"
    try:
        content, age_s = path.read_bytes(), time.time() - path.stat().st_mtime
    except OSError:
        return None
    owner = _parse(content)
    if not _is_live(owner, lambda: age_s):
        return None
    where = "" if owner.get("host") == socket.gethostname() else f" on {owner.get('host', 'another host')}"
    return f"pid {owner.get('pid', 'unknown')}{where}"


def _create(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(fd, content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)


def _clear_if_stale(path: Path) -> None:
    """Removes the lock file at `path` if its owner is dead, else raises SpoolLockedError."""
    try:
        content, refreshed_at = path.read_bytes(), path.stat().st_mtime
    except FileNotFoundError:
        return
    owner = _parse(content)
    if _is_live(owner, lambda: _now_at(path) - refreshed_at):
        raise SpoolLockedError(
            "another process owns the spool",
            detail=f"host {owner.get('host', 'unknown')}, pid {owner.get('pid', 'unknown')}; its lock is {path}",
            hint="wait until that process ends. The lock of a process on another host counts as abandoned "
            f"{STALE_AFTER_S / 60:.0f} minutes after its last refresh",
        )
    # Two processes may find the same stale lock, and both rename it. The slower one may catch the new lock of the
    # faster one: it sees that this is not the file that it judged, and puts it back.
    grave = path.with_name(f"lock.{secrets.token_hex(8)}")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return
    if grave.read_bytes() == content:
        grave.unlink()
    else:
        grave.rename(path)


def _now_at(path: Path) -> float:
    """The current time in Unix seconds, by the clock that sets modification times in the directory of `path`."""
    probe = path.with_name(f"lock.{secrets.token_hex(8)}")
    fd = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        return os.fstat(fd).st_mtime
    finally:
        os.close(fd)
        probe.unlink(missing_ok=True)


def _parse(content: bytes) -> dict[str, Any]:
    try:
        owner = json.loads(content)
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_live(owner: dict[str, Any], age_s: Callable[[], float]) -> bool:
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return age_s() < UNREADABLE_STALE_AFTER_S
    here = owner.get("host") == socket.gethostname()
    # Another boot id or pid namespace: a restarted machine or container, or another one with the same name that shares
    # the directory. Its pids mean nothing here.
    if not here or any(owner.get(key) not in (None, value) for key, value in _surroundings().items()):
        return age_s() < STALE_AFTER_S
    seen = _process(pid)
    if seen.state in ("Z", "X") or not _pid_exists(pid):  # a zombie has a pid, but cannot own anything
        return False
    told = ((owner.get("started"), seen.started), (owner.get("image"), seen.image))
    return all(recorded is None or now is None or recorded == now for recorded, now in told)


def _describe_self() -> dict[str, Any]:
    pid = os.getpid()
    own = _process(pid)
    return {
        "host": socket.gethostname(),
        "pid": pid,
        **_surroundings(),
        "started": own.started,
        "image": own.image,
        "token": secrets.token_hex(8),
    }


def _surroundings() -> dict[str, str | None]:
    boot = namespace = None
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError):
        namespace = os.readlink("/proc/self/ns/pid")
    return {"boot": boot, "namespace": namespace}


class _Process(NamedTuple):
    """State, start time and program of a process, where /proc tells them."""

    state: str | None = None
    started: int | None = None
    image: int | None = None


def _process(pid: int) -> _Process:
    try:
        # The name of the program comes second, in parentheses, and may itself hold spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return _Process(fields[0], int(fields[19]), int(fields[25]) or None)  # 0 for another user's process
    except (OSError, ValueError, IndexError):
        return _Process()


def _pid_exists(pid: int) -> bool:
    if sys.platform == "win32":  # os.kill(pid, 0) would send Ctrl-C there
        import ctypes

        query_limited_information, still_active = 0x1000, 259
        handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid)
        if not handle:
            return False
        code = ctypes.c_ulong()
        ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code))
        ctypes.windll.kernel32.CloseHandle(handle)
        return code.value == still_active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # EPERM: it is alive and belongs to another user; otherwise: better refused than shared
        return True
    return True
