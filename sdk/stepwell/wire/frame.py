"""The frame: the unit in which logged data is spooled, sent, acknowledged and de-duplicated. Both ends import this.

Encodes blocks (dense float64 matrices) and objects (JSON values) to bytes, and decodes them. Pure: no I/O, no clock, no
state. A frame is fixed when it enters the spool and is never cut again, so a retry carries the same bytes. What
`decode` returns has lengths, counts and checksums that agree with the bytes; the server validates the steps.

All integers are little-endian. Every part starts at a multiple of 8 bytes and padding is zero, so numpy reads in place.

    frame    offset size
               0     4   magic        "SWFR"
               4     1   version      1
               5     1   kind         0 data; 1 tombstone, in the place of a frame that could not be kept; 2 notes
               6     2   reserved     0
               8     4   length       bytes of the whole frame, header and padding included
              12     4   body_crc     CRC-32 of bytes 64 … length
              16    16   session      the writer session that cut it: 128 random bits, which the server maps to an epoch
              32     8   seq          position in the session, from 0 without gaps
              40     4   blocks       how many blocks follow; notes: 0
              44     4   objects      how many objects follow the blocks (0: no objects part)
              48     4   points       sum of K × S over the blocks
              52     4   dropped      tombstone: points and objects that were lost with the frame; else 0
              56     4   reserved     0
              60     4   header_crc   CRC-32 of bytes 0 … 60; as these hold body_crc, the checksum of the whole frame
              64         blocks, then objects

    block      0     4   K            keys
               4     4   S            steps
               8     4   names_bytes  length of names with its padding
              12     4   reserved     0
              16         names        K × uint16 length, then the UTF-8 of the keys, zero padding
                         steps        int64[S]      strictly increasing
                         times        int64[S]      microseconds since 1970-01-01 UTC
                         values       float64[K][S] one metric after the other

    objects            steps        int64[N]      N from the header, in the order in which they were logged
                         times        int64[N]
                         key_bytes    uint32[N]
                         body_bytes   uint32[N]
                         keys         UTF-8, one after the other
                         bodies       JSON, UTF-8, one after the other; zero padding
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.errors import FrameCorruptError, FrameTooLargeError, FrameVersionError
from stepwell.wire.limits import MAX_BLOCKS, MAX_FRAME_BYTES, MAX_ROW_KEYS
from stepwell.wire.rules import is_key

MAGIC = b"SWFR"
VERSION = 1
KIND_DATA = 0
KIND_TOMBSTONE = 1
KIND_NOTES = 2

HEADER_BYTES = 64
_HEADER = struct.Struct("<4sBBHII16sQIIIIII")
_HEADER_WITHOUT_CRC = struct.Struct("<4sBBHII16sQIIIII")
_CRC = struct.Struct("<I")
_BLOCK = struct.Struct("<IIII")

Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]


class Header(NamedTuple):
    """The first 64 bytes of a frame. `checksum` covers the bytes of the whole frame. `values` are points and objects;
    notes are counted separately."""

    kind: int
    length: int
    body_crc: int
    session: bytes
    seq: int
    blocks: int
    objects: int
    points: int
    dropped: int
    checksum: int

    @property
    def values(self) -> int:
        return self.points + self.objects if self.kind != KIND_NOTES else 0

    @property
    def notes(self) -> int:
        return self.objects if self.kind == KIND_NOTES else 0


class Block(NamedTuple):
    """The steps that logged the same keys.

    Attributes:
        names: the packed keys, as `pack_names` makes them.
        steps: int64[S], strictly increasing.
        times: int64[S], microseconds since the Unix epoch.
        values: float64[K][S].
    """

    names: bytes
    steps: Int64Array
    times: Int64Array
    values: Float64Array


class Object(NamedTuple):
    """One logged value that is not a number: its step, its time (µs since the Unix epoch), its key and its JSON.
    Also a note: `key` is then the kind of the note, and `step` the step that was open at that time."""

    step: int
    time: int
    key: str
    body: bytes


class Frame(NamedTuple):
    header: Header
    blocks: list[Block]
    objects: list[Object]


def encode(session: bytes, seq: int, blocks: Sequence[Block], objects: Sequence[Object] = ()) -> bytes:
    """Encodes one frame.

    Args:
        session: the id of the session, 16 bytes.
        seq: 0 … 2^63 − 1.
        blocks: see `Block`; shapes must agree (checked).
        objects: in the order in which they were logged.

    Raises:
        FrameTooLargeError: the frame would exceed `MAX_FRAME_BYTES`.
        ValueError: the shapes of a block do not agree.
    """
    parts: list[Any] = []
    points = 0
    for names, steps, times, values in blocks:
        keys_count, steps_count = values.shape
        if len(steps) != steps_count or len(times) != steps_count:
            raise ValueError(f"a block of {steps_count} columns has {len(steps)} steps and {len(times)} times")
        points += keys_count * steps_count
        parts.append(_BLOCK.pack(keys_count, steps_count, len(names), 0))
        parts.append(names)
        parts.append(_raw(steps, "<i8"))
        parts.append(_raw(times, "<i8"))
        parts.append(_raw(values, "<f8"))
    if objects:
        parts.extend(_encode_objects(objects))
    return _seal(KIND_DATA, session, seq, len(blocks), len(objects), points, 0, parts)


def encode_notes(session: bytes, seq: int, notes: Sequence[Object]) -> bytes:
    """Encodes a frame of notes, in order; otherwise like `encode`."""
    return _seal(KIND_NOTES, session, seq, 0, len(notes), 0, 0, _encode_objects(notes) if notes else [])


def encode_tombstone(session: bytes, seq: int, dropped: int) -> bytes:
    """Encodes a tombstone, which takes the place of a frame that could not be kept.

    Args:
        session, seq: the session and the seq of the lost frame.
        dropped: the number of points and objects lost with the frame, as far as known.
    """
    return _seal(KIND_TOMBSTONE, session, seq, 0, 0, 0, dropped, [])


def _encode_objects(objects: Sequence[Object]) -> list[bytes]:
    keys = [item.key.encode("utf-8", "replace") for item in objects]
    bodies = [item.body for item in objects]
    parts = [
        np.array([item.step for item in objects], "<i8").tobytes(),
        np.array([item.time for item in objects], "<i8").tobytes(),
        np.array([*map(len, keys), *map(len, bodies)], "<u4").tobytes(),
        *keys,
        *bodies,
    ]
    parts.append(bytes(-sum(map(len, parts)) % 8))
    return parts


def _raw(array: npt.NDArray[Any], dtype: str) -> memoryview:
    return np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8).data


def _seal(
    kind: int, session: bytes, seq: int, blocks: int, objects: int, points: int, dropped: int, parts: list[Any]
) -> bytes:
    body_crc, length = 0, HEADER_BYTES
    for part in parts:
        body_crc = zlib.crc32(part, body_crc)
        length += len(part)
    if length > MAX_FRAME_BYTES:
        raise FrameTooLargeError("a frame is too large", detail=f"{length} bytes; the limit is {MAX_FRAME_BYTES}")
    head = _HEADER_WITHOUT_CRC.pack(
        MAGIC, VERSION, kind, 0, length, body_crc, session, seq, blocks, objects, points, dropped, 0
    )
    return b"".join((head, _CRC.pack(zlib.crc32(head)), *parts))


def peek(buffer: bytes | memoryview, offset: int = 0) -> Header:
    """Decodes the header of the frame that starts at `offset`. The body is not read.

    Raises:
        FrameCorruptError: cut off, not a frame, a damaged header, or a length that no frame can have.
        FrameVersionError: a version that this code does not know.
    """
    left = len(buffer) - offset
    if left < HEADER_BYTES:
        raise FrameCorruptError("a frame is cut off", detail=f"{left} bytes left, a header has {HEADER_BYTES}")
    (magic, version, kind, _, length, body_crc, session, seq, blocks, objects, points, dropped, _, checksum) = (
        _HEADER.unpack_from(buffer, offset)
    )
    if magic != MAGIC:
        raise FrameCorruptError("these bytes are not a frame", detail=f"they begin with {magic!r}, not {MAGIC!r}")
    if version != VERSION:
        raise FrameVersionError(
            f"a frame of format version {version} cannot be read",
            detail=f"this side knows version {VERSION}",
            hint="upgrade the older side; the frame stays in the spool until then",
        )
    if zlib.crc32(buffer[offset : offset + HEADER_BYTES - 4]) != checksum:
        raise FrameCorruptError("the header of a frame is damaged", detail="checksum mismatch")
    possible = HEADER_BYTES <= length <= MAX_FRAME_BYTES and not length % 8 and kind <= KIND_NOTES
    if not possible or (kind == KIND_NOTES and (blocks or points)) or seq >= 1 << 63 or blocks > MAX_BLOCKS:
        raise FrameCorruptError(
            "the header of a frame has impossible values",
            detail=f"{length} bytes, kind {kind}, seq {seq}, {blocks} blocks",
        )
    return Header(kind, length, body_crc, session, seq, blocks, objects, points, dropped, checksum)


def split(message: bytes | memoryview) -> Iterator[tuple[Header, memoryview]]:
    """Splits `message` into its consecutive frames, each as its header and its bytes; bodies are not checked.

    Raises:
        FrameCorruptError, FrameVersionError: as `peek`; also when the last frame is cut off. Frames before it have
            been yielded by then.
    """
    view = memoryview(message)
    offset, end = 0, len(view)
    while offset < end:
        header = peek(view, offset)
        if header.length > end - offset:
            raise FrameCorruptError(
                "a frame is cut off", detail=f"seq {header.seq}: {end - offset} of {header.length} bytes"
            )
        yield header, view[offset : offset + header.length]
        offset += header.length


def decode(buffer: bytes | memoryview) -> Frame:
    """Decodes the frame in `buffer`, which holds exactly one. Arrays are read in place and keep `buffer` alive.

    Raises:
        FrameCorruptError: checksum, lengths, counts or layout do not agree.
        FrameVersionError: a version that this code does not know.
    """
    header = peek(buffer)
    if header.length != len(buffer):
        raise FrameCorruptError("a frame is cut off", detail=f"{len(buffer)} of {header.length} bytes")
    return decode_body(header, memoryview(buffer))


def decode_body(header: Header, view: memoryview) -> Frame:
    """Does the same as `decode`, for a header that `peek` or `split` has read from the same bytes.

    Raises:
        FrameCorruptError: checksum, counts or layout do not agree.
    """
    if zlib.crc32(view[HEADER_BYTES:]) != header.body_crc:
        raise FrameCorruptError("a frame is damaged", detail=f"seq {header.seq}: body checksum mismatch")
    offset, end, points = HEADER_BYTES, len(view), 0
    blocks: list[Block] = []
    for _ in range(header.blocks):
        block, offset = _decode_block(view, offset, end)
        points += block.values.size
        blocks.append(block)
    if points != header.points:
        raise FrameCorruptError("a frame miscounts its points", detail=f"{header.points} claimed, {points} found")
    objects: list[Object] = []
    if header.objects:
        objects, offset = _decode_objects(view, offset, end, header.objects)
    if offset != end:
        raise FrameCorruptError("a frame has unexpected bytes at its end", detail=f"{end - offset} bytes")
    return Frame(header, blocks, objects)


def _decode_block(view: memoryview, offset: int, end: int) -> tuple[Block, int]:
    if end - offset < _BLOCK.size:
        raise FrameCorruptError("a block is cut off")
    keys_count, steps_count, names_bytes, _ = _BLOCK.unpack_from(view, offset)
    names_at = offset + _BLOCK.size
    steps_at = names_at + names_bytes
    times_at = steps_at + 8 * steps_count
    values_at = times_at + 8 * steps_count
    block_end = values_at + 8 * keys_count * steps_count
    if block_end > end or names_bytes % 8 or not steps_count or keys_count > MAX_ROW_KEYS:
        raise FrameCorruptError(
            "a block exceeds its frame",
            detail=f"{keys_count} keys × {steps_count} steps in {end - offset} bytes",
        )
    return (
        Block(
            bytes(view[names_at:steps_at]),
            np.frombuffer(view, "<i8", steps_count, steps_at),
            np.frombuffer(view, "<i8", steps_count, times_at),
            np.frombuffer(view, "<f8", keys_count * steps_count, values_at).reshape(keys_count, steps_count),
        ),
        block_end,
    )


def _decode_objects(view: memoryview, offset: int, end: int, count: int) -> tuple[list[Object], int]:
    if count * 24 > end - offset:
        raise FrameCorruptError("a frame claims more objects than it holds", detail=f"{count} claimed")
    steps = np.frombuffer(view, "<i8", count, offset).tolist()
    times = np.frombuffer(view, "<i8", count, offset + 8 * count).tolist()
    lengths = np.frombuffer(view, "<u4", 2 * count, offset + 16 * count).tolist()
    at = offset + 24 * count
    total = sum(lengths)
    padding = -total % 8
    if at + total + padding > end or any(view[at + total : at + total + padding]):
        raise FrameCorruptError("objects are cut off", detail=f"{total} bytes claimed, {end - at} found")
    keys = [bytes(piece) for piece in _pieces(view, at, lengths[:count])]
    try:
        texts = [key.decode() for key in keys]
    except UnicodeDecodeError as error:
        raise FrameCorruptError("the key of an object is not UTF-8", detail=str(error)) from error
    if not all(map(is_key, keys)):
        raise FrameCorruptError("the key of an object is empty, too long or holds a NUL character")
    bodies = map(bytes, _pieces(view, at + sum(lengths[:count]), lengths[count:]))
    return list(map(Object, steps, times, texts, bodies)), at + total + padding


def _pieces(view: memoryview, offset: int, lengths: Iterable[int]) -> Iterator[memoryview]:
    for length in lengths:
        yield view[offset : offset + length]
        offset += length
