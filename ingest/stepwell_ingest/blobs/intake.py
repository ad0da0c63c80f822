"""The blobs of one server: which are stored, which bytes are missing, and how uploads become blobs.

Stands between the routes and the store. Receives claims ("these are the bytes from 8388608 on of the blob with this
hash") with bodies; returns answers. A blob is acknowledged when the store has it for good and `stepwell.blob` has its
row (`presence`), in this order: a crash between the two costs one more upload, never a row without its blob. Promises
that memory holds one part of each upload, within a limit for all of them, and that a blob has the hash that is its
name.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg

from stepwell.errors import (
    BlobMismatchError,
    BlobOffsetError,
    BlobTooLargeError,
    DataError,
    Error,
    UnavailableError,
)
from stepwell_ingest.access.rights import SERVER, Scope
from stepwell_ingest.blobs import incoming
from stepwell_ingest.blobs.presence import Presence
from stepwell_ingest.blobs.store import Store
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.write.admission import Room

log = logging.getLogger(__name__)

_SWEEP_EVERY_S = 3600.0
_COMPOSE_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class Claim:
    """The part of a blob that the body of an upload claims to be.

    Attributes:
        sha256: the SHA-256 of the whole blob, 64 hexadecimal digits in lower case.
        start: the offset of the body's first byte.
        length: the length of the body; None: not known in advance.
        total: the size of the blob; None: the blob ends where the body ends.
        owner: the owner of the upload; None: the server has no keys.
    """

    sha256: str
    start: int
    length: int | None
    total: int | None
    owner: incoming.Owner | None = None

    @property
    def upload(self) -> str:
        """The name of the upload."""
        return incoming.upload_of(self.sha256, self.owner)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an upload.

    Attributes:
        offset: the number of bytes that have arrived without a gap, from the beginning on.
        done: whether the blob is stored for good.
        new: whether this upload stored it.
    """

    offset: int
    done: bool
    new: bool


