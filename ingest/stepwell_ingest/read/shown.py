"""Prepares stored JSON for answers: only parts that the parsers of clients refuse are replaced. Pure.

Stands between rows of Postgres and the JSON of an answer. Receives the text of a jsonb value; returns JSON. Stored
values may be older than the rules of `write/validation.py`, or come from a user's SQL. Promises that a value that
parsers in Python, JavaScript or Rust would refuse is replaced in place by a string, and that all other bytes stay the
same.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import orjson

from stepwell.wire import MAX_DEPTH

Flags = npt.NDArray[np.bool_]

#: The most levels that are shown: twice the accepted depth, to leave room for levels that the SDK, tables and answers
#: add. Parsers stop at 1,024.
_LEVELS = 2 * MAX_DEPTH
_TOO_DEEP = b'"(nested more than %d levels deep)"' % MAX_DEPTH
#: Integers with this many digits may exceed a float64; parsers refuse such numbers.
_DIGITS = 309
_ZEROS = b"0" * _DIGITS
_TO_ZEROS = bytes(ord("0") if ord("0") <= byte <= ord("9") else byte for byte in range(256))
_LONG_NUMBER = re.compile(rb"(?<![0-9.])-?[0-9]{%d,}(?:\.[0-9]+)?" % _DIGITS)
_QUOTE, _OPEN, _CLOSE = ord('"'), (ord("["), ord("{")), (ord("]"), ord("}"))


def shown(text: str) -> orjson.Fragment:
    """Returns a stored value for `orjson.dumps`.

    Args:
        text: JSON as Postgres writes a jsonb value.
    """
    return orjson.Fragment(shown_bytes(text))


def shown_bytes(text: str) -> bytes:
    """Returns a stored value as JSON; see `shown`."""
    raw = text.encode()
    if raw.count(b"[") + raw.count(b"{") > _LEVELS:
        raw = _without_depth(raw)
    if len(raw) >= _DIGITS and _ZEROS in raw.translate(_TO_ZEROS):
        raw = _without_long_numbers(raw)
    return raw


def _outside_of_texts(raw: bytes) -> Flags:
    """Returns for each byte whether it is outside of strings. A closing quote counts as outside."""
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    quotes = (np.frombuffer(raw, np.uint8) == _QUOTE).view(np.uint8)
    outside: Flags = np.bitwise_xor.accumulate(quotes) == 0
    return outside


def _without_depth(raw: bytes) -> bytes:
    """Returns `raw` with arrays and objects below the deepest level replaced."""
    array = np.frombuffer(raw, np.uint8)
    outside = _outside_of_texts(raw)
    opens, closes = (outside & ((array == square) | (array == curly)) for square, curly in (_OPEN, _CLOSE))
    levels = np.cumsum(opens.view(np.int8) - closes.view(np.int8), dtype=np.int32)
    starts = np.flatnonzero(opens & (levels == _LEVELS + 1))
    ends = np.flatnonzero(closes & (levels == _LEVELS))
    pieces, at = [], 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        pieces += [raw[at:start], _TOO_DEEP]
        at = end + 1
    return b"".join([*pieces, raw[at:]])


def _without_long_numbers(raw: bytes) -> bytes:
    """Returns `raw` with numbers that may exceed a float64 replaced by strings of their digits."""
    outside = _outside_of_texts(raw)
    return _LONG_NUMBER.sub(lambda found: b'"%s"' % found.group() if outside[found.start()] else found.group(), raw)
