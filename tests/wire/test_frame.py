"""A frame is read back bit for bit, and its bytes are pinned."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import frames as made
from fixtures.frames import block
from stepwell import wire
from stepwell.errors import DataError, FrameTooLargeError
from stepwell.wire import Block, Object

SESSION = bytes(range(16))
TIME = 1_700_000_000_000_000
GOLDEN = Path(__file__).parent / "golden"


@settings(deadline=None, max_examples=150)
@given(made.SESSIONS, made.SEQS, st.lists(made.blocks(), max_size=3), st.lists(made.OBJECTS, max_size=4))
def test_frame_round_trip(session: bytes, seq: int, blocks: list[Block], objects: list[Object]) -> None:
    raw = wire.encode(session, seq, blocks, objects)
    frame = wire.decode(raw)

    assert (session, seq, wire.KIND_DATA, len(raw)) == (
        frame.header.session,
        frame.header.seq,
        frame.header.kind,
        frame.header.length,
    )
    assert made.bits(blocks) == made.bits(frame.blocks)
    assert objects == frame.objects
    assert sum(item.values.size for item in blocks) == frame.header.points
    assert len(raw) % 8 == 0
    assert raw == wire.encode(session, seq, frame.blocks, frame.objects)


@given(made.SESSIONS, made.SEQS, st.integers(0, 2**32 - 1))
def test_tombstone_round_trip(session: bytes, seq: int, dropped: int) -> None:
    frame = wire.decode(wire.encode_tombstone(session, seq, dropped))
    header = frame.header
    assert (wire.KIND_TOMBSTONE, session, seq, dropped) == (header.kind, header.session, header.seq, header.dropped)
    assert (frame.blocks, frame.objects) == ([], [])


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 2**53],
)
def test_special_numbers_keep_their_bits(value: float) -> None:
    raw = wire.encode(SESSION, 0, [block(["a"], [0], [0], [[value]])])
    assert struct.pack("<d", value) == wire.decode(raw).blocks[0].values.tobytes()


def test_block_without_keys_keeps_its_steps() -> None:
    frame = wire.decode(wire.encode(SESSION, 0, [block([], [3, 9], [1, 2], [])]))
    assert made.bits(frame.blocks) == [(b"", (0, 2), [3, 9], [1, 2], b"")]
    assert frame.header.points == 0


def test_empty_frame_is_a_frame() -> None:
    assert wire.decode(wire.encode(SESSION, 0, []))[1:] == ([], [])


def test_memory_layout_does_not_change_bytes() -> None:
    rows = np.arange(12.0).reshape(4, 3)  # one row per step, as they are logged
    names, steps = wire.pack_names(["a", "b", "c"]), np.arange(4)
    turned = wire.encode(SESSION, 0, [Block(names, steps, steps, rows.T)])
    copied = wire.encode(SESSION, 0, [Block(names, steps, steps, rows.T.copy())])
    big_endian = wire.encode(SESSION, 0, [Block(names, steps.astype(">i8"), steps, rows.T.astype(">f8"))])
    assert copied == turned == big_endian


@settings(deadline=None, max_examples=50)
@given(st.lists(made.frames(), max_size=5))
def test_joined_frames_are_split(frames: list[bytes]) -> None:
    parts = list(wire.split(b"".join(frames)))
    assert frames == [bytes(view) for _, view in parts]
    assert [wire.peek(frame) for frame in frames] == [header for header, _ in parts]


def test_decoding_does_not_copy() -> None:
    raw = wire.encode(SESSION, 0, [block(["a"], [0, 1], [0, 0], [[1, 2]])])
    assert not wire.decode(raw).blocks[0].values.flags.owndata


def test_mismatched_shapes_are_refused() -> None:
    steps = np.arange(3)
    with pytest.raises(ValueError, match="block of 2 columns has 3 steps and 3 times"):
        wire.encode(SESSION, 0, [Block(wire.pack_names(["a"]), steps, steps, np.zeros((1, 2)))])


def test_oversized_frame_is_refused() -> None:
    body = bytes(wire.MAX_FRAME_BYTES)
    with pytest.raises(FrameTooLargeError, match=r"a frame is too large \(16777312 bytes; the limit is 16777216\)"):
        wire.encode(SESSION, 0, [], [Object(0, 0, "a", body)])
    largest = wire.encode(SESSION, 0, [], [Object(0, 0, "a", body[: wire.MAX_FRAME_BYTES - 64 - 24 - 1])])
    assert wire.MAX_FRAME_BYTES == len(largest) == wire.decode(largest).header.length


def test_every_valid_row_fits_a_frame() -> None:
    """A row of the maximum size in its most expensive form: with the maximum number of objects."""
    count = wire.MAX_ROW_KEYS
    each = wire.MAX_ROW_BYTES // count
    objects = [Object(0, 0, f"{number:09}", bytes(each - 9)) for number in range(count)]
    assert len(wire.encode(SESSION, 0, [block([], [0], [0], [])], objects)) < wire.MAX_FRAME_BYTES


def read_golden(name: str) -> bytes:
    lines = (GOLDEN / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex("".join(line.partition("#")[0] for line in lines))


GOLDEN_BLOCKS = [
    block(["loss", "größe/ä"], [3, 5], [TIME, TIME + 50_000], [[0.5, -0.0], [math.nan, math.inf]]),
    block(["loss", "lr"], [4], [TIME + 25_000], [[5e-324], [1e-3]]),
]
GOLDEN_OBJECTS = [
    Object(3, TIME, "note", '"grüß"'.encode()),
    Object(5, TIME + 50_000, "n", b"18446744073709551616"),
]
LAST_STEP = 2**63 - 2


def test_data_frame_bytes_are_pinned() -> None:
    golden = read_golden("two_blocks_two_objects")
    assert golden.hex() == wire.encode(SESSION, 7, GOLDEN_BLOCKS, GOLDEN_OBJECTS).hex()
    frame = wire.decode(golden)
    assert (frame.header.session, frame.header.seq, frame.header.points) == (SESSION, 7, 6)
    assert made.bits(GOLDEN_BLOCKS) == made.bits(frame.blocks)
    assert frame.objects == GOLDEN_OBJECTS
    assert wire.unpack_names(frame.blocks[0].names, 2) == ["loss", "größe/ä"]


def test_empty_step_bytes_are_pinned() -> None:
    golden = read_golden("step_without_numbers")
    blocks, objects = [block([], [LAST_STEP], [0], [])], [Object(LAST_STEP, 0, "x", b"null")]
    assert golden.hex() == wire.encode(SESSION, 0, blocks, objects).hex()
    assert (made.bits(blocks), objects) == (made.bits(wire.decode(golden).blocks), wire.decode(golden).objects)


def test_tombstone_bytes_are_pinned() -> None:
    golden = read_golden("tombstone")
    assert golden.hex() == wire.encode_tombstone(SESSION, 2**63 - 1, 4_000_000_000).hex()
    header = wire.decode(golden).header
    assert (header.seq, header.dropped, header.session) == (2**63 - 1, 4_000_000_000, SESSION)


GOLDEN_NOTES = [Object(4, TIME, "summary", b'{"set":{"a":null}}'), Object(0, 1, "meta", b"{}")]


def test_notes_frame_bytes_are_pinned() -> None:
    golden = read_golden("two_notes")
    assert golden.hex() == wire.encode_notes(SESSION, 9, GOLDEN_NOTES).hex()
    frame = wire.decode(golden)
    assert (frame.header.kind, frame.header.seq, frame.blocks) == (wire.KIND_NOTES, 9, [])
    assert frame.objects == GOLDEN_NOTES


@given(made.SESSIONS, made.SEQS, st.lists(made.OBJECTS, max_size=6))
def test_notes_round_trip(session: bytes, seq: int, notes: list[Object]) -> None:
    raw = wire.encode_notes(session, seq, notes)
    header, blocks, objects = wire.decode(raw)
    assert (header.session, header.seq, header.length % 8, blocks, objects) == (session, seq, 0, [], notes)
    assert (header.notes, header.values) == (len(notes), 0)


def test_points_and_objects_are_values_and_notes_are_not() -> None:
    header = wire.peek(read_golden("two_blocks_two_objects"))
    assert (header.values, header.notes) == (8, 0)
    assert (wire.peek(read_golden("two_notes")).values, wire.peek(read_golden("two_notes")).notes) == (0, 2)


def test_limits_are_pinned() -> None:
    """Both ends must agree on the limits, across versions: a smaller limit would refuse frames in existing spools."""
    limits = (wire.MAX_FRAME_BYTES, wire.MAX_ROW_BYTES, wire.MAX_ROW_KEYS, wire.MAX_KEY_BYTES)
    assert (*limits, wire.MAX_NOTE_KIND_BYTES) == (16_777_216, 10_383_360, 100_000, 32_767, 64)


def test_objects_keep_keys_and_order() -> None:
    objects = [Object(5, 1, "b", b"1"), Object(5, 1, "a", b""), Object(4, 0, "b", b"[]")]
    assert objects == wire.decode(wire.encode(SESSION, 0, [], objects)).objects


def test_oversized_key_is_refused_before_encoding() -> None:
    with pytest.raises(DataError, match="a key cannot be stored"):
        block([""], [0], [0], [[1]])
