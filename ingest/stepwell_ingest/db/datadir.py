"""The data directory of a cluster: checks whether it can be used, finds the server that uses it, and creates it.

Stands between `binaries` and `cluster`. Receives a path, the programs and the user to run them as; prepares a directory
on which a server can be started, or raises a SettingError with the obstacle. Promises that a directory is created whole
or not at all, and that the directory of a running server is never touched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import SettingError

from . import binaries
from .binaries import Account

ROLE = "stepwell"
DATABASE = "stepwell"

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Postmaster:
    """The contents of `postmaster.pid`.

    Args:
        pid: the server's process id.
        status: `starting`, `ready`, `standby`, `stopping`, or empty while the file is being written.
    """

    data_dir: Path
    pid: int
    status: str

    @classmethod
    def read(cls, data_dir: Path) -> Postmaster | None:
        """The server that the directory's pid file names, dead or alive; None: there is no readable pid file."""
        try:
            lines = (data_dir / "postmaster.pid").read_text().splitlines()
            # Line 1 is the pid (negative in single-user mode), line 8 the status, padded with blanks.
            return cls(data_dir, abs(int(lines[0])), lines[7].strip() if len(lines) > 7 else "")
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def alive(self) -> bool:
        """Returns whether the process runs and is a server on this directory."""
        if not self.pid_taken():
            return False
        try:
            # A postmaster's working directory is its data directory; a zombie has none.
            return Path(f"/proc/{self.pid}/cwd").readlink() == self.data_dir
        except FileNotFoundError:
            return not Path("/proc/self").exists()
        except PermissionError:
            return True

    def pid_taken(self) -> bool:
        """Returns whether any process, even a zombie, has the id `pid`."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def make_parents(data_dir: Path) -> None:
    """Creates the directories above the data directory."""
    missing = [path for path in data_dir.parents if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        # Whatever root's umask is, Postgres' user must be able to enter these directories; the data itself is 0700.
        if os.geteuid() == 0:
            path.chmod(0o755)


def check_reachable(data_dir: Path, account: Account | None) -> None:
    """Checks that the user whom Postgres runs as can enter every directory above the data.

    Raises:
        SettingError: the user cannot; the error names the first directory that the user cannot enter.
    """
    if account is not None and (closed := binaries.closed_parent(data_dir, account)):
        raise SettingError(
            f"Postgres refuses to run as root and would run as {account.name}, who cannot enter {closed}",
            detail=f"data directory {data_dir}",
            hint="choose a directory that every user can reach, such as /var/lib/stepwell, with --data",
        )


def is_cluster(data_dir: Path) -> bool:
    """Returns whether the directory holds a cluster; False: it is missing or empty, so one can be created.

    Raises:
        SettingError: the directory holds something else.
    """
    entries = {path.name for path in data_dir.iterdir()} if data_dir.exists() else set()
    if "PG_VERSION" in entries:
        return True
    if entries - {"lost+found"}:
        raise SettingError(
            f"{data_dir} is not empty and holds no Postgres cluster",
            detail=f"it holds {', '.join(sorted(entries)[:3])}{' and more' if len(entries) > 3 else ''}",
            hint="choose an empty directory with --data",
        )
    return False


def check_version(data_dir: Path, bin_dir: Path, version: str) -> None:
    """Checks that the programs have the major version that created the directory.

    Raises:
        SettingError: the versions differ; the error names both.
    """
    theirs, ours = (data_dir / "PG_VERSION").read_text().strip(), binaries.major(version)
    if theirs != ours:
        raise SettingError(
            f"{data_dir} was created by PostgreSQL {theirs}, but these programs are PostgreSQL {ours}",
            detail=f"programs in {bin_dir}",
            hint=f"use the programs of PostgreSQL {theirs}, or another --data directory, or run pg_upgrade",
        )


def await_predecessor(data_dir: Path, timeout_s: float) -> None:
    """Checks that no server runs on the directory; waits for one that is stopping.

    Raises:
        SettingError: a server runs there; the error names its process id.
    """
    deadline = time.monotonic() + timeout_s
    while (other := Postmaster.read(data_dir)) is not None and other.alive():
        # After a kill and an immediate restart, the former server may still be writing its last checkpoint.
        if other.status != "stopping" or time.monotonic() > deadline:
            raise SettingError(
                f"a Postgres server already runs on {data_dir}, with the process id {other.pid}",
                hint="stop it, choose another --data directory, or use that server with --dsn",
            )
        time.sleep(_POLL_S)
    if other is not None and other.pid_taken():
        # Postgres would refuse to start: it takes any process with that number for the old server, even a zombie. In
        # containers, where process numbers are small, it often is another program.
        for leftover in (data_dir / "postmaster.pid", *data_dir.glob(".s.PGSQL.*")):
            leftover.unlink(missing_ok=True)


def create(
    data_dir: Path, bin_dir: Path, version: str, account: Account | None, run: Callable[[list[str], bytes], None]
) -> None:
    """Creates a cluster with the role and the database `stepwell`, in UTF-8, with checksums. TCP requires a password.

    Args:
        run: runs a command with the given text as its input, as the right user, and raises when it fails.
    """
    # Created beside the directory and renamed, so that a kill leaves no partial cluster. Nothing can be renamed over
    # a mount point.
    in_place = data_dir.is_mount()
    target = data_dir if in_place else Path(tempfile.mkdtemp(prefix=f".{data_dir.name}.", dir=data_dir.parent))
    try:
        own(target, account)
        initdb = [str(bin_dir / "initdb"), "-D", str(target), "-U", ROLE, "--encoding=UTF8", "--data-checksums"]
        initdb += ["--auth-local=trust", "--auth-host=scram-sha-256", "--locale=C", "--no-instructions"]
        if int(binaries.major(version)) >= 17:
            # Sorts like C, while upper() and lower() handle more than ASCII.
            initdb += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        run(initdb, b"")
        single_user = [str(bin_dir / "postgres"), "--single", "-D", str(target), "template1"]
        run(single_user, f"CREATE DATABASE {DATABASE}\n".encode())
        if not in_place:
            target.rename(data_dir)
    finally:
        if not in_place:
            shutil.rmtree(target, ignore_errors=True)


def own(path: Path, account: Account | None) -> None:
    """Changes the owner of a directory or file to the user whom Postgres runs as, where needed."""
    if account is None or path.stat().st_uid == account.uid:
        return
    for place in (*path.rglob("*"), path):
        os.chown(place, account.uid, account.gid, follow_symlinks=False)


def environment() -> dict[str, str]:
    """The environment for Postgres' programs: the current one without variables that change port, directory or
    language."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return kept | {"LC_ALL": "C"}


def run_program(command: list[str], text: bytes, log: int, account: Account | None) -> int:
    """Runs one of Postgres' programs to its end, as the right user, and returns its exit status."""
    run_as = account.run_as() if account else binaries.RunAs()
    done = subprocess.run(command, input=text, stdout=log, stderr=log, cwd="/", env=environment(), **run_as)
    return done.returncode
