"""The error tree of Stepwell: what can go wrong between `log()` and Postgres, and whether a retry can help.

Off the data path: every component raises these errors, both ends of the wire share them, and retry code checks the
class attribute `retryable`, never a list of types.

    Error
    ├── UsageError                 a call with invalid arguments, or one that is not allowed now
    │   ├── AbsentNameError        (also AttributeError) a name of W&B's client that Stepwell does not have
    │   ├── AbsentModuleError      (also ImportError) likewise a module
    │   └── ForbiddenError         the caller lacks a right on the server
    ├── ConfigError                a key of the config would change its value
    ├── DataError                  (also TypeError and ValueError) a value, key or step that cannot be logged
    ├── CommError                  the read API cannot answer (W&B's name for it)
    │   ├── AuthenticationError    the server requires an API key, or refuses this one       (retryable)
    │   ├── NotFoundError          (also LookupError) there is no such run, project or file
    │   └── RewoundError           rows already read are no longer shown; read again
    ├── SettingError               (also ValueError) an invalid setting
    ├── SpoolError                 the spool directory cannot be used
    │   ├── SpoolFullError         its size limit is reached, or the disk is full
    │   ├── SpoolLockedError       another process owns it
    │   └── SpoolFormatError       it was written by another version, or is not a spool
    ├── WireError                  bytes that are not a valid frame
    │   ├── FrameCorruptError      damaged: checksum, lengths or layout are wrong   (retryable)
    │   ├── FrameVersionError      written by another version of the format
    │   └── FrameTooLargeError     over a limit that both ends know
    ├── RejectionError             the server refused a frame for good
    │   ├── StepOrderError         steps do not strictly increase
    │   ├── SequenceConflictError  the same seq was stored with other bytes
    │   ├── FencedError            a newer process took over this writer
    │   ├── UnknownWriterError     no writer has this session
    │   ├── RunDeletedError        the run of this session was deleted on the server
    │   └── LimitError             a limit of the run is reached (metric names)
    │       └── RunFullError       the quota of points or bytes of the run is used up
    ├── BlobError                  a logged file cannot be stored or returned
    │   ├── BlobMismatchError      its bytes have another hash than its name
    │   ├── BlobTooLargeError      over a limit of the server or of the run
    │   └── UnknownBlobError       it is not stored
    └── ServerError                the server cannot accept or answer a request now      (retryable)
        ├── OverloadedError        no room; come back after `retry_after_s`
        ├── BlobOffsetError        earlier bytes of a file are missing; continue at `offset`
        ├── SequenceGapError       an earlier frame is missing; resume from `expected`
        └── UnavailableError       not reachable, draining, or without its Postgres
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

#: The longest pause, even if a server asks for a longer one.
_LONGEST_PAUSE_S = 3600.0


class Error(Exception):
    """Base of all errors of Stepwell.

    Args:
        message: what happened, in one sentence.
        detail: the numbers and names involved.
        hint: what to do about it.
    """

    retryable: ClassVar[bool] = False
    code: ClassVar[str] = "error"

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        text = self.message
        if self.detail:
            text += f" ({self.detail})"
        if self.hint:
            text += f"\n  Hint: {self.hint}"
        return text

    def as_dict(self) -> dict[str, Any]:
        """The error in the form of replies: code, retryable, message and, where given, detail and hint."""
        out: dict[str, Any] = {"code": self.code, "retryable": self.retryable, "message": self.message}
        if self.detail:
            out["detail"] = self.detail
        if self.hint:
            out["hint"] = self.hint
        return out


class UsageError(Error):
    code = "usage"


class AbsentNameError(UsageError, AttributeError):
    """An AttributeError, so that `hasattr` is False and programs that look for the name continue without it."""

    code = "absent_name"


class AbsentModuleError(UsageError, ImportError):
    """An ImportError, so that programs that can do without the module continue."""

    code = "absent_module"


class ForbiddenError(UsageError):
    code = "forbidden"


class ConfigError(Error):
    code = "config"


class DataError(Error, TypeError, ValueError):
    """Both a TypeError and a ValueError: scripts written for either era of W&B's client catch it."""

    code = "data"


class CommError(Error):
    """Raised by `stepwell.Api` where W&B's client raises an error of this name."""

    code = "comm"


