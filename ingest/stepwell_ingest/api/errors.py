"""Errors as HTTP answers: one table from class to status, and the body with code, retryable, message and hint.

Handlers raise; the middleware in `app` answers with `error_response`, and nothing else does.
"""

from __future__ import annotations

import math

import orjson
from aiohttp import web

from stepwell.errors import (
    AuthenticationError,
    BlobMismatchError,
    BlobOffsetError,
    BlobTooLargeError,
    Error,
    FencedError,
    ForbiddenError,
    FrameTooLargeError,
    NotFoundError,
    OverloadedError,
    RejectionError,
    RewoundError,
    RunDeletedError,
    SequenceConflictError,
    SequenceGapError,
    ServerError,
    UnknownBlobError,
    UnknownWriterError,
    WireError,
)
from stepwell_ingest.api.origin import MediaTypeError
from stepwell_ingest.read.layouts import LayoutChangedError

#: The first class that matches decides, so subclasses come before their parents.
_STATUS: tuple[tuple[type[Error], int], ...] = (
    (FrameTooLargeError, 413),
    (BlobTooLargeError, 413),
    (BlobMismatchError, 422),
    (BlobOffsetError, 409),
    (UnknownBlobError, 404),
    (UnknownWriterError, 404),
    (NotFoundError, 404),
    (RewoundError, 409),
    (RunDeletedError, 410),
    (FencedError, 409),
    (SequenceConflictError, 409),
    (SequenceGapError, 409),
    (WireError, 400),
    (RejectionError, 422),
    (AuthenticationError, 401),
    (ForbiddenError, 403),
    (MediaTypeError, 415),
    (LayoutChangedError, 409),
    (ServerError, 503),
    (Error, 400),
)


class ErrorReply(Exception):
    """An error whose answer has fields besides the error.

    Args:
        error: the error.
        fields: the other fields.
    """

    def __init__(self, error: Error, **fields: object) -> None:
        super().__init__(error)
        self.error = error
        self.fields = fields


def status_of(error: Error) -> int:
    """The HTTP status of `error`."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def json_response(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer, with a newline at its end for terminals."""
    raw = orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def error_response(error: Error, **fields: object) -> web.Response:
    """`{"error": {…}, …}` with the status of the class.

    If waiting helps, the header Retry-After gives the whole seconds to wait. WWW-Authenticate asks for a key, and
    Upload-Offset gives the offset at which to continue an upload.
    """
    headers = {}
    if isinstance(error, OverloadedError):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    elif status_of(error) == 503:
        headers["Retry-After"] = "1"
    if isinstance(error, AuthenticationError):
        headers["WWW-Authenticate"] = 'Bearer realm="stepwell"'
    if isinstance(error, BlobOffsetError):
        headers["Upload-Offset"] = str(error.offset)
    return json_response({"error": error.as_dict(), **fields}, status_of(error), headers)
