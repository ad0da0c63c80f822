"""Files that users log: a path or a file object, copied when it is logged.

Used by the media classes. As files are copied, scripts may overwrite `sample.wav` in each epoch. Small files are held
in memory, larger ones in a temporary copy that is deleted together with its `Source`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Collection
from pathlib import Path
from typing import Any

from stepwell.errors import DataError

_MAX_IN_MEMORY_BYTES = 16 << 20
_REMOTE = ("http://", "https://", "s3://", "gs://")


class Source:
    """A private copy of a file.

    Attributes:
        data: the bytes, or the path of a copy that lives as long as this object.
        suffix: the suffix of the file's name, in lower case, as in ".png"; empty when it has none.
    """

    def __init__(self, data: bytes | Path, suffix: str) -> None:
        self.data = data
        self.suffix = suffix

    @classmethod
    def of_path(cls, path: str | os.PathLike[str]) -> Source:
        """Copies a file.

        Raises:
            DataError: there is no such file, or it is on another host.
        """
        text = os.fspath(path)
        if text.startswith(_REMOTE):
            raise DataError(
                "files on other hosts cannot be logged",
                detail=text[:200],
                hint="download the file, and give its local path",
            )
        file = Path(text)
        try:
            if file.stat().st_size <= _MAX_IN_MEMORY_BYTES:
                return cls(file.read_bytes(), file.suffix.lower())
            source = cls(_temporary(file), file.suffix.lower())
        except OSError as error:
            raise DataError(
                "a file cannot be read", detail=str(error), hint="give the path of a file that can be read"
            ) from error
        assert isinstance(source.data, Path)
        weakref.finalize(source, _remove, source.data, os.getpid())
        return source

    @classmethod
    def of_readable(cls, readable: Any) -> Source:
        """Reads a file object, from its beginning if it can seek; takes the suffix from its name."""
        name = getattr(readable, "name", "")
        readable = getattr(readable, "buffer", readable)  # open("shape.glb") without "rb" is read as bytes, too
        if hasattr(readable, "seek"):
            readable.seek(0)
        data = readable.read()
        if isinstance(data, str):
            data = data.encode()
        return cls(bytes(data), Path(name).suffix.lower() if isinstance(name, str) else "")

    @classmethod
    def of(cls, data: Any) -> Source | None:
        """The source of a path or of a file object; None for anything else."""
        if isinstance(data, str | os.PathLike):
            return cls.of_path(data)
        return cls.of_readable(data) if hasattr(data, "read") else None

    def read(self) -> bytes:
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()


def checked_format(name: str, allowed: Collection[str], kind: str) -> str:
    """The name of a format in lower case and without a leading dot.

    Raises:
        DataError: the format is not one of `allowed`.
    """
    plain = name.lower().removeprefix(".")
    if plain not in allowed:
        raise DataError(
            f"{kind} cannot have the format {name!r}" if name else f"the format of {kind} is not given",
            hint=f"use one of {', '.join(sorted(allowed))}, as the ending of the name or as file_type",
        )
    return plain


def _remove(path: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        path.unlink(missing_ok=True)


def _temporary(file: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix="stepwell-", suffix=file.suffix)
    os.close(handle)
    try:
        shutil.copyfile(file, name)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
