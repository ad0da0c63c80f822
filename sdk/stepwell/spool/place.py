"""Chooses the directory for a run's files: the requested one, or another one with a warning.

Used before the spool is created. Receives a path; returns one that exists, is writable, and belongs to this user: in
another user's directory, that user could read the logged data, or replace files by links. If no directory is usable,
the path is returned unchanged, and creating the spool then raises the error.
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

#: Errors after which the directory may still be used: the spool handles a full disk itself.
_FULL = (errno.ENOSPC, errno.EDQUOT)


def usable_directory(wanted: Path) -> Path:
    """`wanted`, created if necessary, or a substitute, with a warning that names it and the reason."""
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
    """The other user who owns an existing directory; None: it belongs to this user, or to root.

    If a file server or a container gives new files another owner than the process has, a directory counts as this
    user's if a new file in it gets the same owner as the directory.

    Raises:
        OSError: no file can be created in the directory.
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
    """The reason why a directory cannot be used; None: it can. Creates it if it is missing."""
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
    """Substitutes, beginning with those that survive a restart of the machine."""
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
