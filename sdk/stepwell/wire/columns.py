"""Batches of columns: the binary form in which stored history travels to readers. Both ends import this module.

Packs names and arrays into bytes that numpy reads in place, and unpacks them. Pure: no I/O, no clock, no state. A reply
is a sequence of batches; each has its length, and the last one is marked, so that a truncated reply can be told from a
complete one. Doubles are preserved bit for bit, including NaN payloads and −0.0.

All integers are little-endian. Every buffer starts at a multiple of 8 bytes of the batch; padding is zero.

    batch    offset size
               0     4   magic       "SWCB"
               4     2   version     1
               6     2   reserved    0
               8     4   head_bytes  length of the head without its padding
              12     4   crc         CRC-32 of everything from offset 24 on
              16     8   body_bytes  length of the body, a multiple of 8
              24         head        JSON, an object; zero padding to a multiple of 8
                         body        the buffers of the columns

    head       "columns"   a list of {"name", "dtype", "length", "data"}, with "rows" and "texts" if they apply:
                 dtype     "<f8", "<i8" or "<i4": `length` numbers at `data`;
                           "json": `length` JSON texts. int64[length + 1] at `data`: where each begins and the last one
                           ends, from `texts` on
                 data      offset of the buffer in the body; likewise `texts` and `rows`
                 rows      int32[length]: the row of each value, ascending. Absent: value i is in row i
               "rows"      how many rows the batch has
               anything else is the answer's own: see docs/column-format.md
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from stepwell.errors import FrameCorruptError, FrameVersionError

MAGIC = b"SWCB"
VERSION = 1
HEADER_BYTES = 24
CONTENT_TYPE = "application/vnd.stepwell.columns"
#: The most bytes that a reader accepts; a server stays far below (`Limits.page_bytes`).
MAX_BATCH_BYTES = 2 * 1024**3

_HEADER = struct.Struct("<4sHHIIQ")
_NUMBERS = {"<f8": 8, "<i8": 8, "<i4": 4}

Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.int32]


class Column(NamedTuple):
    """One column of a batch.

    Attributes:
        name: the name of the metric, or a name that the kind of answer defines.
        values: float64, int64 or int32 numbers; or a list of JSON texts as bytes.
        rows: int32, ascending: the row of each value. None: value i is in row i, and every row has one.
    """

    name: str
    values: Numbers | Sequence[bytes]
    rows: npt.NDArray[np.int32] | None = None


class Batch(NamedTuple):
    """Decoded columns; numbers are views of the received bytes.

    Attributes:
        head: the fields of the head besides "columns".
        columns: the columns in their order.
    """

    head: dict[str, Any]
    columns: list[Column]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return int(self.head["rows"])

    def numbers(self, name: str) -> Any:
        """The numbers of the column `name`.

        Raises:
            FrameCorruptError: the batch has no column of numbers with this name.
        """
        for column in self.columns:
            if column.name == name and isinstance(column.values, np.ndarray):
                return column.values
        raise FrameCorruptError(
            f"the answer has no column {name!r}", hint="use the same version of the SDK and the server"
        )


def encode(columns: Sequence[Column], rows: int, head: Mapping[str, Any] | None = None) -> list[bytes | memoryview]:
    """Encodes a batch as pieces to send in order; arrays of the right type are not copied.

    Raises:
        ValueError: an array is of another type, or its length is not that of its rows.
    """
    described: list[dict[str, Any]] = []
    body: list[bytes | memoryview] = []
    size = 0

    def put(raw: bytes | memoryview) -> int:
        nonlocal size
        at = size
        padding = -len(raw) % 8
        body.append(raw)
        if padding:
            body.append(bytes(padding))
        size += len(raw) + padding
        return at

    for column in columns:
        values = column.values
        count = len(values)
        if count != (rows if column.rows is None else len(column.rows)):
            raise ValueError(f"column {column.name!r} has {count} values, which is not its number of rows")
        item: dict[str, Any] = {"name": column.name, "length": count}
        if isinstance(values, np.ndarray):
            if (dtype := values.dtype.newbyteorder("<").str) not in _NUMBERS:
                raise ValueError(f"column {column.name!r} has a type that cannot be sent, {values.dtype}")
            item |= {"dtype": dtype, "data": put(_raw(values, dtype))}
        else:
            ends = np.zeros(count + 1, np.int64)
            np.cumsum(np.fromiter(map(len, values), np.int64, count), out=ends[1:])
            item |= {"dtype": "json", "data": put(_raw(ends, "<i8")), "texts": put(b"".join(values))}
        if column.rows is not None:
            item["rows"] = put(_raw(column.rows, "<i4"))
        described.append(item)
    text = orjson.dumps({**(head or {}), "rows": rows, "columns": described})
    text_and_padding = text + bytes(-len(text) % 8)
    crc = zlib.crc32(text_and_padding)
    for raw in body:
        crc = zlib.crc32(raw, crc)
    return [_HEADER.pack(MAGIC, VERSION, 0, len(text), crc, size) + text_and_padding, *body]


def length(header: bytes | memoryview) -> int:
    """The length of the batch whose first 24 bytes are `header`.

    Raises:
        FrameCorruptError: the bytes do not begin a batch, or its header is damaged.
        FrameVersionError: the batch was made by another version.
    """
    magic, version, _, head_bytes, _, body_bytes = _HEADER.unpack_from(header)
    if magic != MAGIC:
        raise FrameCorruptError("the answer is not a batch of columns", detail=f"it begins with {bytes(magic)!r}")
    if version != VERSION:
        raise FrameVersionError(
            f"columns of version {version} are not supported",
            detail=f"this side reads version {VERSION}",
            hint="use the same version of the SDK and the server",
        )
    whole: int = HEADER_BYTES + head_bytes + -head_bytes % 8 + body_bytes
    if whole > MAX_BATCH_BYTES or body_bytes % 8:
        raise FrameCorruptError("a batch of columns is damaged", detail=f"its header claims {whole} bytes")
    return whole


def decode(raw: bytes | bytearray | memoryview) -> Batch:
    """Decodes one whole batch.

    Raises:
        FrameCorruptError: a checksum, length or offset is wrong.
        FrameVersionError: the batch was made by another version.
    """
    view = memoryview(raw).cast("B")
    if len(view) < HEADER_BYTES or len(view) != length(view):
        raise FrameCorruptError("a batch of columns is cut off", detail=f"{len(view)} bytes arrived")
    _, _, _, head_bytes, crc, body_bytes = _HEADER.unpack_from(view)
    if zlib.crc32(view[HEADER_BYTES:]) != crc:
        raise FrameCorruptError("a batch of columns is damaged", detail="its checksum is wrong")
    try:
        head = orjson.loads(view[HEADER_BYTES : HEADER_BYTES + head_bytes])
        body = view[len(view) - body_bytes :]
        rows = head["rows"]
        columns = [_column(item, body, rows) for item in head.pop("columns")]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FrameCorruptError("a batch of columns is damaged", detail=f"its head: {error}") from error
    return Batch(head, columns)


def split(raw: bytes | memoryview) -> Iterator[Batch]:
    """Decodes the consecutive batches in `raw`.

    Raises:
        FrameCorruptError: the last batch is cut off, or a batch is damaged.
        FrameVersionError: a batch was made by another version.
    """
    view = memoryview(raw)
    while view:
        if len(view) < HEADER_BYTES or len(view) < (whole := length(view)):
            raise FrameCorruptError("a batch of columns is cut off", detail=f"{len(view)} bytes are left")
        yield decode(view[:whole])
        view = view[whole:]


def _column(item: dict[str, Any], body: memoryview, rows: int) -> Column:
    count, dtype = item["length"], item["dtype"]
    at = _buffer(body, item["rows"], count, "<i4") if "rows" in item else None
    if at is None and count != rows:
        raise ValueError(f"column {item['name']!r} has {count} values for {rows} rows")
    if at is not None and count and not (at[0] >= 0 and at[-1] < rows and bool((np.diff(at) > 0).all())):
        raise ValueError(f"the rows of column {item['name']!r} are out of order or out of range")
    if dtype in _NUMBERS:
        return Column(item["name"], _buffer(body, item["data"], count, dtype), at)
    if dtype != "json":
        raise ValueError(f"column {item['name']!r} has an unknown type, {dtype!r}")
    ends = _buffer(body, item["data"], count + 1, "<i8")
    start = item["texts"]
    if ends[0] != 0 or bool((np.diff(ends) < 0).any()) or not 0 <= start <= len(body) - int(ends[-1]):
        raise ValueError(f"the texts of column {item['name']!r} extend beyond the body")
    cuts = (ends + start).tolist()
    return Column(item["name"], [bytes(body[a:b]) for a, b in pairwise(cuts)], at)


def _buffer(body: memoryview, at: int, count: int, dtype: str) -> Any:
    size = count * _NUMBERS[dtype]
    if at % 8 or at < 0 or count < 0 or at + size > len(body):
        raise ValueError(f"a buffer of {count} × {dtype} at {at} lies outside of the body")
    return np.frombuffer(body, dtype, count, at)


def _raw(array: npt.NDArray[Any], dtype: str) -> memoryview:
    flat = np.ascontiguousarray(array, dtype)
    return memoryview(flat).cast("B") if flat.size else memoryview(b"")  # type: ignore[arg-type]  # an array is one
