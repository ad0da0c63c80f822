"""Names media files within their run, and defines the sink that receives their bytes.

The last step of the media path: the media classes encode, `store` names the file and passes it to the sink.
`DirectorySink` keeps files in a directory, for tests.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from stepwell.values.text import storable

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file that a sink has stored.

    Attributes:
        sha256: the SHA-256 of its content, 64 hex digits.
        size: its size in bytes.
        path: its name in the run, with slashes.
    """

    sha256: str
    size: int
    path: str

    def as_json(self) -> dict[str, str | int]:
        """The fields that rows hold for the file."""
        return {"path": self.path, "sha256": self.sha256, "size": self.size}


@runtime_checkable
class FileSink(Protocol):
    """Stores the files of one run. A sink lives as long as its run: media objects remember by it where they are
    stored."""

    def add(self, path_in_run: str, data: bytes | Path) -> FileRef:
        """Stores `data`, or the file that it names, under `path_in_run`; the file may be removed after the call."""


class DirectorySink:
    """Stores files in a directory by their content: the same bytes under two names are one file.

    Args:
        root: the directory, created if missing. Contents are in `root/<first two hex digits>/<sha256>`.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.paths: dict[str, FileRef] = {}

    def add(self, path_in_run: str, data: bytes | Path) -> FileRef:
        digest, size = sha256_of(data)
        target = self.path_of(digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    if isinstance(data, bytes):
                        file.write(data)
                    else:
                        with data.open("rb") as source:
                            shutil.copyfileobj(source, file, _CHUNK_BYTES)
                Path(name).replace(target)  # atomic
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
        ref = self.paths[path_in_run] = FileRef(digest, size, path_in_run)
        return ref

    def path_of(self, sha256: str) -> Path:
        """The path of the file with this content."""
        return self.root / sha256[:2] / sha256


def store(sink: FileSink, folder: str, key: str, step: int | str, suffix: str, data: bytes | Path) -> FileRef:
    """Passes a file to `sink` as `media/<folder>/<key>_<step>_<first 20 hex digits of its sha256><suffix>`."""
    digest, _ = sha256_of(data)
    return sink.add(f"media/{folder}/{clean_path(key)}_{step}_{digest[:20]}{suffix}", data)


def clean_path(key: str) -> str:
    """`key` as a safe relative path: its slashes make folders, parts `.` and `..` become `_` and `__`."""
    parts = [part for part in storable(key).split("/") if part]
    return "/".join("_" * len(part) if part in (".", "..") else part for part in parts)


def sha256_of(data: bytes | Path) -> tuple[str, int]:
    """The hex digest and the size of `data`, or of the file that it names."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest(), len(data)
    with data.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()