class BlobIntake:
    """The blobs of one worker; any number of workers share a store and a Postgres.

    Args:
        pool: connections to Postgres.
        store: the store of the bytes.
        limits: the largest blob and part, and the memory for parts.
        timeouts: how long bodies may take, and how long blobs and parts of uploads are kept.
    """

    def __init__(self, pool: asyncpg.Pool, store: Store, limits: Limits, timeouts: Timeouts) -> None:
        self.store = store
        self.room = Room(limits.blob_memory_bytes, timeouts.retry_after_s)
        self._presence = Presence(pool, store, timeouts.blob_grace_s)
        self._limits = limits
        self._timeouts = timeouts
        self._composing = asyncio.Semaphore(_COMPOSE_AT_A_TIME)

    async def run(self) -> None:
        """Removes the parts of abandoned uploads, until cancelled."""
        while True:
            try:
                swept = await incoming.sweep(self.store, self._timeouts.blob_part_s)
                if swept:
                    log.info("%d parts of abandoned uploads were removed", swept)
            except Error as error:
                log.warning("%s", error)
            await asyncio.sleep(_SWEEP_EVERY_S)

    async def size(self, sha256: str, scope: Scope = SERVER) -> int | None:
        """The size of a stored blob; see `Presence.size`."""
        return await self._presence.size(sha256, scope)

    async def promise(self, sha256: str, owner: incoming.Owner | None = None) -> int | None:
        """The size of a stored blob, for a client that will then not send it; see `Presence.promise`."""
        return await self._presence.promise(sha256, owner)

    async def offset(self, upload: str) -> int:
        """The number of bytes of an unfinished upload (`incoming.upload_of`) that have arrived.

        Raises:
            UnavailableError: the store does not answer.
        """
        return incoming.reach(await incoming.parts_of(self.store, upload))

    def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes [start, end) of a stored blob; see `Store.read`."""
        return self.store.read(incoming.path_of(sha256), start, end)

    async def receive(self, claim: Claim, body: AsyncIterator[bytes]) -> Outcome:
        """Receives a body, a whole blob or a part of one.

        The bytes of a body that breaks off are kept, unless it is a whole blob of at most `blob_part_bytes`.

        Raises:
            BlobTooLargeError: the blob is, or becomes, larger than this server accepts.
            BlobOffsetError: earlier bytes of the blob are missing.
            BlobMismatchError: the bytes are not those of the blob; none of them are kept.
            UnavailableError: the store or Postgres does not answer, or the body did not come in time.
            DataError: the body is shorter or longer than declared.
        """
        self._check_size(claim.total if claim.total is not None else (claim.length or 0))
        size = await self.promise(claim.sha256, claim.owner)
        if size is not None:
            return Outcome(size, done=True, new=False)
        if claim.start == 0 and claim.total is not None and claim.total <= self._limits.blob_part_bytes:
            if claim.length == claim.total:
                return await self._receive_whole(claim, claim.total, body)
        elif claim.start:
            reached = await self.offset(claim.upload)
            if claim.start > reached:
                raise BlobOffsetError(
                    "earlier bytes of the blob are missing",
                    offset=reached,
                    detail=f"{reached} bytes have arrived, and these begin at {claim.start}",
                    hint="continue at the offset in the header Upload-Offset",
                )
        end = await self._receive_parts(claim, body)
        if claim.length is not None and end - claim.start != claim.length:
            raise DataError(
                "the body is shorter or longer than announced", detail=f"{end - claim.start} bytes, not {claim.length}"
            )
        return await self._complete(claim, end if claim.total is None else claim.total)

    async def _receive_whole(self, claim: Claim, total: int, body: AsyncIterator[bytes]) -> Outcome:
        digest, data = hashlib.sha256(), bytearray()
        await self._reserve(total)
        try:
            async with self._in_time():
                async for piece in body:
                    data += piece
                    digest.update(piece)
            if len(data) != total:
                raise DataError(
                    "the body is shorter or longer than announced", detail=f"{len(data)} bytes, not {total}"
                )
            if digest.hexdigest() != claim.sha256:
                raise incoming.mismatch(claim.sha256, digest.hexdigest())
            await self.store.put(incoming.path_of(claim.sha256), data)
        finally:
            self.room.give_back(total)
        await self._presence.record(claim.sha256, total, claim.owner)
        return Outcome(total, done=True, new=True)

    async def _receive_parts(self, claim: Claim, body: AsyncIterator[bytes]) -> int:
        """Cuts the body into parts; returns the offset after them."""
        part_bytes = self._limits.blob_part_bytes
        held = min(part_bytes, claim.length if claim.length is not None else part_bytes)
        position = claim.start
        buffer = bytearray()
        await self._reserve(held)
        try:
            while True:
                try:
                    async with self._in_time():
                        ended = await _fill(buffer, body, part_bytes)
                finally:
                    # Also for a body that broke off, or came too slowly: the next request continues after it.
                    self._check_size(position + len(buffer))
                    if buffer:
                        await incoming.put_part(self.store, claim.upload, position, buffer[:part_bytes])
                        position += min(len(buffer), part_bytes)
                        del buffer[:part_bytes]
                if ended and not buffer:
                    return position
        finally:
            self.room.give_back(held)

    async def _complete(self, claim: Claim, total: int) -> Outcome:
        sha256, upload = claim.sha256, claim.upload
        async with self._composing:
            size = await self.promise(sha256, claim.owner)  # another worker may have been faster
            if size is not None:
                return Outcome(size, done=True, new=False)
            parts = await incoming.parts_of(self.store, upload)
            reached = incoming.reach(parts)
            if reached < total:
                return Outcome(reached, done=False, new=False)
            if reached > total:
                await incoming.forget(self.store, upload)
                raise BlobMismatchError(
                    "more bytes have arrived than the blob has",
                    detail=f"{reached} bytes, not {total}",
                    hint="none of them were kept; send the blob again from its beginning",
                )
            if not total:
                await self._put_empty(sha256)
            else:
                await incoming.compose(self.store, sha256, upload, parts)
            await self._presence.record(sha256, total, claim.owner)
            await incoming.forget(self.store, upload)
        return Outcome(total, done=True, new=True)

    async def _put_empty(self, sha256: str) -> None:
        found = hashlib.sha256().hexdigest()
        if found != sha256:
            raise incoming.mismatch(sha256, found)
        await self.store.put(incoming.path_of(sha256), b"")

    def _check_size(self, size: int) -> None:
        limit = self._limits.blob_bytes
        if size > limit:
            raise BlobTooLargeError(
                "the blob is larger than this server accepts",
                detail=f"{size:,} bytes; the limit is {limit:,}",
                hint="log a smaller file, or start the server with a larger --blob-bytes",
            )

    async def _reserve(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._timeouts.body_s):
                await self.room.reserve(size)
        except TimeoutError:
            raise UnavailableError(
                "the server has no room for a blob at present",
                detail=f"{self.room.held_bytes} of {self.room.limit_bytes} bytes are held",
                hint="send it again after a pause",
            ) from None

    def _in_time(self) -> _InTime:
        return _InTime(self._timeouts.body_s)


class _InTime:
    """A time limit for a body, with an error that explains it."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._timeout = asyncio.timeout(limit_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)  # type: ignore[arg-type]  # `object` here; asyncio itself gave it
        except TimeoutError:
            raise UnavailableError(
                "the body did not arrive in time", detail=f"a part of it took more than {self._limit_s:g} s"
            ) from None


async def _fill(buffer: bytearray, body: AsyncIterator[bytes], size: int) -> bool:
    """Reads until `buffer` has `size` bytes or a little more, or the body ends; returns whether it has ended."""
    while len(buffer) < size:
        try:
            buffer += await anext(body)
        except StopAsyncIteration:
            return True
    return False
