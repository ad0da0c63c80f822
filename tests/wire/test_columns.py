"""A batch of columns is read back bit for bit, its bytes are pinned, and damage is detected."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.errors import FrameCorruptError, FrameVersionError
from stepwell.wire import columns
from stepwell.wire.columns import Batch, Column

GOLDEN = Path(__file__).parent / "golden" / "columns.hex"
BITS = st.integers(0, 2**64 - 1)
NAMES = st.text(max_size=10)


@st.composite
def a_column(draw: st.DrawFn, rows: int) -> Column:
    everywhere = draw(st.booleans())
    at = None if everywhere else sorted(draw(st.sets(st.integers(0, rows - 1)) if rows else st.just(set())))
    count = rows if at is None else len(at)
    values: Any = draw(
        st.one_of(
            # any 64 bits, including NaN payloads, signalling NaNs, −0.0 and subnormals
            st.lists(BITS, min_size=count, max_size=count).map(lambda bits: np.array(bits, np.uint64).view(np.float64)),
            st.lists(BITS, min_size=count, max_size=count).map(lambda bits: np.array(bits, np.uint64).view(np.int64)),
            st.just(np.arange(count, dtype=np.int32)),
            st.lists(st.text(max_size=5).map(orjson.dumps), min_size=count, max_size=count),
        )
    )
    return Column(draw(NAMES), values, None if at is None else np.array(at, np.int32))


@st.composite
def a_batch(draw: st.DrawFn) -> tuple[list[Column], int, dict[str, Any]]:
    rows = draw(st.integers(0, 20))
    found = draw(st.lists(a_column(rows), max_size=4))
    return found, rows, draw(st.dictionaries(st.sampled_from(["kind", "end", "writers"]), st.integers(0, 9)))


def encoded(batch: tuple[list[Column], int, dict[str, Any]]) -> bytes:
    return b"".join(columns.encode(*batch))


def bits(column: Column) -> tuple[str, Any, Any]:
    values = column.values
    raw = (values.dtype.str, values.tobytes()) if isinstance(values, np.ndarray) else list(values)
    return column.name, raw, None if column.rows is None else column.rows.tolist()


@settings(deadline=None, max_examples=200)
@given(st.lists(a_batch(), max_size=3))
def test_batches_round_trip(batches: list[tuple[list[Column], int, dict[str, Any]]]) -> None:
    found = list(columns.split(b"".join(map(encoded, batches))))

    assert [batch.head for batch in found] == [{**head, "rows": rows} for _, rows, head in batches]
    assert [list(map(bits, batch.columns)) for batch in found] == [list(map(bits, given)) for given, _, _ in batches]


@settings(deadline=None, max_examples=100)
@given(a_batch(), st.data())
def test_every_flipped_bit_is_found(batch: tuple[list[Column], int, dict[str, Any]], data: st.DataObject) -> None:
    raw = bytearray(encoded(batch))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    if at // 8 in (6, 7):  # the reserved bytes are not part of the batch
        return
    raw[at // 8] ^= 1 << at % 8
    with pytest.raises((FrameCorruptError, FrameVersionError)):
        list(columns.split(bytes(raw)))


@given(a_batch(), st.data())
@settings(deadline=None, max_examples=100)
def test_truncated_batch_is_detected(batch: tuple[list[Column], int, dict[str, Any]], data: st.DataObject) -> None:
    raw = encoded(batch)
    with pytest.raises(FrameCorruptError):
        list(columns.split(raw[: data.draw(st.integers(1, len(raw) - 1))]))


def example() -> tuple[list[Column], int, dict[str, Any]]:
    odd = np.array([0x7FF8000000000001, 0xFFF0000000000000, 0x8000000000000000], np.uint64).view(np.float64)
    return (
        [
            Column("step", np.array([1, 5, 2**62], np.int64)),
            Column("loss", odd),
            Column("rank/é", np.array([7, -7], np.int32), np.array([0, 2], np.int32)),
            Column("note", [b'"x"', b"null"], np.array([1, 2], np.int32)),
        ],
        3,
        {"kind": "rows"},
    )


def test_bytes_are_pinned() -> None:
    pinned = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    assert encoded(example()).hex(" ", 8).split() == pinned


def test_numbers_are_aligned_views() -> None:
    raw = encoded(example())
    (batch,) = columns.split(raw)
    for column in batch.columns:
        if isinstance(column.values, np.ndarray):
            offset = (
                column.values.__array_interface__["data"][0]
                - np.frombuffer(raw, np.uint8).__array_interface__["data"][0]
            )
            assert 0 < offset < len(raw)
            assert offset % 8 == 0


def test_numbers_are_found_by_name() -> None:
    batch = Batch({"rows": 1}, [Column("a", [b"1"]), Column("b", np.array([2.0]))])
    assert batch.numbers("b").tolist() == [2.0]
    with pytest.raises(FrameCorruptError, match="no column 'a'"):
        batch.numbers("a")


def test_other_version_is_distinguished_from_damage() -> None:
    raw = bytearray(encoded(example()))
    raw[4] = 2
    with pytest.raises(FrameVersionError, match="columns of version 2 are not supported"):
        columns.decode(raw)


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (Column("a", np.zeros(2, np.float32)), "a type that cannot be sent, float32"),
        (Column("a", np.zeros(3)), "3 values, which is not its number of rows"),
        (Column("a", np.zeros(1), np.zeros(2, np.int32)), "1 values, which is not its number of rows"),
    ],
)
def test_mismatched_columns_are_refused(column: Column, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        columns.encode([column], 2)


def lying(**changes: Any) -> bytes:
    """A batch with a correct checksum and a wrong description of the first column."""
    raw = encoded(([Column("a", np.zeros(2)), Column("t", [b"1", b"2"])], 2, {}))
    size = struct.unpack_from("<I", raw, 8)[0]
    head = orjson.loads(raw[24 : 24 + size])
    head["columns"][changes.pop("which", 0)].update(changes)
    text = orjson.dumps(head)
    rest = text + bytes(-len(text) % 8) + raw[24 + size + -size % 8 :]
    body = struct.unpack_from("<Q", raw, 16)[0]
    return struct.pack("<4sHHIIQ", b"SWCB", 1, 0, len(text), zlib.crc32(rest), body) + rest


@pytest.mark.parametrize(
    "changes",
    [
        {"length": 3},
        {"length": -1},
        {"data": 1 << 40},
        {"data": -8},
        {"data": 4},
        {"dtype": "<f2"},
        {"rows": 0},  # zeros, which are not ascending
        {"dtype": None},
        {"length": "two"},
        {"which": 1, "texts": 1 << 40},
        {"which": 1, "texts": -1},
        {"which": 1, "data": 0, "texts": 0, "length": 2, "rows": 16},
    ],
)
def test_inconsistent_header_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FrameCorruptError, match="its head"):
        columns.decode(lying(**changes))


def test_huge_length_is_refused_before_allocation() -> None:
    with pytest.raises(FrameCorruptError, match="claims"):
        columns.length(struct.pack("<4sHHIIQ", b"SWCB", 1, 0, 8, 0, 1 << 50))
