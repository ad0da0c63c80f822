"""Rows as COPY's binary format, built by numpy.

Receives validated blocks, objects and notes with the server's ids; returns bytes for `COPY … FROM STDIN (FORMAT
binary)`. Lengths and counts are computed here from the shapes of the arrays, never taken from a client's bytes. Format:
PostgreSQL documentation, COPY, "Binary Format"; arrays as array_send writes them.

Blocks of one shape (K × S) have rows of one size, so all of them are filled at once, column by column, with no
per-block Python beyond collecting the arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stepwell.wire import Float64Array, Int64Array
from stepwell_ingest.db.copyrows import (
    PIECE_BYTES,
    POSTGRES_EPOCH_US,
    SIGNATURE,
    TRAILER,
    ArrayColumn,
    pieces,
    row_template,
)

BLOCK_COLUMNS = ("run_id", "seq", "step_lo", "step_hi", "writer_id", "epoch", "keys", "steps", "times", "vals")
OBJECT_COLUMNS = ("run_id", "seq", "step", "writer_id", "epoch", "time", "key", "value")
NOTE_COLUMNS = ("run_id", "writer_id", "epoch", "seq", "ord", "step", "time", "kind", "value")

#: The most array elements of a row whose template is kept; each takes 8 to 12 bytes.
_KEPT_CELLS = 20_000


class BlockRow(NamedTuple):
    """A row of hot_block. keys: int32[K]; steps, times: int64[S]; values: float64[K][S]; times in µs since 1970."""

    run_id: int
    seq: int
    writer_id: int
    epoch: int
    keys: npt.NDArray[np.int32]
    steps: Int64Array
    times: Int64Array
    values: Float64Array


class ObjectRow(NamedTuple):
    """A row of hot_object. time in µs since 1970; value: JSON as UTF-8."""

    run_id: int
    seq: int
    step: int
    writer_id: int
    epoch: int
    time: int
    key: bytes
    value: bytes


class NoteRow(NamedTuple):
    """A row of note. ord: the place of the note in its frame; time in µs since 1970; value: JSON as UTF-8."""

    run_id: int
    writer_id: int
    epoch: int
    seq: int
    ord: int
    step: int
    time: int
    kind: bytes
    value: bytes


def _row_template(keys: int, steps: int) -> npt.NDArray[Any]:
    """A template row of hot_block of this shape, with all constants filled in and all values zero."""
    # A template is as large as its row. Only small ones are kept: 256 of them take 60 MiB at most.
    small = keys + (keys + 2) * steps <= _KEPT_CELLS
    return _kept_template(keys, steps) if small else _new_template(keys, steps)


@lru_cache(maxsize=256)
def _kept_template(keys: int, steps: int) -> npt.NDArray[Any]:
    return _new_template(keys, steps)


def _new_template(keys: int, steps: int) -> npt.NDArray[Any]:
    return row_template(
        [
            ("run_id", "int8"),
            ("seq", "int8"),
            ("step_lo", "int8"),
            ("step_hi", "int8"),
            ("writer_id", "int4"),
            ("epoch", "int4"),
            ArrayColumn("keys", "int4", (keys,)),
            ArrayColumn("steps", "int8", (steps,)),
            ArrayColumn("times", "timestamptz", (steps,)),
            ArrayColumn("vals", "float8", (keys, steps)),
        ]
    )


def block_rows(rows: Sequence[BlockRow]) -> npt.NDArray[Any]:
    """Rows of one shape as one structured array whose bytes are the COPY rows."""
    keys, steps = rows[0].values.shape
    out = np.repeat(_row_template(keys, steps), len(rows))
    out["run_id"] = [row.run_id for row in rows]
    out["seq"] = [row.seq for row in rows]
    out["writer_id"] = [row.writer_id for row in rows]
    out["epoch"] = [row.epoch for row in rows]
    all_steps = np.concatenate([row.steps for row in rows]).reshape(len(rows), steps)
    out["steps"]["value"] = all_steps
    out["step_lo"] = all_steps[:, 0]
    out["step_hi"] = all_steps[:, -1]
    times = np.concatenate([row.times for row in rows]).reshape(len(rows), steps)
    out["times"]["value"] = times - POSTGRES_EPOCH_US
    if keys:
        out["keys"]["value"] = [row.keys for row in rows]
        target = out["vals"]["value"]
        for index, row in enumerate(rows):
            target[index] = row.values.reshape(-1)
    return out


def block_pieces(rows: Iterable[BlockRow]) -> Iterator[memoryview | bytes]:
    """COPY data for hot_block: signature, rows grouped by shape, trailer, in pieces of about `PIECE_BYTES`.

    Lazy: a piece is built when the socket has taken the one before it, so building overlaps with Postgres' work.
    """
    shapes: dict[tuple[int, ...], list[BlockRow]] = {}
    for row in rows:
        shapes.setdefault(row.values.shape, []).append(row)
    yield SIGNATURE
    for (keys, steps), group in shapes.items():
        size = _row_template(keys, steps).itemsize
        at_once = max(1, PIECE_BYTES // size)
        for start in range(0, len(group), at_once):
            yield from pieces(block_rows(group[start : start + at_once]))
    yield TRAILER


_OBJECT_HEAD = struct.Struct("!hiqiqiqiiiiiqi")
_LENGTH_AND_VERSION = struct.Struct("!ib")


def object_pieces(rows: Iterable[ObjectRow]) -> Iterator[bytes]:
    """COPY data for hot_object, in pieces of about `PIECE_BYTES`. jsonb travels as a version byte and its text."""
    return _text_pieces(
        (
            _OBJECT_HEAD.pack(
                *(len(OBJECT_COLUMNS), 8, row.run_id, 8, row.seq, 8, row.step, 4, row.writer_id, 4, row.epoch),
                *(8, row.time - POSTGRES_EPOCH_US, len(row.key)),
            ),
            row.key,
            row.value,
        )
        for row in rows
    )


_NOTE_HEAD = struct.Struct("!hiqiiiiiqiiiqiqi")


def note_pieces(rows: Iterable[NoteRow]) -> Iterator[bytes]:
    """COPY data for note, in pieces as from `object_pieces`."""
    return _text_pieces(
        (
            _NOTE_HEAD.pack(
                *(len(NOTE_COLUMNS), 8, row.run_id, 4, row.writer_id, 4, row.epoch, 8, row.seq, 4, row.ord),
                *(8, row.step, 8, row.time - POSTGRES_EPOCH_US, len(row.kind)),
            ),
            row.kind,
            row.value,
        )
        for row in rows
    )


def _text_pieces(rows: Iterable[tuple[bytes, bytes, bytes]]) -> Iterator[bytes]:
    """Encodes rows that end in a text and a jsonb; each is given as the bytes before the text, the text and the
    JSON."""
    piece: list[bytes] = [SIGNATURE]
    size = len(SIGNATURE)
    for head, text, value in rows:
        piece += (head, text, _LENGTH_AND_VERSION.pack(len(value) + 1, 1), value)
        size += len(head) + len(text) + 5 + len(value)
        if size >= PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
    yield b"".join((*piece, TRAILER))
