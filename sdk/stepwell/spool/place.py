"""The directory in which a run may keep its files: the one that was asked for, or another one with a warning.

Before the spool. Receives a path; returns one that exists, takes files, and belongs to this user. In a directory of
somebody else's, he could read what is logged, or let links stand in for files. Where none will do, the path comes back
as it was, and the spool says what is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("stepwell")

#: The directory is there and may be used again: what a full disk costs is the spool's to decide.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def usable_directory(wanted: Path) -> Path:
    """`wanted`, made if need be; or a directory that takes its place, with a warning that says which and why."""
    problem = _problem(wanted)
    if problem is None:
        return wanted
    for other in _others():
        if _problem(other) is None:
            log.warning(
                "%s, so this run is kept in %s until the server has it; dir= or STEPWELL_DIR names another place",
                *(problem, other),
            )
            return other
    return wanted


def foreign_owner(directory: Path) -> str | None:
    """Who else owns a directory that is there; None: it is ours, or root's.

    Where a file server or a container gives files other owners than their processes have, a directory counts as ours
    when what we make in it has its owner.

    Raises:
        OSError: nothing can be made in it.
    """
    if not hasattr(os, "geteuid"):
        return None
    owner = directory.stat().st_uid
    if owner in (os.geteuid(), 0):
        return None
    probe = directory / f".probe-{secrets.token_hex(8)}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        made_by = os.fstat(descriptor).st_uid
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
    return None if made_by == owner else _user(owner)


def _problem(directory: Path) -> str | None:
    """Why a directory, which is made where it is missing, cannot be used."""
    try:
        directory.mkdir(0o700, parents=True, exist_ok=True)
        owner = foreign_owner(directory)
    except OSError as error:
        return None if error.errno in _FULL else f"{directory} cannot be written ({error.strerror})"
    if owner is not None:
        return f"{directory} belongs to another user ({owner})"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"{directory} cannot be written"
    return None


def _others() -> Iterator[Path]:
    """Where else: what stays over a restart of the machine first."""
    with contextlib.suppress(RuntimeError):  # no home
        state = os.environ.get("XDG_STATE_HOME", "")
        yield (Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state") / "stepwell"
    user = os.geteuid() if hasattr(os, "geteuid") else "user"
    yield Path(tempfile.gettempdir()) / f"stepwell-{user}"


def _user(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"uid {uid}"
