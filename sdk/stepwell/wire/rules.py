"""The rules for keys, names, times, texts and JSON values, shared by both ends. Pure.

The SDK refuses or repairs data that breaks a rule before it is logged; the server refuses such data before it reaches
Postgres. The numbers are in `limits.py`.
"""

from __future__ import annotations

import re
from typing import Any

from stepwell.wire.limits import (
    LEVELS_AROUND,
    MAX_DECIMALS,
    MAX_DEPTH,
    MAX_KEY_BYTES,
    MAX_NAME,
    MAX_NAME_BYTES,
    MAX_TIME_US,
    MIN_TIME_US,
)

#: jsonb cannot hold NUL characters. UTF-8 cannot encode lone surrogates, to which Python decodes undecodable bytes of
#: file names.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# `\u0000` is an escape after an even number of backslashes, which escape each other; after an odd number, it is text.
_NUL_ESCAPE = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

# The first expression is a quick check (it may match text in a string); the others confirm it.
_MAYBE_MANY_DECIMALS = re.compile(rb"[eE][+-]?\d{4}|\.\d{8192}")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SCALED_NUMBER = re.compile(rb"(?:\.(\d++))?[eE]([+-]?)0*+(\d*+)|\.(\d{%d})" % (MAX_DECIMALS + 1))


def is_key(raw: bytes) -> bool:
    """Returns whether a text in UTF-8 is a valid key: 1 to `MAX_KEY_BYTES` bytes, none of them NUL."""
    return 0 < len(raw) <= MAX_KEY_BYTES and 0 not in raw


def is_name(text: str) -> bool:
    """Returns whether a text is a valid name of an entity, project, run or writer."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and len(text.encode()) <= MAX_NAME_BYTES


def is_time(time_us: float) -> bool:
    """Returns whether microseconds since the Unix epoch lie in the years that can be stored."""
    return MIN_TIME_US <= time_us <= MAX_TIME_US


def holds_nul(raw: bytes) -> bool:
    """Returns whether a text in JSON contains a NUL character."""
    return b"\\u0000" in raw and _NUL_ESCAPE.search(raw) is not None


def is_too_deep(raw: bytes, value: Any) -> bool:
    """Returns whether JSON is nested more deeply than readers can parse: `MAX_DEPTH` plus `LEVELS_AROUND` levels.

    Args:
        raw: the JSON.
        value: the same, parsed.
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    return isinstance(value, dict | list) and _depth_is_above(value, MAX_DEPTH + LEVELS_AROUND)


def has_too_many_decimals(raw: bytes) -> bool:
    """Returns whether a number in JSON has more than `MAX_DECIMALS` decimal places."""
    if not _MAYBE_MANY_DECIMALS.search(raw):
        return False
    for fraction, sign, exponent, too_long in map(re.Match.groups, _SCALED_NUMBER.finditer(_STRING.sub(b"", raw))):
        # Postgres cannot even parse exponents of this length. Parsers read such numbers as zero, or refuse them.
        if too_long or len(exponent) > 9:
            return True
        shift = int(exponent or 0)
        if len(fraction or b"") + (shift if sign == b"-" else -shift) > MAX_DECIMALS:
            return True
    return False


def _depth_is_above(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            item
            for parent in level
            for item in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True
