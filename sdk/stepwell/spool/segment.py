"""The segment file of the spool: its format, its head, and the state that the spool keeps for each file.

A segment is a head followed by consecutive frames. A frame carries its own length and checksums (`stepwell.wire`:
header_crc over the header, body_crc over the rest), so a record needs no further wrapping. The name of the file is the
seq of its first frame in 20 digits, so that names sort in the order of the data and no index is needed.

    segment  offset size
               0     8   magic        "SWSPOOL1"
               8     4   length       bytes of the JSON, little-endian like all integers
              12         identity     JSON, UTF-8: format, wire, first_seq and the fields of `SpoolIdentity`
                     4   head_crc     CRC-32 of everything before it
                         padding      zeros up to a multiple of 8
                         frames       each a multiple of 8 bytes, seq = first_seq, first_seq + 1, …

The head keeps this shape in every later version, so that any version can read "format" and "wire" and refuse what it
does not know. A segment ends where the next one begins: frames that it holds beyond the first seq of the next one are
superseded (that happens after a failed fsync, see `stepwell.spool`).
"""

from __future__ import annotations

import errno
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell import wire
from stepwell.errors import SpoolError, SpoolFormatError, SpoolFullError

MAGIC = b"SWSPOOL1"
FORMAT = 1
#: Versions of the frame format that this code reads. A frame of any other version would look damaged and be replaced
#: by a tombstone; therefore the head is checked before any frame is read.
WIRE_VERSIONS = (wire.VERSION,)
SUFFIX = ".seg"
#: A larger identity indicates a damaged length.
MAX_IDENTITY_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct("<I")
_PREFIX_BYTES = len(MAGIC) + _LENGTH.size
#: Errors that mean a lack of room. EFBIG: `ulimit -f`, or a file system with a limit on the size of a file.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})


@dataclass(frozen=True, slots=True)
class SpoolIdentity:
    """The owner of the frames, stored in the head of every segment, so that each segment is self-contained.

    Attributes:
        session: the id of the session of all frames in the spool, 16 bytes.
        started_at: seconds since the Unix epoch.
        info: further fields of the attach message (config, display name, host, pid, …); JSON values.
    """

    entity: str
    project: str
    run: str
    writer: str
    session: bytes
    started_at: float
    info: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Segment:
    """One file of the spool.

    Attributes:
        first: seq of its first frame.
        end: seq of the frame after its last one.
        start: offset of its first frame; 0 when the head is damaged, and reading then looks for the first frame.
        size: the number of valid bytes; the file may hold more, which is not read.
    """

    path: Path
    first: int
    end: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Head:
    identity: SpoolIdentity
    first_seq: int
    length: int


def segment_path(directory: Path, first_seq: int) -> Path:
    return directory / f"{first_seq:020}{SUFFIX}"


def encode_head(identity: SpoolIdentity, first_seq: int) -> bytes:
    """The head of a segment, padding included.

    Raises:
        TypeError, ValueError: `info` is not JSON.
    """
    text = json.dumps(
        {
            "format": FORMAT,
            "wire": wire.VERSION,
            "first_seq": first_seq,
            "entity": identity.entity,
            "project": identity.project,
            "run": identity.run,
            "writer": identity.writer,
            "session": identity.session.hex(),
            "started_at": identity.started_at,
            "info": dict(identity.info),
        }
    ).encode()
    head = MAGIC + _LENGTH.pack(len(text)) + text
    head += _LENGTH.pack(zlib.crc32(head))
    return head + bytes(-len(head) % 8)


def read_head(path: Path) -> Head | None:
    """The head of the segment at `path`; None when it is damaged or cut off.

    Raises:
        SpoolFormatError: another version wrote it.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        head = file.read(4096)
        if len(head) < _PREFIX_BYTES or not head.startswith(MAGIC[:-1]):
            return None
        (length,) = _LENGTH.unpack_from(head, len(MAGIC))
        crc_at = _PREFIX_BYTES + length
        if length > MAX_IDENTITY_BYTES:
            return None
        while len(head) < crc_at + _LENGTH.size:
            piece = file.read(crc_at + _LENGTH.size - len(head))
            if not piece:
                return None
            head += piece
    if zlib.crc32(head[:crc_at]) != _LENGTH.unpack_from(head, crc_at)[0]:
        return None
    try:
        fields = json.loads(head[_PREFIX_BYTES:crc_at])
        _check_versions(path, fields, head[: len(MAGIC)])
        identity = SpoolIdentity(
            fields["entity"],
            fields["project"],
            fields["run"],
            fields["writer"],
            bytes.fromhex(fields["session"]),
            fields["started_at"],
            fields["info"],
        )
        return Head(identity, int(fields["first_seq"]), -(-(crc_at + _LENGTH.size) // 8) * 8)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpoolFormatError(
            "the header of a spool segment lacks required fields", detail=f"{path.name}: {error!r}"
        ) from error


def _check_versions(path: Path, fields: dict[str, Any], magic: bytes) -> None:
    newer = fields["format"] > FORMAT or fields["wire"] > max(WIRE_VERSIONS)
    if magic == MAGIC and not newer and fields["wire"] in WIRE_VERSIONS:
        return
    raise SpoolFormatError(
        f"a spool of format {fields['format']} with frames of version {fields['wire']} cannot be read",
        detail=f"{path.name}; this installation reads format {FORMAT} and frames {', '.join(map(str, WIRE_VERSIONS))}",
        hint=("upgrade stepwell" if newer else "deliver it with the version of stepwell that wrote it")
        + "; the spool was not changed",
    )


def is_torn_head(path: Path) -> bool:
    """Returns whether the file is the remains of a crash during its creation: the beginning of a head, or zeros."""
    # Zeros at the end are pages that never reached the disk before the host crashed.
    data = path.read_bytes().rstrip(b"\0")
    if len(data) <= len(MAGIC):
        return MAGIC.startswith(data)
    (length,) = _LENGTH.unpack(data[len(MAGIC) : _PREFIX_BYTES].ljust(_LENGTH.size, b"\0"))
    return data.startswith(MAGIC) and len(data) < _PREFIX_BYTES + length + _LENGTH.size and length <= MAX_IDENTITY_BYTES


def claims_to_be_segment(path: Path) -> bool:
    """Returns whether the file begins like a segment, however damaged the rest is."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def storage_error(error: OSError, doing: str) -> SpoolError:
    """The Stepwell error for an error of the operating system.

    Args:
        error: the error; a full disk becomes a SpoolFullError.
        doing: the action, as in "the spool could not {doing}".
    """
    message = f"the spool could not {doing}"
    if error.errno in _NO_ROOM:
        return SpoolFullError(
            f"{message}: there is no room on the disk",
            detail=str(error),
            hint="free space or raise the quota; logging into the spool works again as soon as there is room. "
            "STEPWELL_DIR chooses another place for the next run",
        )
    return SpoolError(
        message,
        detail=str(error),
        hint="check that the directory exists and is writable, and that its disk is healthy; STEPWELL_DIR chooses "
        "another place",
    )
