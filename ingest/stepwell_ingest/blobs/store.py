"""The blob store: a local folder or an S3-compatible bucket, through one library (obstore).

Used by intake and collector. Receives bytes and their path; returns the same bytes, by ranges. Promises that a path
shows a whole object or none, and that an object survives a crash of the host once `put` has returned. S3 promises that
itself; obstore's local store renames a finished file into place but syncs nothing to the disk, so this module does.

    stored/ab/abcd…                      a blob, by the hexadecimal SHA-256 of its bytes
    incoming/abcd…/<offset>-<length>     a part of a blob that is not yet whole (`stepwell_ingest.blobs.incoming`)
    removing/abcd…-<when>                a blob that is being removed (`stepwell_ingest.blobs.collector`)
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from stepwell.errors import Error, SettingError, UnavailableError

if TYPE_CHECKING:
    from obstore.store import ObjectStore  # exists for type checkers only

#: Parts of a multipart upload; S3 takes 10,000 of them.
_CHUNK_BYTES = 8 * 1024 * 1024
_CHUNKS_AT_A_TIME = 2
_READ_BYTES = 1024 * 1024
#: S3 copies no larger objects in one request.
_COPY_BYTES = 5 * 1024**3
#: Requests to the store are retried for this long; after that the client, which has the bytes, retries.
_RETRY: dict[str, Any] = {"max_retries": 3, "retry_timeout": datetime.timedelta(seconds=20)}


class Store:
    """One store of blobs.

    Args:
        name: the name of the store in messages.
        store: the library's store.
        folder: its folder on the disk; None: not on this disk.
    """

    def __init__(self, name: str, store: ObjectStore, folder: Path | None) -> None:
        self.name = name
        self._store = store
        self._folder = folder
        self._synced: set[Path] = set()  # folders whose own directory entries are synced

    async def put(self, path: str, data: bytes | bytearray | AsyncIterator[bytes], *, for_good: bool = True) -> None:
        """Stores an object, whole or not at all. If the iterator raises an error, nothing is stored.

        Args:
            path: its path; an object of this path is replaced.
            data: its bytes.
            for_good: whether it must survive a crash of the host, too.

        Raises:
            UnavailableError: the store does not accept the object now.
        """
        with store_errors("store a blob", missing_is_error=True):
            await self._store.put_async(path, data, chunk_size=_CHUNK_BYTES, max_concurrency=_CHUNKS_AT_A_TIME)
            if self._folder is not None and for_good:
                await asyncio.to_thread(self._sync, self._folder / path)

    def _sync(self, path: Path) -> None:
        """Syncs the file and its directory entry, and once the entries of the directories above it, which may be
        new."""
        folders = [path.parent]
        if path.parent not in self._synced:
            folders += [folder for folder in path.parent.parents if folder.is_relative_to(self._folder or folder)]
        for place in (path, *folders):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._synced.add(path.parent)

    async def size(self, path: str) -> int | None:
        """The object's size; None when there is none.

        Raises:
            UnavailableError: the store does not answer.
        """
        with store_errors("look up a blob"):
            try:
                return int((await self._store.head_async(path))["size"])
            except FileNotFoundError:
                return None

    async def read(self, path: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, in pieces of about 1 MiB.

        Raises:
            FileNotFoundError: there is no such object.
            UnavailableError: the store does not answer.
        """
        if start == end:
            return
        with store_errors("return a blob"):
            found = await self._store.get_async(path, options={"range": (start, end)})
            async for piece in found.stream(min_chunk_size=_READ_BYTES):
                yield bytes(piece)

    async def below(self, prefix: str) -> list[tuple[str, int, float]]:
        """The path, the size and the time of the last change (in Unix seconds) of each object below a prefix.

        Raises:
            UnavailableError: the store does not answer.
        """
        with store_errors("list its blobs"):
            found = await self._store.list(prefix).collect_async()
            return [(str(item["path"]), int(item["size"]), item["last_modified"].timestamp()) for item in found]

    async def delete(self, paths: list[str]) -> None:
        """Removes objects; missing ones are not an error.

        Raises:
            UnavailableError: the store does not answer.
        """
        with store_errors("remove parts of blobs"):
            for path in paths:
                with contextlib.suppress(FileNotFoundError):
                    await self._store.delete_async(path)
            if self._folder is not None:
                for folder in {(self._folder / path).parent for path in paths}:
                    with contextlib.suppress(OSError):  # another upload has put a part there
                        folder.rmdir()

    async def remove(self, path: str) -> None:
        """Removes a whole blob; a missing one is not an error. Its folder stays, since other blobs may be arriving
        there.

        Raises:
            UnavailableError: the store does not answer, or the bucket is not there.
        """
        with store_errors("remove a blob", missing_is_error=self._folder is None):
            try:
                await self._store.delete_async(path)
            except FileNotFoundError:
                if self._folder is None:  # S3 reports only a missing bucket
                    raise

    async def move(self, path: str, to: str) -> None:
        """Renames an object, replacing any object of that name; a missing one is not an error.

        Raises:
            UnavailableError: the store does not answer, or the bucket is not there.
        """
        with store_errors("move a blob", missing_is_error=self._folder is None):
            try:
                if self._folder is not None:
                    await self._store.rename_async(path, to)
                    await asyncio.to_thread(self._sync, self._folder / to)
                elif (size := await self.size(path) or 0) <= _COPY_BYTES:
                    await self._store.rename_async(path, to)
                else:
                    await self.put(to, self.read(path, 0, size))
                    await self._store.delete_async(path)
            except FileNotFoundError:
                if (
                    self._folder is None
                ):  # S3 reports a missing object and a missing bucket alike; a listing tells them apart
                    await self._store.list(path).collect_async()

    async def remove_unfinished(self, older_than_s: float) -> None:
        """Removes partial files that crashes during a `put` have left in a local folder. (Buckets have lifecycle
        rules.)"""
        if self._folder is not None:
            await asyncio.to_thread(_remove_staged, self._folder, time.time() - older_than_s)