class AuthenticationError(CommError):
    """Retryable: what a process has logged waits in its spool until its key is accepted again."""

    code = "unauthenticated"
    retryable = True


class NotFoundError(CommError, LookupError):
    code = "not_found"


class RewoundError(CommError):
    code = "rewound"


class SettingError(Error, ValueError):
    code = "setting"


class SpoolError(Error):
    code = "spool"


class SpoolFullError(SpoolError):
    code = "spool_full"


class SpoolLockedError(SpoolError):
    code = "spool_locked"


class SpoolFormatError(SpoolError):
    code = "spool_format"


class WireError(Error):
    code = "wire"


class FrameCorruptError(WireError):
    """Retryable: the frame may have been damaged in transit, and the copy on disk is checked before it is sent
    again."""

    code = "frame_corrupt"
    retryable = True


class FrameVersionError(WireError):
    code = "frame_version"


class FrameTooLargeError(WireError):
    code = "frame_too_large"


class RejectionError(Error):
    code = "rejected"


class StepOrderError(RejectionError):
    code = "step_order"


class SequenceConflictError(RejectionError):
    code = "sequence_conflict"


class FencedError(RejectionError):
    code = "fenced"


class UnknownWriterError(RejectionError):
    code = "unknown_writer"


class RunDeletedError(RejectionError):
    code = "run_deleted"


class LimitError(RejectionError):
    code = "limit"


class RunFullError(LimitError):
    code = "run_full"


class BlobError(Error):
    code = "blob"


class BlobMismatchError(BlobError):
    code = "blob_mismatch"


class BlobTooLargeError(BlobError):
    code = "blob_too_large"


class UnknownBlobError(BlobError):
    code = "unknown_blob"


class ServerError(Error):
    code = "server"
    retryable = True


class OverloadedError(ServerError):
    code = "overloaded"

    def __init__(
        self, message: str, *, retry_after_s: float, detail: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.retry_after_s = retry_after_s

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "retry_after_s": self.retry_after_s}


class BlobOffsetError(ServerError):
    code = "blob_offset"

    def __init__(self, message: str, *, offset: int, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.offset = offset

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "offset": self.offset}


class SequenceGapError(ServerError):
    code = "sequence_gap"

    def __init__(self, message: str, *, expected: int, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.expected = expected

    def as_dict(self) -> dict[str, Any]:
        return {**super().as_dict(), "expected": self.expected}


class UnavailableError(ServerError):
    code = "unavailable"


def harmless(text: str) -> str:
    """Untrusted `text` as one line for a terminal: control characters and marks of text direction are escaped."""
    line = re.sub(r"\s*[\t\n\v\f\r]\s*", " ", text)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)


def from_dict(message: Mapping[str, Any]) -> Error:
    """Restores an error from the result of `as_dict`, as far as this version knows its code.

    A code that is new to this version keeps its meaning for retries: a ServerError when it says that it is retryable,
    else a RejectionError.
    """
    code = message.get("code")
    text = harmless(str(message.get("message", "the server did not give a reason")))
    detail, hint = (harmless(str(value)) if value else None for value in (message.get("detail"), message.get("hint")))
    if detail and code == UsageError.code:  # of a query: one of its lines, and a mark below it
        detail = "\n".join(map(harmless, str(message["detail"]).split("\n")))
    if code == OverloadedError.code:
        pause_s = float(message.get("retry_after_s", 1.0))
        pause_s = pause_s if 0 <= pause_s <= _LONGEST_PAUSE_S else _LONGEST_PAUSE_S
        return OverloadedError(text, retry_after_s=pause_s, detail=detail, hint=hint)
    if code == SequenceGapError.code:
        return SequenceGapError(text, expected=int(message.get("expected", 0)), detail=detail, hint=hint)
    if code == BlobOffsetError.code:
        return BlobOffsetError(text, offset=int(message.get("offset", 0)), detail=detail, hint=hint)
    for kind in _all_subclasses(Error):
        if kind.code == code:
            return kind(text, detail=detail, hint=hint)
    fallback = ServerError if message.get("retryable") else RejectionError
    return fallback(f"{text} [{harmless(str(code))}]", detail=detail, hint=hint)


def _all_subclasses(kind: type[Error]) -> Iterator[type[Error]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _all_subclasses(child)
