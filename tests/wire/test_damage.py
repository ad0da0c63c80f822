"""Invalid frames are refused with a clear error, quickly, and before anything is allocated."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import frames as made
from fixtures.frames import block, with_checksums
from stepwell import wire
from stepwell.errors import FrameCorruptError, FrameVersionError, WireError
from stepwell.wire import Object

SESSION = bytes(range(16))
FRAME = wire.encode(
    SESSION,
    5,
    [block(["loss", "lr"], [1, 2], [10, 20], [[0.5, 0.25], [1e-3, 1e-3]]), block(["loss"], [3], [30], [[0.125]])],
    [Object(1, 10, "note", b'"a"'), Object(3, 30, "list", b"[1,2]")],
)
#: The offsets of the parts of FRAME.
BLOCK_1 = 64
BLOCK_2 = BLOCK_1 + 16 + 16 + 16 + 16 + 32
OBJECTS = BLOCK_2 + 16 + 8 + 8 + 8 + 8
HUGE = 1_000_000_000


def test_every_flipped_bit_is_detected() -> None:
    undetected = []
    for bit in range(8 * len(FRAME)):
        damaged = bytearray(FRAME)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            wire.decode(damaged)
        except WireError:
            continue
        undetected.append(bit)
    assert undetected == []


def test_every_truncation_is_detected() -> None:
    for end in range(len(FRAME)):
        with pytest.raises(FrameCorruptError, match="a frame is cut off"):
            wire.decode(FRAME[:end])


def test_trailing_bytes_are_detected() -> None:
    with pytest.raises(FrameCorruptError, match=f"{len(FRAME) + 8} of {len(FRAME)} bytes"):
        wire.decode(FRAME + bytes(8))


def test_truncated_last_frame_is_detected() -> None:
    given_out = []
    with pytest.raises(FrameCorruptError, match=f"a frame is cut off .seq 5: {len(FRAME) - 1} of {len(FRAME)} bytes"):
        for header, _ in wire.split(FRAME + FRAME[:-1]):
            given_out.append(header.seq)
    assert given_out == [5]


def test_other_bytes_are_described() -> None:
    with pytest.raises(
        FrameCorruptError, match=r"these bytes are not a frame \(they begin with b'<htm', not b'SWFR'\)"
    ):
        wire.peek(b"<html>" + bytes(100))


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_version_names_the_side_to_upgrade(version: int) -> None:
    newer = bytearray(FRAME)
    newer[4] = version
    with pytest.raises(FrameVersionError) as raised:
        wire.decode(with_checksums(newer))
    assert (
        f"a frame of format version {version} cannot be read (this side knows version 1)\n"
        "  Hint: upgrade the older side; the frame stays in the spool until then"
    ) == str(raised.value)
    assert not raised.value.retryable


def lie(offset: int, value: int) -> Callable[[], bytes]:
    def tell() -> bytes:
        frame = bytearray(FRAME)
        struct.pack_into("<I", frame, offset, value)
        return with_checksums(frame)

    return tell


@pytest.mark.parametrize(
    ("tell", "text"),
    [
        pytest.param(lie(8, HUGE), "the header of a frame has impossible values", id="length"),
        pytest.param(lie(8, len(FRAME) + 8), "a frame is cut off", id="length-a-bit-longer"),
        pytest.param(lie(8, len(FRAME) - 8), "a frame is cut off", id="length-a-bit-shorter"),
        pytest.param(lie(8, 8), "the header of a frame has impossible values", id="length-below-header"),
        pytest.param(lie(40, HUGE), "the header of a frame has impossible values", id="blocks"),
        pytest.param(lie(40, 1), "a frame miscounts its points", id="blocks-fewer"),
        pytest.param(lie(44, HUGE), "a frame claims more objects than it holds", id="objects"),
        pytest.param(lie(44, 0), "a frame has unexpected bytes at its end", id="objects-none"),
        pytest.param(lie(44, 1), "objects are cut off|unexpected bytes at its end", id="objects-fewer"),
        pytest.param(lie(48, HUGE), "a frame miscounts its points .1000000000 claimed, 5 found", id="points"),
        pytest.param(lie(BLOCK_1, HUGE), "a block exceeds its frame .1000000000 keys", id="keys"),
        pytest.param(lie(BLOCK_1 + 4, HUGE), "a block exceeds its frame", id="rows"),
        pytest.param(lie(BLOCK_1 + 4, 2**32 - 1), "a block exceeds its frame", id="rows-most"),
        pytest.param(lie(BLOCK_1 + 4, 0), "a block exceeds its frame", id="rows-none"),
        pytest.param(lie(BLOCK_1 + 8, HUGE), "a block exceeds its frame", id="names"),
        pytest.param(lie(BLOCK_1 + 8, 9), "a block exceeds its frame", id="names-not-padded"),
        pytest.param(lie(OBJECTS + 32, HUGE), "objects are cut off", id="key-bytes"),
        pytest.param(lie(OBJECTS + 40, 2**32 - 1), "objects are cut off", id="body-bytes"),
    ],
)
def test_wrong_length_is_refused_without_allocation(tell: Callable[[], bytes], text: str) -> None:
    frame = tell()
    tracemalloc.start()
    try:
        with pytest.raises(FrameCorruptError, match=text):
            wire.decode(frame)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_overflowing_block_size_is_refused() -> None:
    frame = bytearray(FRAME)
    struct.pack_into("<II", frame, BLOCK_1, 2**32 - 1, 2**32 - 1)
    with pytest.raises(FrameCorruptError, match="4294967295 keys × 4294967295 steps"):
        wire.decode(with_checksums(frame))


def test_seq_beyond_63_bits_is_refused() -> None:
    frame = bytearray(FRAME)
    struct.pack_into("<Q", frame, 32, 2**63)
    with pytest.raises(FrameCorruptError, match="has impossible values"):
        wire.peek(with_checksums(frame))


@pytest.mark.parametrize(
    ("key", "text"),
    [(b"\xff\xfe\xfd\xfc", "the key of an object is not UTF-8"), (b"a\0bc", "holds a NUL character")],
)
def test_malformed_object_key_is_refused(key: bytes, text: str) -> None:
    frame = bytearray(FRAME)
    at = frame.index(b"note")
    frame[at : at + 4] = key
    with pytest.raises(FrameCorruptError, match=text):
        wire.decode(with_checksums(frame))


@settings(deadline=None, max_examples=400)
@given(
    frame=made.frames() | st.just(FRAME),
    patches=st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.integers(0, 255).map(lambda value: bytes([value]))
            | st.integers(0, 2**32 - 1).map(lambda value: struct.pack("<I", value))
            | st.sampled_from([0, 1, 2, 7, 8, 24, 2**31, HUGE]).map(lambda value: struct.pack("<I", value)),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_damage_with_valid_checksums_is_refused_or_consistent(frame: bytes, patches: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(frame)
    for place, patch in patches:
        at = place % len(frame) // len(patch) * len(patch)
        damaged[at : at + len(patch)] = patch
    try:
        decoded = wire.decode(with_checksums(damaged[: len(frame)]))
        keys = [wire.unpack_names(item.names, item.values.shape[0]) for item in decoded.blocks]
    except WireError:
        return
    header, blocks, objects = decoded
    assert (len(blocks), len(objects)) == (header.blocks, header.objects)
    assert header.points == sum(item.values.size for item in blocks)
    assert [item.values.shape for item in blocks] == [
        (len(names), len(item.steps)) for names, item in zip(keys, blocks, strict=True)
    ]
    if header.kind == wire.KIND_NOTES:
        again = wire.decode(wire.encode_notes(header.session, header.seq, objects))
    else:
        again = wire.decode(wire.encode(header.session, header.seq, blocks, objects))
    assert (made.bits(blocks), objects) == (made.bits(again.blocks), again.objects)


@pytest.mark.parametrize(("at", "text"), [(40, "kind 2, seq 0, 1 blocks"), (48, "kind 2, seq 0, 0 blocks")])
def test_notes_with_blocks_or_points_are_refused(at: int, text: str) -> None:
    frame = bytearray(wire.encode_notes(bytes(16), 0, []))
    struct.pack_into("<I", frame, at, 1)
    with pytest.raises(FrameCorruptError, match=text):
        wire.decode(with_checksums(frame))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_wire_error(raw: bytes) -> None:
    with pytest.raises(WireError):
        wire.decode(raw)
    with pytest.raises(WireError):
        wire.decode(b"SWFR\x01\x00\x00\x00" + raw)
