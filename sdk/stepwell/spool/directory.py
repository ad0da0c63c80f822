"""The directories of spools: their names, and how to create, find and remove them.

    <root>/<run>/<writer>-<first 8 hex digits of the session>/

Names come from users, so they are escaped to characters that every platform allows; the head of each segment has the
unescaped names.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import urllib.parse
from pathlib import Path

from stepwell.errors import SpoolFormatError
from stepwell.spool.reader import segment_files
from stepwell.spool.segment import SpoolIdentity, is_torn_head, read_head

_MAX_NAME = 80
_TRIES = 5
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows
_MAX_TORN_BYTES = 64 * 1024


def make_directory(root: Path, identity: SpoolIdentity) -> Path:
    """Creates the directory of a session, readable by its owner only.

    Raises:
        OSError: the directory cannot be created; FileExistsError if the session has one already.
    """
    directory = root / file_name(identity.run) / f"{file_name(identity.writer)}-{identity.session.hex()[:8]}"
    for remaining in reversed(range(_TRIES)):
        try:
            root.mkdir(0o700, parents=True, exist_ok=True)
            directory.parent.mkdir(0o700, exist_ok=True)
            directory.mkdir(0o700)
        except FileNotFoundError:
            # Another writer of the run has just ended and removed the run's directory, or a user has removed `root`.
            if not remaining:
                raise
        else:
            break
    return directory


def remove_directory(directory: Path) -> None:
    """Removes `directory` and the one above it (the run's), each only if it is empty."""
    with contextlib.suppress(OSError):
        directory.rmdir()
        directory.parent.rmdir()


def discover(root: Path) -> list[Path]:
    """See `stepwell.spool.Spool.discover`."""
    homes = _subdirectories(root)
    found: list[tuple[float, Path]] = []
    for directory in (root, *homes, *(child for home in homes for child in _subdirectories(home))):
        files = segment_files(directory)
        with contextlib.suppress(OSError):  # delivered and removed while we look
            if files and not (len(files) == 1 and _never_begun(files[0])):
                found.append((_started_at(files[0]), directory))
    return [directory for _, directory in sorted(found)]


def file_name(text: str) -> str:
    """`text` as a file name for every platform: characters other than [A-Za-z0-9._-] become %XX; long names are cut
    and end in a hash."""
    name = urllib.parse.quote(text, safe="", errors="surrogatepass").replace("~", "%7E")
    if _RESERVED.match(name) or name.startswith("."):
        name = f"%{ord(name[0]):02X}{name[1:]}"
    if name.endswith("."):
        name = name[:-1] + "%2E"
    if len(name) > _MAX_NAME:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        name = f"{name[: _MAX_NAME - 13]}-{digest[:12]}"
    return name or "%"


def _never_begun(segment: Path) -> bool:
    return segment.stat().st_size <= _MAX_TORN_BYTES and is_torn_head(segment)


def _started_at(segment: Path) -> float:
    with contextlib.suppress(SpoolFormatError):
        head = read_head(segment)
        if head is not None:
            return head.identity.started_at
    return segment.stat().st_mtime


def _subdirectories(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir()]
    return []
