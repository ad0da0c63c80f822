"""Reads and writes COPY's binary format with numpy: rows of one layout form one structured array.

Used by the stations that move history in bulk (`write`, `seal`). Lengths and counts come from the shapes of the arrays,
never from a client's bytes. Format: PostgreSQL documentation, COPY, "Binary Format"; arrays as array_send writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
#: Microseconds from the Unix epoch to Postgres' (2000-01-01 UTC).
POSTGRES_EPOCH_US = 946_684_800_000_000
#: asyncpg sends each piece as one CopyData message and waits for the socket in between; its file reader uses 0.5 MiB.
PIECE_BYTES = 512 * 1024

_OIDS = {"int2": 21, "int4": 23, "int8": 20, "timestamptz": 1184, "float4": 700, "float8": 701}
_ITEMS = {"int2": ">i2", "int4": ">i4", "int8": ">i8", "timestamptz": ">i8", "float4": ">f4", "float8": ">f8"}


@dataclass(frozen=True, slots=True)
class ArrayColumn:
    """An array column of a layout.

    Attributes:
        name, kind: the column and its element type.
        shape: the lengths of its dimensions; None: NULL.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None


def row_template(columns: Sequence[tuple[str, str] | ArrayColumn]) -> npt.NDArray[Any]:
    """A template row of this layout, with all constants filled in and all values zero.

    A scalar is a field with the name of its column; an array is a field whose "value" holds the elements. The caller
    repeats the row, fills the fields and sends the result.
    """
    fields: list[Any] = [("fields", ">i2")]
    for column in columns:
        if not isinstance(column, ArrayColumn):
            name, kind = column
            fields += [(f"{name}_length", ">i4"), (name, _ITEMS[kind])]
            continue
        fields.append((f"{column.name}_length", ">i4"))
        if column.shape is not None:
            count = int(np.prod(column.shape))
            fields.append((f"{column.name}_header", ">i4", (len(_header(column)),)))
            fields.append((column.name, [("length", ">i4"), ("value", _ITEMS[column.kind])], (count,)))
    row = np.zeros(1, np.dtype(fields))
    row["fields"] = len(columns)
    for column in columns:
        if not isinstance(column, ArrayColumn):
            name, kind = column
            row[f"{name}_length"] = np.dtype(_ITEMS[kind]).itemsize
        elif column.shape is None:
            row[f"{column.name}_length"] = -1
        else:
            header, size = _header(column), np.dtype(_ITEMS[column.kind]).itemsize
            row[f"{column.name}_header"] = header
            row[f"{column.name}_length"] = 4 * len(header) + int(np.prod(column.shape)) * (4 + size)
            row[column.name]["length"] = size
    return row


def _header(column: ArrayColumn) -> list[int]:
    assert column.shape is not None
    # An empty array has no dimensions.
    dimensions = [n for size in column.shape for n in (size, 1)] if all(column.shape) else []
    return [len(dimensions) // 2, 0, _OIDS[column.kind], *dimensions]


def pieces(rows: npt.NDArray[Any]) -> Iterable[memoryview]:
    """The bytes of structured rows, in pieces of `PIECE_BYTES`."""
    data = rows.view(np.uint8).data
    return (data[offset : offset + PIECE_BYTES] for offset in range(0, len(data), PIECE_BYTES))


class Reader:
    """Reads the output of COPY … TO STDOUT (FORMAT binary) field by field. Every field must be read, in order.

    Args:
        data: the whole output.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._at = len(SIGNATURE)

    def next_row(self) -> bool:
        """Moves to the next row; returns False when there is none."""
        fields = int.from_bytes(self._data[self._at : self._at + 2], "big", signed=True)
        self._at += 2
        return fields >= 0

    def raw(self) -> bytes | None:
        """The next field as bytes; None: NULL."""
        length = int.from_bytes(self._data[self._at : self._at + 4], "big", signed=True)
        self._at += 4
        if length < 0:
            return None
        field = bytes(self._data[self._at : self._at + length])
        self._at += length
        return field

    def integer(self) -> int:
        """The next field, an integer of any size."""
        field = self.raw()
        assert field is not None
        return int.from_bytes(field, "big", signed=True)

    def array(self, kind: str) -> npt.NDArray[Any] | None:
        """The next field, an array without NULLs, in its shape; elements are big-endian and not copied. None: NULL."""
        length = int.from_bytes(self._data[self._at : self._at + 4], "big", signed=True)
        start = self._at + 4
        self._at = start + max(length, 0)
        if length < 0:
            return None
        dimensions = int.from_bytes(self._data[start : start + 4], "big")
        shape = tuple(
            int.from_bytes(self._data[start + 12 + 8 * axis : start + 16 + 8 * axis], "big")
            for axis in range(dimensions)
        )
        element = np.dtype([("length", ">i4"), ("value", _ITEMS[kind])])
        count = (length - 12 - 8 * dimensions) // element.itemsize
        flat = np.frombuffer(self._data, element, count, start + 12 + 8 * dimensions)["value"]
        return flat.reshape(shape) if shape else flat