def open_store(place: str) -> Store:
    """The store at a path or at an s3:// URL.

    Endpoint, region and credentials of S3 come from the environment: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY and the others that AWS' own tools read.

    Raises:
        SettingError: the place is invalid, or cannot be created.
    """
    if "://" not in place:
        folder = Path(place).absolute()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            store = LocalStore(folder)
        except (OSError, BaseError) as error:
            raise SettingError(
                f"the directory for blobs, {folder}, cannot be used",
                detail=getattr(error, "strerror", None) or str(error)[:300],
                hint="name another one with --blobs or STEPWELL_BLOBS",
            ) from error
        return Store(str(folder), store, folder)
    if not place.startswith("s3://") or not place.removeprefix("s3://").strip("/"):
        raise SettingError(
            f"blobs cannot be stored at {place!r}", hint="name a directory, or a bucket as s3://bucket/prefix"
        )
    # Plain HTTP is allowed: whoever runs the server has named the endpoint.
    plain = os.environ.get("AWS_ENDPOINT_URL", os.environ.get("AWS_ENDPOINT", "")).startswith("http://")
    options: dict[str, Any] = {"allow_http": True} if plain else {}
    try:
        bucket = from_url(place, client_options=options, retry_config=_RETRY)  # type: ignore[call-overload]  # its stubs want a literal
    except (BaseError, ValueError) as error:
        raise SettingError(
            f"blobs cannot be stored at {place}",
            detail=_first_line(error),
            hint="name a bucket as s3://bucket/prefix; its credentials and endpoint come from AWS_… variables",
        ) from error
    return Store(place, bucket, None)


@contextlib.contextmanager
def store_errors(doing: str, *, missing_is_error: bool = False) -> Iterator[None]:
    """Turns the library's exceptions into `UnavailableError`: the client has the bytes, and a retry can help.

    Args:
        doing: the action, for the message.
        missing_is_error: whether "not found" means that the bucket is missing, not the object.
    """
    try:
        yield
    except Error:
        raise
    except FileNotFoundError as error:
        if not missing_is_error:
            raise
        raise _unavailable(doing, error) from error
    except (BaseError, OSError) as error:
        raise _unavailable(doing, error) from error


def _unavailable(doing: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"the blob store could not {doing}",
        detail=_first_line(error),
        hint="the sender keeps its files and retries; check the disk, or the bucket and its credentials",
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:300] or type(error).__name__


def _remove_staged(root: Path, before: float) -> None:
    # The library writes beside the object, to a name with `#` and a number appended.
    for path in root.rglob("*#*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()
