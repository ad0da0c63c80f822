"""The data directory of `stepwell up`: made, and held by one server at a time.

<data>/postgres/       the embedded cluster (`stepwell_ingest.db`)
<data>/postgres.log    its messages
<data>/server.lock     locked (flock) by the server that runs, which also goes when it is killed; holds its pid
<data>/server.json     where that server is (`stepwell.cli.ServerFile`)
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
    """Another `stepwell up` holds the directory."""


@contextmanager
def held(data: Path) -> Iterator[None]:
    """Makes the directory, and holds it.

    Raises:
        InUseError: another server holds it; names its process.
        SettingError: it cannot be made or written, or is another user's: he could have the database, and what the
            server writes, in his hands.
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
    """A descriptor of the lock file, which is ours and no link: what a link leads to would be emptied."""
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
