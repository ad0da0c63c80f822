"""The blob spool: files that wait on disk, under their hash, until the server has them.

Sits between the encoding of media and the uploader, beside the spool of frames. Receives bytes or paths; keeps files.
Promises:

- When `add` returns, the file survives a crash of this host (file, name and directory are fsynced). The frame that
  names its hash is made after that, so no frame on the disk names a missing file.
- A name never shows a partial file: files are written under another name and renamed. The next process that opens the
  directory removes partial files that a crash has left.
- The same bytes are kept once, and not at all when the server has them already, as far as this process knows.

    <root>/<run>/<writer>-<8 hex of session>/blobs/
        3f2a…             64 hexadecimal digits: a file that the server does not have
        new-….tmp         a file that is being written
        3f2a….damaged     a file whose bytes the disk has changed; kept for inspection, never sent
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from stepwell.errors import BlobTooLargeError, SpoolFullError
from stepwell.spool import directory as spool_directory
from stepwell.spool.segment import storage_error
from stepwell.spool.writer import sync_directory, write_all

FOLDER = "blobs"
_NAME = re.compile(r"[0-9a-f]{64}")
_BINARY: int = getattr(os, "O_BINARY", 0)  # as in `spool/writer.py`
_PIECE_BYTES = 1024 * 1024
#: The most hashes remembered as stored. Beyond it they are forgotten, and files that are logged again are sent again.
_MAX_KNOWN = 100_000
#: How long hashes are remembered as stored. A day after a server has confirmed a file, it may remove the file if no run
#: names it (because the object that named it was refused, or the run was deleted).
_KNOWN_S = 12 * 3600.0


class Blob(NamedTuple):
    """A file, identified by its content: SHA-256 in hexadecimal, and size in bytes."""

    sha256: str
    size: int


class BlobSpool:
    """The files of one writer session that the server does not have. Any thread may call any method.

    Args:
        directory: the directory of the session.
        blob_bytes: the most bytes of one file.
        max_bytes: the most bytes of all files together.
    """

    def __init__(self, directory: Path, blob_bytes: int, max_bytes: int) -> None:
        self.directory = directory / FOLDER
        self._blob_bytes = blob_bytes
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: dict[str, int] = {}
        self._known: dict[
            str, float
        ] = {}  # the time of the server's confirmation, by the host's clock, which continues during sleep
        self._bytes = 0
        self._made = False

    @property
    def waiting(self) -> list[Blob]:
        """The waiting files, in order of arrival."""
        with self._lock:
            return [Blob(*item) for item in self._waiting.items()]

    @property
    def stored_bytes(self) -> int:
        """The size of all files that wait or are being written."""
        return self._bytes

    def has(self, sha256: str) -> bool:
        """Returns whether a file waits for the server."""
        return sha256 in self._waiting

    def path(self, sha256: str) -> Path:
        """The path of a file, whether it exists or not."""
        return self.directory / sha256

    def load(self) -> None:
        """Finds files that another process has left; removes partial ones.

        Raises:
            SpoolError: the directory cannot be read.
        """
        try:
            found = sorted(self.directory.iterdir(), key=lambda path: path.stat().st_mtime)
        except FileNotFoundError:
            return
        except OSError as error:
            raise storage_error(error, "be searched for files") from error
        with self._lock:
            self._made = True
            for path in found:
                if _NAME.fullmatch(path.name):
                    self._waiting[path.name] = path.stat().st_size
                elif path.suffix == ".tmp":
                    with contextlib.suppress(OSError):
                        path.unlink()
            self._bytes = sum(self._waiting.values())

    def add(self, data: bytes | os.PathLike[str] | os.PathLike[bytes]) -> Blob:
        """Keeps bytes, or a copy of a file as it is now.

        Raises:
            BlobTooLargeError: the content is larger than `blob_bytes`.
            SpoolFullError: there is no room within the limit, or on the disk. Nothing was kept.
            SpoolError: the disk failed. Nothing was kept.
            OSError: the file to be copied cannot be read.
        """
        if isinstance(data, os.PathLike):
            with open(data, "rb") as source:
                return self._add(os.fstat(source.fileno()).st_size, _pieces(source.fileno()), None)
        return self._add(len(data), iter((data,)), hashlib.sha256(data).hexdigest())

    def stored(self, sha256: str) -> None:
        """Removes the local copy of a file that the server has stored."""
        with self._lock:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[sha256] = time.time()
            self._forget(sha256)
            with contextlib.suppress(OSError):
                self.path(sha256).unlink()

    def check(self, sha256: str) -> bool:
        """Checks whether the bytes still match the name. A damaged file is renamed, and no longer waits.

        Raises:
            OSError: the file cannot be read now.
        """
        digest = hashlib.sha256()
        with open(self.path(sha256), "rb") as file:
            for piece in _pieces(file.fileno()):
                digest.update(piece)
        if digest.hexdigest() == sha256:
            return True
        with self._lock:
            self._forget(sha256)
        os.replace(self.path(sha256), self.path(f"{sha256}.damaged"))
        return False

    def gone(self, sha256: str) -> None:
        """Forgets a file that no longer exists: `stepwell sync` of another process has delivered it."""
        with self._lock:
            self._forget(sha256)

    def close(self) -> None:
        """Removes this directory and that of the session, if they are empty."""
        with contextlib.suppress(OSError):
            self.directory.rmdir()
            spool_directory.remove_directory(self.directory.parent)

    def _add(self, size: int, pieces: Iterator[bytes], sha256: str | None) -> Blob:
        if size > self._blob_bytes:
            raise BlobTooLargeError(
                "the file exceeds the size limit for files of a run",
                detail=f"{size:,} bytes; the limit is {self._blob_bytes:,}",
                hint="log a smaller file, or only its path; Limits.blob_bytes is the limit",
            )
        with self._lock:
            if sha256 is not None and (self._is_known(sha256) or sha256 in self._waiting):
                return Blob(sha256, size)
            if self._bytes + size > self._max_bytes:
                raise SpoolFullError(
                    "the spool has no room for the file",
                    detail=f"{size:,} bytes; {self._bytes:,} of {self._max_bytes:,} are used",
                    hint="check with `stepwell status` whether the server can be reached; STEPWELL_BLOBS_FULL chooses "
                    "what happens when there is no room (drop, block, raise)",
                )
            self._bytes += size
        written = 0
        try:
            blob = self._write(pieces)
            written = blob.size
        except OSError as error:
            raise storage_error(error, "keep a file") from error
        finally:
            with self._lock:
                self._bytes += written - size
        with self._lock:
            if self._is_known(blob.sha256):  # logged before from another path
                self._bytes -= blob.size
                self.path(blob.sha256).unlink(missing_ok=True)
            elif blob.sha256 in self._waiting:
                self._bytes -= blob.size
            else:
                self._waiting[blob.sha256] = blob.size
        return blob

    def _is_known(self, sha256: str) -> bool:
        return sha256 in self._known and 0 <= time.time() - self._known[sha256] < _KNOWN_S

    def _write(self, pieces: Iterator[bytes]) -> Blob:
        self._make_directory()
        temporary = self.directory / f"new-{secrets.token_hex(8)}.tmp"
        digest, size = hashlib.sha256(), 0
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o600)
        try:
            try:
                for piece in pieces:
                    write_all(descriptor, piece)
                    digest.update(piece)
                    size += len(piece)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, self.path(digest.hexdigest()))
            sync_directory(self.directory)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return Blob(digest.hexdigest(), size)

    def _make_directory(self) -> None:
        if not self._made:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(self.directory.parent)
            self._made = True

    def _forget(self, sha256: str) -> None:
        self._bytes -= self._waiting.pop(sha256, 0)


def directories_with_blobs(root: Path) -> list[Path]:
    """The session directories at or up to two levels below `root` that hold files, oldest first. Some are in use."""
    found: list[tuple[float, Path]] = []
    for folder in (root / FOLDER, *root.glob(f"*/{FOLDER}"), *root.glob(f"*/*/{FOLDER}")):
        with contextlib.suppress(OSError):
            times = [path.stat().st_mtime for path in folder.iterdir() if _NAME.fullmatch(path.name)]
            if times:
                found.append((min(times), folder.parent))
    return [directory for _, directory in sorted(found)]


def _pieces(descriptor: int) -> Iterator[bytes]:
    while piece := os.read(descriptor, _PIECE_BYTES):
        yield piece
