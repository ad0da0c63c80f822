"""The files of a run from the read API: those of `run.save`, and those in `run.dir`.

Sits beside `_history`. Receives the server's list of files; downloads them into a directory that the reader chooses.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from stepwell.api._http import Client
from stepwell.compat import names
from stepwell.compat.absent import absent_name
from stepwell.errors import NotFoundError, UsageError

_PAGE = 1000
_PIECE_BYTES = 1024 * 1024


class File:
    """One file of a run, with the newest content under its name.

    Attributes:
        name: its name in the run, with slashes.
        size: its size in bytes.
        sha256: the SHA-256 of its content, in hexadecimal.
        updated_at: the time at which it was saved; ISO 8601, UTC.
    """

    def __init__(self, client: Client, about: dict[str, Any]) -> None:
        self._client = client
        self.name = str(about["name"])
        self.size = int(about["size"])
        self.sha256 = str(about["sha256"])
        self.updated_at = str(about["time"])

    def __repr__(self) -> str:
        return f"<File {self.name} ({self.size:,} bytes)>"

    @property
    def url(self) -> str:
        """The URL of its content."""
        return f"{self._client.url}/v1/blobs/{self.sha256}"

    direct_url = url

    def download(
        self, root: str | os.PathLike[str] = ".", replace: bool = False, exist_ok: bool = False, api: object = None
    ) -> IO[str]:
        """Downloads the file to `root`/`name`, and opens it for reading.

        Args:
            root: a directory, created if missing.
            replace: whether to overwrite an existing file.
            exist_ok: whether to open an existing file unchanged.
            api: accepted for scripts written for W&B.

        Raises:
            UsageError: the local file exists and neither `replace` nor `exist_ok` is set, the name leads out of `root`,
                or the file was not downloaded completely.
            UnknownBlobError: the server does not have its bytes.
            OSError: the file cannot be written.
        """
        place = Path(root).resolve()
        path = (place / self.name).resolve()
        if not path.is_relative_to(place):
            raise UsageError(f"the file name {self.name!r} leads outside of {place}")
        if path.exists() and not replace:
            if not exist_ok:
                raise UsageError(f"{path} exists already", hint="download(replace=True) overwrites it")
            return path.open()
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
        try:
            with (
                os.fdopen(descriptor, "wb") as out,
                self._client.get(("v1", "blobs", self.sha256), {}, "application/octet-stream") as reply,
            ):
                shutil.copyfileobj(reply, out, _PIECE_BYTES)
            if os.path.getsize(temporary) != self.size:
                raise UsageError(f"{self.name} was not downloaded completely", hint="download it again")
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path.open()

    def __getattr__(self, name: str) -> Any:
        raise absent_name("a file", name, names.API, self)


class Files(Sequence[File]):
    """The files of a run, by name; loaded when they are accessed."""

    def __init__(self, client: Client, path: Sequence[str], wanted: Sequence[str] | None = None) -> None:
        self._client = client
        self._path = path
        self._wanted = None if wanted is None else set(wanted)
        self._found: list[File] | None = None

    def __len__(self) -> int:
        return len(self._load())

    def __getitem__(self, index: Any) -> Any:
        return self._load()[index]

    def __iter__(self) -> Iterator[File]:
        return iter(self._load())

    def __repr__(self) -> str:
        return f"<Files {'/'.join(self._path[2:])} ({len(self)})>"

    def _load(self) -> list[File]:
        if self._found is None:
            found, cursor = [], None
            while True:
                answer = self._client.get_json((*self._path, "files"), {"limit": _PAGE, "cursor": cursor})
                found += [File(self._client, item) for item in answer["files"]]
                cursor = answer["next"]
                if cursor is None:
                    break
            self._found = [file for file in found if self._wanted is None or file.name in self._wanted]
        return self._found


def named_file(client: Client, path: Sequence[str], name: str) -> File:
    """The file of that name.

    Raises:
        NotFoundError: the run has no such file; the hint lists its files.
    """
    files = Files(client, path)
    for file in files:
        if file.name == name:
            return file
    shown = ", ".join(file.name for file in files[:10])
    raise NotFoundError(
        f"the run has no file {name!r}", hint=f"it has {shown}" if shown else "it has no files; run.save() adds them"
    )
