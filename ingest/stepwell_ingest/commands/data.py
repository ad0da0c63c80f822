"""Creates the data directory of `stepwell up`, and locks it for one server at a time.

<data>/postgres/       the embedded cluster (`stepwell_ingest.db`)
<data>/postgres.log    its messages
<data>/server.lock     locked (flock) by the running server, until it ends in any way; holds its pid
<data>/server.json     the address of that server (`stepwell.cli.ServerFile`)
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stepwell.cli import foreign_owner
from stepwell.errors import SettingError
from stepwell_ingest.db import datadir


class InUseError(SettingError):
    """Another `stepwell up` has locked the directory."""


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Creates the directory, and holds its lock.

    Raises:
        InUseError: another server has locked it; the error names its process.
        SettingError: the directory cannot be created or written, or belongs to another user, who could then control the
            database and the server's files.
    """
    descriptor = _locked_file(data)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(descriptor, 32).decode(errors="replace").strip()
            raise InUseError(
                f"another `stepwell up` uses the data directory {data}",
                detail=f"its process id is {pid}" if pid else None,
                hint="use that server, stop it, or choose another directory with --data",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _locked_file(data: Path) -> int:
    """Opens the lock file, which must be our own and not a link, since the target of a link would be emptied."""
    lock = data / "server.lock"
    hint = "choose another one with --data or STEPWELL_DATA"
    try:
        datadir.make_parents(data / "any")
        owner = foreign_owner(data)
        if owner is not None:
            raise SettingError(f"the data directory {data} belongs to another user ({owner})", hint=hint)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        detail = f"{lock} is a link" if error.errno == errno.ELOOP else error.strerror
        raise SettingError(f"the data directory {data} cannot be used", detail=detail, hint=hint) from error
    if os.fstat(descriptor).st_uid not in (os.geteuid(), data.stat().st_uid):
        os.close(descriptor)
        raise SettingError(f"{lock} belongs to another user", hint=hint)
    os.fchmod(descriptor, 0o600)
    return descriptor
