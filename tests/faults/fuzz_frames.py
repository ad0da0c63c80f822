"""Malicious frames: valid ones of every shape with targeted changes, mostly with correct checksums.

The input is a seed; the outputs are mutants, which depend only on the seed. A mutant is made in two steps: first the
parts of a frame are changed like a buggy sender would (decreasing steps, swapped blocks, JSON that Postgres refuses),
then its bytes like an attacker would (wrong lengths, counts of 10⁹, truncation, splices). Three of four mutants get
correct checksums, so that they pass that check.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import numpy as np

from fixtures.frames import with_checksums
from stepwell import wire
from stepwell.wire import Block, Frame, Object

#: The share of mutants whose checksums are corrected, and of those whose claimed length is also corrected.
FIXED, LENGTH_FIXED = 0.75, 0.8

_TIME = 1_700_000_000_000_000
_U32 = (0, 1, 2, 3, 7, 8, 9, 16, 24, 64, 255, 2**15, 2**16, 2**24, 10**9, 2**31 - 1, 2**31, 2**32 - 8, 2**32 - 1)
_I64 = (*(sign * 2**power for sign in (-1, 1) for power in (0, 31, 53, 62)), -(2**63), 0, 2**63 - 2, 2**63 - 1)
_LAST_TIME = 253_402_300_799_999_999
_WORDS = "loss train/acc ü/Größe 日本語 😀 a.b _step %s '; \ufeff \x7f \ud7ff"
_KEYS = (*_WORDS.split(" "), " ", "x" * 300)
_NOTES = ("summary", "define", "config", "meta", "alert", "console", "x", "ü" * 32)
_HONEST_JSON = (
    *b'1 -0 null true "" [] {} {"a":1,"a":2} {"":0} [[0.5,-1e300],"\xc3\xa4"]'.split(),
    b" 1 ",
    b"\t[1 , 2]\n",
)
_JSON = (
    *_HONEST_JSON,
    *b"nan NaN -Infinity 01 1. +1 'a' [1,] \"\xff\" \xef\xbb\xbf1 0e99999 0e-99999 1e308 1e400 -1e-400".split(),
    *rb'"\u0000" "\\u0000" "\\\u0000" {"\u0000":1} "\ud800" "\udc00\ud800" "\ud83d\ude00"'.split(),
    *(b"", b'"\t"', b"1 2", b"9" * 300, b"9" * 400, b'"' + b"a" * 70_000 + b'"', b"[" + b"0," * 5000 + b"0]"),
    *(b"1e-16383", b"1e-16384", b"1e-20000", b"0." + b"0" * 16_382 + b"1", b"0." + b"0" * 17_000 + b"1"),
    *(b"[" * 500 + b"]" * 500, b"[" * 2000 + b"]" * 2000, b'{"a":' * 500 + b"1" + b"}" * 500),
)


class Mutator:
    """Valid frames and mutants of them, all derived from one seed."""

    def __init__(self, seed: int | str) -> None:
        self.rng = random.Random(seed)
        self._values = np.random.default_rng(self.rng.getrandbits(64))

    def honest(self, session: bytes, seq: int, step: int) -> bytes:
        """A frame of any shape as the SDK makes it, whose steps begin at `step` or above."""
        draw = self.rng.random()
        if draw < 0.04:
            return wire.encode_tombstone(session, seq, self.rng.randrange(10_000))
        if draw < 0.06:
            return wire.encode(session, seq, [])
        if draw < 0.14:
            return wire.encode_notes(session, seq, [self._note() for _ in range(self.rng.choice((0, 1, 1, 3, 12)))])
        blocks: list[Block] = []
        for _ in range(self.rng.choice((1, 1, 1, 2, 3, 12))):
            keys, rows = self.rng.choice(((1, 1), (1, 1), (3, 2), (2, 40), (10, 10), (0, 2), (1, 0), (120, 1), (7, 33)))
            blocks.append(self._block(keys, rows or 300, step))
            step = int(blocks[-1].steps[-1]) + 1
        if draw > 0.98:
            blocks.append(self._block(3000, 1, step))
        objects = [self._object(blocks) for _ in range(self.rng.choice((0, 0, 1, 2, 9)))]
        return wire.encode(session, seq, blocks, objects)

    def mutant(self, session: bytes, seq: int, step: int, others: list[bytes] | None = None) -> bytes:
        """A mutant of a frame. `others`: other sessions that it may claim to belong to."""
        frame = self.honest(session, seq, step)
        if self.rng.random() < 0.6:
            parts = wire.decode(frame)
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                parts = self._change_parts(parts)
            if parts.header.kind == wire.KIND_NOTES:
                frame = wire.encode_notes(session, seq, parts.objects)
            else:
                frame = wire.encode(session, seq, parts.blocks, parts.objects)
        if self.rng.random() < 0.6:
            raw = bytearray(frame)
            for _ in range(self.rng.choice((1, 1, 1, 2, 4))):
                raw = self.rng.choice(_CHANGES)(self, raw)
            frame = bytes(raw)
        raw = bytearray(frame)
        if self.rng.random() < 0.08 and len(raw) >= wire.HEADER_BYTES:
            if self.rng.random() < 0.5:
                raw[16:32] = self.rng.choice(others) if others else self.rng.randbytes(16)
            else:
                near = (0, seq - 1, seq + 1, seq + 2, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
                struct.pack_into("<Q", raw, 32, max(self.rng.choice(near), 0))
        if self.rng.random() < FIXED and len(raw) >= wire.HEADER_BYTES:
            if self.rng.random() < LENGTH_FIXED:
                raw += bytes(-len(raw) % 8)
                struct.pack_into("<I", raw, 8, len(raw))
            return with_checksums(raw)
        return bytes(raw)

    def number(self, old: int) -> int:
        """Another value for a field of 32 bits: a typically harmful one, or a neighbour of the old one."""
        near = (old + 1, old - 1, old + 8, old - 8, old * 2, old // 2, old ^ 1 << self.rng.randrange(32))
        return self.rng.choice((*_U32, *near, *near)) % 2**32

    def _block(self, keys: int, rows: int, step: int) -> Block:
        names = [f"m/{index}" for index in range(keys)]
        if keys and self.rng.random() < 0.3:
            names[: len(_KEYS)] = self.rng.sample(_KEYS, len(_KEYS))[:keys]
        steps = step + np.cumsum(self._values.integers(1, 3, rows))
        values = self._values.random((keys, rows))
        if self.rng.random() < 0.2:  # every bit pattern
            values = self._values.integers(0, 2**64, (keys, rows), np.uint64).view(np.float64)
        return Block(wire.pack_names(names), steps, _TIME + steps, values)

    def _object(self, blocks: list[Block]) -> Object:
        step = int(self.rng.choice(self.rng.choice(blocks).steps))
        return Object(step, _TIME + step % 2**40, self.rng.choice(_KEYS), self.rng.choice(_HONEST_JSON))

    def _note(self) -> Object:
        step = self.rng.choice((0, 1, 7, 2**40, 2**63 - 1))
        return Object(step, _TIME + step % 2**40, self.rng.choice(_NOTES), self.rng.choice(_HONEST_JSON))

    def _change_parts(self, frame: Frame) -> Frame:
        blocks, objects, rng = list(frame.blocks), list(frame.objects), self.rng
        at = rng.randrange(len(blocks)) if blocks else 0
        what = rng.randrange(11)
        if what == 0:
            rng.shuffle(blocks)
        elif what == 1 and blocks:
            blocks.insert(rng.randrange(len(blocks) + 1), blocks[at])
        elif what == 2 and blocks:
            del blocks[at]
        elif what in (3, 4, 5, 6) and blocks:
            blocks[at] = self._change_block(blocks[at])
        elif what == 7 and objects:
            rng.shuffle(objects)
            objects = objects[: rng.randrange(len(objects) + 1)]
        elif blocks or frame.header.kind == wire.KIND_NOTES:
            item = self._object(blocks) if blocks else self._note()
            change = rng.randrange(5)
            if change == 0:
                item = item._replace(step=rng.choice(_I64))
            elif change == 1:
                item = item._replace(time=rng.choice((*_I64, _LAST_TIME, _LAST_TIME + 1)))
            elif change == 2:
                item = item._replace(key=rng.choice(("", "\0", "a\0b", "k" * 64, "k" * 65, "k" * 32_767, "k" * 32_768)))
            else:
                item = item._replace(body=self._json())
            objects.insert(rng.randrange(len(objects) + 1), item)
        return Frame(frame.header, blocks, objects)

    def _change_block(self, block: Block) -> Block:
        rng = self.rng
        steps, times, values, names = (
            block.steps.copy(),
            block.times.copy(),
            block.values.copy(),
            bytearray(block.names),
        )
        at = rng.randrange(len(steps))
        what = rng.randrange(6)
        if what == 0:
            steps[at] = rng.choice(_I64)
        elif what == 1:
            steps -= min(rng.choice((1, 2, 1000)), int(steps.min()) + 2**62)
        elif what == 2:
            steps[:] = steps[::-1].copy()
        elif what == 3:
            times[at] = rng.choice((*_I64, _LAST_TIME, _LAST_TIME + 1))
        elif what == 4 and names:
            names[rng.randrange(len(names))] = rng.choice((0, 1, 0x20, 0x80, 0xC0, 0xED, 0xFF, rng.randrange(256)))
        elif values.size:
            values.reshape(-1).view(np.uint64)[rng.randrange(values.size)] = rng.getrandbits(64)
        return Block(bytes(names), steps, times, values)

    def _json(self) -> bytes:
        rng = self.rng
        if rng.random() < 0.2:  # numbers, for which the two parsers have different limits
            digits = "".join(rng.choices("0123456789", k=rng.choice((1, 17, 20, 310))))
            return f"{rng.choice(('', '-'))}{rng.choice(('1', '0'))}.{digits}e{rng.randint(-20_000, 400)}".encode()
        body = bytearray(rng.choice(_JSON))
        if rng.random() < 0.3:
            body = bytearray(b'{"k": [' + body + b", " + rng.choice(_JSON) + b"]}")
        if body and rng.random() < 0.3:
            body[rng.randrange(len(body))] = rng.randrange(256)
        return bytes(body)


def _flip(self: Mutator, raw: bytearray) -> bytearray:
    for _ in range(self.rng.choice((1, 1, 2, 8))):
        bit = self.rng.randrange(8 * len(raw)) if raw else 0
        if raw:
            raw[bit // 8] ^= 1 << bit % 8
    return raw


def _lie_in_header(self: Mutator, raw: bytearray) -> bytearray:
    if len(raw) >= wire.HEADER_BYTES:
        at = self.rng.choice((4, 8, 40, 44, 48, 52, 56))
        (old,) = struct.unpack_from("<I", raw, at)
        struct.pack_into("<I", raw, at, self.number(old))
    return raw


def _lie_anywhere(self: Mutator, raw: bytearray) -> bytearray:
    """Any field of the body, most often one near its start, where the first block has its size."""
    body = (len(raw) - wire.HEADER_BYTES) // 4
    if body > 0:
        at = wire.HEADER_BYTES + 4 * self.rng.randrange(min(body, self.rng.choice((4, 4, 64, body))))
        (old,) = struct.unpack_from("<I", raw, at)
        struct.pack_into("<I", raw, at, self.number(old))
    return raw


def _truncate(self: Mutator, raw: bytearray) -> bytearray:
    return raw[: self.rng.randrange(len(raw) + 1)]


def _extend(self: Mutator, raw: bytearray) -> bytearray:
    return raw + self.rng.choice((bytes(8), self.rng.randbytes(self.rng.randrange(1, 64)), raw[:64]))


def _splice(self: Mutator, raw: bytearray) -> bytearray:
    other = self.honest(bytes(raw[16:32]).ljust(16, b"\0"), 0, self.rng.randrange(1000))
    return raw[: 8 * self.rng.randrange(len(raw) // 8 + 1)] + other[8 * self.rng.randrange(len(other) // 8 + 1) :]


def _swap_words(self: Mutator, raw: bytearray) -> bytearray:
    words = len(raw) // 8
    if words > 8:
        first, second = 8 * self.rng.randrange(8, words), 8 * self.rng.randrange(8, words)
        raw[first : first + 8], raw[second : second + 8] = raw[second : second + 8], raw[first : first + 8]
    return raw


def _repeat_or_cut_a_piece(self: Mutator, raw: bytearray) -> bytearray:
    start = 8 * self.rng.randrange(len(raw) // 8 + 1)
    piece = raw[start : start + 8 * self.rng.randrange(1, 12)]
    return raw[:start] + (piece + raw[start:] if self.rng.random() < 0.5 else raw[start + len(piece) :])


_CHANGES: tuple[Callable[[Mutator, bytearray], bytearray], ...] = (
    *(_flip, _lie_in_header, _lie_anywhere, _lie_anywhere, _truncate, _extend, _splice, _swap_words),
    _repeat_or_cut_a_piece,
)
