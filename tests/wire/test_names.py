"""The keys of a block: every valid key is read back, and nothing else is accepted."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.frames import KEYS
from stepwell import wire
from stepwell.errors import DataError, FrameCorruptError


@given(st.lists(KEYS, unique=True, max_size=8))
def test_keys_round_trip(keys: list[str]) -> None:
    packed = wire.pack_names(keys)
    assert keys == wire.unpack_names(packed, len(keys))
    assert len(packed) % 8 == 0


def test_name_bytes_are_pinned() -> None:
    assert "0400 0300 6c6f7373 c3a462 00 00000000".replace(" ", "") == wire.pack_names(["loss", "äb"]).hex()
    assert wire.pack_names([]) == b""


def test_longest_key_round_trip() -> None:
    longest = "k" * 32_767
    assert [longest, "a"] == wire.unpack_names(wire.pack_names([longest, "a"]), 2)


@pytest.mark.parametrize(
    ("key", "detail"),
    [("", "'', 0 bytes"), ("a\0b", r"'a\x00b', 3 bytes"), ("k" * 32_768, f"{'k' * 60!r}, 32768 bytes")],
    ids=["empty", "NUL", "too-long"],
)
def test_invalid_key_is_refused(key: str, detail: str) -> None:
    with pytest.raises(DataError) as raised:
        wire.pack_names(["good", key])
    assert (
        f"a key cannot be stored ({detail})\n  Hint: keys have 1 to 32767 bytes of UTF-8 and no NUL character"
    ) == str(raised.value)


NO_KEY = "a block key is empty, too long, repeated or holds a NUL"


def names(*keys: bytes, lengths: list[int] | None = None, padding: bytes | None = None) -> bytes:
    raw = struct.pack(f"<{len(keys)}H", *(lengths or map(len, keys))) + b"".join(keys)
    return raw + (bytes(-len(raw) % 8) if padding is None else padding)


@pytest.mark.parametrize(
    ("packed", "count", "text"),
    [
        pytest.param(names(b"a", b"a"), 2, NO_KEY, id="repeated"),
        pytest.param(names(b"a", b""), 2, NO_KEY, id="empty"),
        pytest.param(names(b"k" * 32_768), 1, NO_KEY, id="key-too-long"),
        pytest.param(names(b"a\0"), 1, NO_KEY, id="NUL"),
        pytest.param(names(b"\xff\xff"), 1, "a key is not UTF-8", id="not-UTF-8"),
        pytest.param(names(b"\xc3", b"\xa4"), 2, "a key is not UTF-8", id="character-over-two-keys"),
        pytest.param(names(b"ab", lengths=[60_000]), 1, "do not fill their space .60002 bytes claimed", id="too-long"),
        pytest.param(names(b"ab", lengths=[1]), 1, "do not fill their space", id="padding-not-zero"),
        pytest.param(names(b"ab", padding=bytes(12)), 1, "do not fill their space", id="padding-too-long"),
        pytest.param(names(b"ab"), 1000, "the names of a block are cut off .8 bytes for 1000 keys", id="count"),
        pytest.param(names(b"ab"), 10**9, "the names of a block are cut off", id="count-10^9"),
    ],
)
def test_malformed_names_are_refused(packed: bytes, count: int, text: str) -> None:
    with pytest.raises(FrameCorruptError, match=text):
        wire.unpack_names(packed, count)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=64), st.integers(0, 40))
def test_any_bytes_give_distinct_keys_or_a_wire_error(packed: bytes, count: int) -> None:
    try:
        keys = wire.unpack_names(packed, count)
    except FrameCorruptError:
        return
    assert count == len(set(keys))
    assert wire.pack_names(keys).rstrip(b"\0") == packed.rstrip(b"\0")
