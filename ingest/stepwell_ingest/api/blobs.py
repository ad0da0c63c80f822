"""HEAD, PUT and GET of /v1/blobs/{sha256}: files, apart from the frames, for the SDK, for browsers and for curl.

HEAD says whether a blob is stored, and if not, in `Upload-Offset`, how many of its bytes have arrived. PUT sends a
whole blob, or with `Content-Range: bytes a-b/total` a part of one, or with `bytes */total` asks to complete it; 201
means that it is now stored for good, 200 that it was stored already, 202 that more bytes are needed. GET answers
ranges, cacheable forever, and never in a form that a browser would execute in this origin.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Protocol

from aiohttp import ClientError, web

from stepwell.errors import DataError, Error, UnavailableError, UnknownBlobError
from stepwell_ingest.access.rights import LOCAL, SERVER
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.blob_headers import content_headers, etag, wanted_range
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.blobs.incoming import Owner, upload_of
from stepwell_ingest.blobs.intake import BlobIntake, Claim, Outcome
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.write.admission import Gate
from stepwell_ingest.write.space import Space

_PIECE_BYTES = 256 * 1024
_SNIFF_BYTES = 512
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})")


class BlobServices(Protocol):
    """The services that the blob routes need."""

    @property
    def gate(self) -> Gate: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def space(self) -> Space: ...
    @property
    def blobs(self) -> BlobIntake | None: ...


async def head_blob(services: BlobServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Answers whether a file is stored; if not, `Upload-Offset` says how many of its bytes have arrived.

    Raises:
        DataError: the path holds no hash.
        UnavailableError: the server has no blob store, or the store or Postgres does not answer.
    """
    blobs, sha256 = _place_of(services), _sha256(request)
    owner = _owner(request, query)
    size = await blobs.promise(sha256, owner)
    if size is not None:
        return web.Response(headers={"Content-Length": str(size), "ETag": etag(sha256)})
    return web.Response(status=404, headers={"Upload-Offset": str(await blobs.offset(upload_of(sha256, owner)))})


async def put_blob(services: BlobServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Stores a file, or a part of one.

    Raises:
        DataError: the path holds no hash, or the headers are invalid.
        UnavailableError: the server is stopping or has no blob store, or the body was cut off.
        OverloadedError: the disk is nearly full.
        Error: as `BlobIntake.receive`.
    """
    services.gate.check_open(hint="the SDK retries automatically")
    services.space.check_files()
    blobs, claim = _place_of(services), replace(_claim(request), owner=_owner(request, query))
    outcome = await blobs.receive(claim, _pieces(request))
    services.metrics.blob_taken(outcome.new, outcome.offset)
    return _answer(claim.sha256, outcome)


def _place_of(services: BlobServices) -> BlobIntake:
    if services.blobs is None:
        raise UnavailableError(
            "this server stores no files", hint="start it with --blobs and a directory or s3://bucket/prefix"
        )
    return services.blobs


def _answer(sha256: str, outcome: Outcome) -> web.Response:
    status = 202 if not outcome.done else 201 if outcome.new else 200
    body = {"sha256": sha256, "stored": outcome.done, "new": outcome.new, "offset": outcome.offset}
    return json_response(body, status, {"Upload-Offset": str(outcome.offset)})


async def get_blob(services: BlobServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Answers with the bytes of a file, or a range of them.

    Raises:
        DataError: the path holds no hash.
        UnknownBlobError: there is no such file.
        UnavailableError: as in `head_blob`.
    """
    blobs, sha256 = _place_of(services), _sha256(request)
    scope = request[PRINCIPAL].scope
    kept = etag(sha256) in request.headers.get("If-None-Match", "")
    size = None if kept and scope == SERVER else await blobs.size(sha256, scope)
    if kept and (scope == SERVER or size is not None):
        return web.Response(status=304, headers={"ETag": etag(sha256)})
    start = b""
    try:
        if size is not None:
            start = b"".join([piece async for piece in blobs.read(sha256, 0, min(size, _SNIFF_BYTES))])
    except FileNotFoundError:
        size = None  # no run names it, and the collector has just removed it
    if size is None:
        raise UnknownBlobError(
            "there is no such blob",
            detail=sha256,
            hint="its sender may still have it: on that machine, `stepwell status` shows the files that wait, and "
            "`stepwell sync` delivers them",
        )
    headers = content_headers(sha256, query["name"], start)
    wanted = wanted_range(request.headers.get("Range"), request.headers.get("If-Range"), sha256, size)
    if wanted is None:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    first, end = wanted
    partial = (first, end) != (0, size)
    if partial:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_length = end - first
    await response.prepare(request)
    try:
        async for piece in blobs.read(sha256, first, end):
            await response.write(piece)
    except (Error, FileNotFoundError, ConnectionError):
        # The head of the answer has been sent, so only a broken connection can signal that the rest is missing.
        if request.transport is not None:
            request.transport.abort()
        return response
    await response.write_eof()
    return response


def _owner(request: web.Request, query: Query) -> Owner | None:
    """The owner of an upload: the project that the request names, to which the sender may write, else the scope of the
    sender's key; None on a server without keys."""
    principal = request[PRINCIPAL]
    if principal == LOCAL:
        return None
    if query["path"] is not None:
        entity, project = query["path"]
        return entity, project
    return principal.scope.entity or "", principal.scope.project or ""


def _sha256(request: web.Request) -> str:
    """The hash in the path.

    Raises:
        DataError: the path holds no SHA-256.
    """
    text = request.match_info["sha256"]
    if not _SHA256.fullmatch(text):
        raise DataError(
            "the name of a blob must be the SHA-256 of its content",
            detail=f"it is {text[:80]!r}",
            hint="use 64 hexadecimal digits in lower case, as `sha256sum` prints them",
        )
    return text


def _claim(request: web.Request) -> Claim:
    """The part of the blob that the request's body claims to be, from its headers.

    Raises:
        DataError: the headers are invalid, or contradict each other.
    """
    sha256 = _sha256(request)
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise DataError("a body must not be compressed", hint="leave Content-Encoding out")
    length = request.content_length
    text = request.headers.get("Content-Range")
    if text is None:
        return Claim(sha256, 0, length, length)
    found = _CONTENT_RANGE.fullmatch(text)
    if found is None:
        raise DataError(
            "Content-Range is invalid",
            detail=f"it is {text[:80]!r}",
            hint="use bytes FIRST-LAST/TOTAL for a part, bytes */TOTAL to complete the upload",
        )
    total = int(found[3])
    if found[1] is None:
        if length:
            raise DataError("a request that completes a blob must not have a body", detail=f"it has {length} bytes")
        return Claim(sha256, 0, None, total)
    first, last = int(found[1]), int(found[2])
    if not first <= last < total or (length is not None and length != last - first + 1):
        raise DataError("Content-Range and the body do not agree", detail=f"{text}, and a body of {length} bytes")
    return Claim(sha256, first, last - first + 1, total)


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.content.iter_chunked(_PIECE_BYTES):
            yield piece
    except (ConnectionError, ClientError, web.RequestPayloadError) as error:
        raise UnavailableError("the body was cut off", detail=str(error)[:200] or type(error).__name__) from error
