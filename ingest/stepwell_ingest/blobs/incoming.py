"""Incoming blobs: parts that any worker receives, joined into one object when they are complete.

Stands between the route and the store. Receives bytes that claim to begin at an offset of a blob; makes the blob once
its bytes have the hash that is its name. The parts lie in the store, too, named by offset and length, so an upload
continues after a restart, at any worker of any host, and memory holds one part of it. Parts may overlap: the upload has
reached the first gap after offset 0.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator
from typing import NamedTuple

from stepwell.errors import BlobMismatchError, UnavailableError
from stepwell_ingest.blobs.store import Store

#: The owner of an upload on a server with keys: an entity and a project, either of which may be empty.
Owner = tuple[str, str]

_PREFIX = "incoming"
#: The name of a part: its offset and its length. Parts of earlier versions have the offset only.
_PART = re.compile(r"\d+(-\d+)?")


class Part(NamedTuple):
    """A piece of a stored part: bytes [start, end) of the blob, in an object that begins at `offset`."""

    path: str
    offset: int
    start: int
    end: int


def path_of(sha256: str) -> str:
    """The path of a whole blob."""
    return f"stored/{sha256[:2]}/{sha256}"


def upload_of(sha256: str, owner: Owner | None) -> str:
    """The name of an upload. Owners share no parts, so an owner who completes an upload has sent all of its bytes."""
    if owner is None:
        return sha256
    return f"{sha256}-{hashlib.sha256('/'.join(owner).encode()).hexdigest()[:16]}"


async def parts_of(store: Store, upload: str) -> list[Part]:
    """The pieces that make up the beginning of an upload, without gaps and overlaps, in order.

    Raises:
        UnavailableError: the store does not answer.
    """
    found = sorted((_offset(path), size, path) for path, size, _ in await _listed(store, upload))
    parts: list[Part] = []
    reached = 0
    for offset, size, path in found:
        if offset > reached:
            break
        if offset + size > reached:
            parts.append(Part(path, offset, reached, offset + size))
            reached = offset + size
    return parts


def reach(parts: list[Part]) -> int:
    """The number of bytes that have arrived without a gap, from the beginning on."""
    return parts[-1].end if parts else 0


async def put_part(store: Store, upload: str, offset: int, data: bytes | bytearray) -> None:
    """Stores a part.

    Raises:
        UnavailableError: the store does not accept it now.
    """
    # Parts that a crash of the host loses are sent again, and damaged ones fail the hash. The name has the length: an
    # interrupted upload leaves a short part, which must not replace a longer one.
    await store.put(f"{_PREFIX}/{upload}/{offset:020d}-{len(data)}", data, for_good=False)


async def compose(store: Store, sha256: str, upload: str, parts: list[Part]) -> None:
    """Makes the blob from its parts, reading each byte once. The parts stay until `forget`.

    Raises:
        BlobMismatchError: the parts have another hash; nothing became visible, and the parts were removed.
        UnavailableError: the store does not answer, or another worker has just removed the parts.
    """
    try:
        await store.put(path_of(sha256), _checked(store, sha256, parts))
    except BlobMismatchError:
        await forget(store, upload)
        raise


async def forget(store: Store, upload: str) -> None:
    """Removes the parts of an upload.

    Raises:
        UnavailableError: the store does not answer.
    """
    await store.delete([path for path, _, _ in await _listed(store, upload)])


async def sweep(store: Store, older_than_s: float) -> int:
    """Removes the parts of abandoned uploads; returns their number.

    Raises:
        UnavailableError: the store does not answer.
    """
    before = time.time() - older_than_s
    old = [path for path, _, changed in await store.below(f"{_PREFIX}/") if changed < before]
    await store.delete(old)
    await store.remove_unfinished(older_than_s)
    return len(old)


def mismatch(sha256: str, found: str) -> BlobMismatchError:
    """The error for bytes whose hash is not the name of the blob."""
    return BlobMismatchError(
        "the bytes do not match the SHA-256 of this blob",
        detail=f"their SHA-256 is {found}, not {sha256}",
        hint="none of them were kept; send the blob again from its beginning",
    )


async def _checked(store: Store, sha256: str, parts: list[Part]) -> AsyncIterator[bytes]:
    digest = hashlib.sha256()
    try:
        for part in parts:
            async for piece in store.read(part.path, part.start - part.offset, part.end - part.offset):
                await asyncio.to_thread(digest.update, piece)  # a millisecond for each piece, off the loop
                yield piece
    except FileNotFoundError as error:
        raise UnavailableError(
            "parts of the blob were removed while they were joined", detail=sha256, hint="retry the request"
        ) from error
    if digest.hexdigest() != sha256:
        raise mismatch(sha256, digest.hexdigest())


async def _listed(store: Store, upload: str) -> list[tuple[str, int, float]]:
    return [item for item in await store.below(f"{_PREFIX}/{upload}/") if _PART.fullmatch(item[0].rpartition("/")[2])]


def _offset(path: str) -> int:
    return int(path.rpartition("/")[2].partition("-")[0])
