"""One HTTP connection that uploads files: PUT, in parts for large files, resuming at the server's offset.

Sits between the uploader's threads and `/v1/blobs`. Receives a file; returns its acknowledgement, or raises an error
that says whether a retry can help. Uses blocking sockets of the standard library, because it runs in threads of its own
and must work during interpreter shutdown, when asyncio's executor is gone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlencode

from stepwell.errors import (
    AuthenticationError,
    BlobTooLargeError,
    Error,
    OverloadedError,
    RejectionError,
    ServerError,
    UnavailableError,
    from_dict,
)
from stepwell.files.blob_spool import Blob
from stepwell.transport.endpoint import Endpoint
from stepwell.transport.http import LOST, connection, read_all, target

#: Smaller files are sent in one request without asking first; larger ones in parts of this size, each acknowledged.
PART_BYTES = 8 * 1024 * 1024
_PIECE_BYTES = 128 * 1024
#: The longest wait for an answer. The last part of a large file is answered once the server has joined the parts.
_ANSWER_S = 120.0
#: The longest answer.
_MAX_ANSWER_BYTES = 64 * 1024
#: The number of answers without progress after which the upload is given up for now.
_MAX_IDLE_ANSWERS = 3


class _Answer(NamedTuple):
    status: int
    offset: int | None
    retry_after_s: float
    body: bytes


class BlobClient:
    """One connection, opened when needed. One thread uses it; `abort` may be called from another one.

    Args:
        endpoint: the server.
        connect_s: the longest wait for a connection.
        worked: called after each piece of a file with the file and the piece's bytes and seconds; may wait, to leave
            bandwidth to others.
        accepted: called with the file when the server has stored more of it than before.
        project: entity/project whose run logs the files; None: not known.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        connect_s: float,
        worked: Callable[[Blob, int, float], None],
        accepted: Callable[[Blob], None],
        project: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._headers = endpoint.request_headers
        self._connect_s = connect_s
        self._worked = worked
        self._accepted = accepted
        self._query = "" if project is None else "?" + urlencode({"path": project})
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False

    def deliver(self, blob: Blob, path: Path) -> bool:
        """Uploads a file; returns, once the server has it for good, whether it is new there.

        Raises:
            Error: the server refuses the file, or the upload failed; see `retryable`.
            OSError: the file cannot be read; FileNotFoundError: it is gone.
        """
        with open(path, "rb") as file:
            offset = 0
            if blob.size > PART_BYTES:
                answer = self._ask("HEAD", blob)
                if answer.status == 200:
                    return False
                if answer.status != 404:
                    raise _error_of(answer, blob)
                offset = answer.offset or 0
            idle = 0
            while True:
                answer = self._ask("PUT", blob, file, offset)
                if answer.status in (200, 201):
                    return answer.status == 201
                if answer.status not in (202, 409) or answer.offset is None:
                    raise _error_of(answer, blob)
                if answer.offset > offset:
                    self._accepted(blob)
                idle = 0 if answer.offset > offset else idle + 1
                if idle > _MAX_IDLE_ANSWERS or not 0 <= answer.offset <= blob.size:
                    raise UnavailableError(
                        "the server accepts data for the file without advancing its offset",
                        detail=f"the offset is {answer.offset}",
                    )
                offset = answer.offset

    def close(self) -> None:
        """Closes the connection; the next call opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """Makes the call in progress, and all later ones, fail with an error."""
        self._aborted = True
        connection = self._connection
        sock = connection.sock if connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, method: str, blob: Blob, file: BinaryIO | None = None, offset: int = 0) -> _Answer:
        try:
            used = self._connected()
            used.putrequest(method, target(self._endpoint, f"/v1/blobs/{blob.sha256}{self._query}"))
            for header, value in self._headers.items():
                used.putheader(header, value)
            length = min(blob.size - offset, PART_BYTES) if file is not None else 0
            if file is not None:
                used.putheader("Content-Length", str(length))
                if (offset, length) != (0, blob.size):
                    what = f"{offset}-{offset + length - 1}" if length else "*"
                    used.putheader("Content-Range", f"bytes {what}/{blob.size}")
            try:
                used.endheaders()
                if file is not None:
                    file.seek(offset)
                    self._send(used, blob, file, length)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server may have refused in the middle of the body: its answer says why
            started = time.monotonic()
            response = used.getresponse()
            body = read_all(response, _MAX_ANSWER_BYTES)
            self._worked(blob, 0, time.monotonic() - started)
            if response.will_close:
                self.close()
            return _Answer(
                response.status,
                _number(response.headers.get("Upload-Offset")),
                float(_number(response.headers.get("Retry-After")) or 0),
                body,
            )
        except LOST as error:
            self.close()
            if isinstance(error, _FileError):
                raise error.error from None
            raise UnavailableError("the server did not accept the file", detail=str(error) or repr(error)) from error
        except BaseException:
            self.close()
            raise

    def _send(self, connection: http.client.HTTPConnection, blob: Blob, file: BinaryIO, length: int) -> None:
        while length:
            started = time.monotonic()
            try:
                piece = file.read(min(length, _PIECE_BYTES))
            except OSError as error:
                raise _FileError(error) from error
            if not piece:
                raise _FileError(OSError(f"the file is {length} bytes shorter than it was"))
            connection.send(piece)
            length -= len(piece)
            self._worked(blob, len(piece), time.monotonic() - started)

    def _connected(self) -> http.client.HTTPConnection:
        if self._aborted:
            raise UnavailableError("the upload was stopped")
        if self._connection is None:
            made = connection(self._endpoint, self._connect_s)
            made.connect()
            if self._aborted:  # during the connect
                made.close()
                raise UnavailableError("the upload was stopped")
            made.sock.settimeout(_ANSWER_S)
            # A head and a small body are sent at once, without waiting for the acknowledgement of the head.
            made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connection = made
        return self._connection


class _FileError(OSError):
    """An error of the local file, as distinct from one of the socket."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


def _error_of(answer: _Answer, blob: Blob) -> Error:
    message: Any = None
    with contextlib.suppress(ValueError):
        message = json.loads(answer.body)
    if isinstance(message, dict) and isinstance(message.get("error"), dict):
        error = from_dict(message["error"])
        if answer.retry_after_s and error.retryable and not isinstance(error, OverloadedError):
            return OverloadedError(
                error.message, retry_after_s=answer.retry_after_s, detail=error.detail, hint=error.hint
            )
        return error
    text = answer.body[:200].decode(errors="replace").strip()
    detail = f"HTTP {answer.status}" + (f": {text}" if text else "")
    if answer.status == 413:
        return BlobTooLargeError(
            "a proxy in front of the server rejects a body of this size",
            detail=f"{min(blob.size, PART_BYTES):,} bytes; {detail}",
            hint=f"configure the proxy to accept bodies of {PART_BYTES:,} bytes",
        )
    if answer.status == 401:  # HEAD is answered without a body
        return AuthenticationError("the server requires an API key, or refuses this one", detail=detail)
    if answer.status >= 500 or answer.status in (404, 405, 408, 429):
        return ServerError(
            "the server cannot accept files now", detail=detail, hint="is it a Stepwell server with a blob store?"
        )
    return RejectionError("the server refuses the file", detail=detail)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
