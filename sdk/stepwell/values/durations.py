"""Time spans in ISO 8601.

Used by `values/convert.py` for time spans given to `log()`. Takes nanoseconds; returns text. Pure and exact.
"""

from __future__ import annotations

import numpy as np

_NANOSECONDS = {
    "W": 604_800 * 10**9,
    "D": 86_400 * 10**9,
    "h": 3_600 * 10**9,
    "m": 60 * 10**9,
    "s": 10**9,
    "ms": 10**6,
    "us": 10**3,
    "ns": 1,
}


def duration(nanoseconds: int) -> str:
    """`nanoseconds` as in PT1S, P1D or -P1DT2H0.5S: the sign in front, no parts that are zero."""
    minutes, rest = divmod(abs(nanoseconds), 60 * 10**9)
    whole, fraction = divmod(rest, 10**9)
    seconds = f"{whole}.{fraction:09}".rstrip("0") if fraction else f"{whole}"
    parts = {"H": str(minutes // 60 % 24), "M": str(minutes % 60), "S": seconds}
    days = f"{minutes // 1440}D" if minutes >= 1440 else ""
    clock = "".join(number + unit for unit, number in parts.items() if number != "0")
    text = f"P{days}T{clock}" if clock else f"P{days or 'T0S'}"
    return f"-{text}" if nanoseconds < 0 else text


def numpy_duration(value: np.timedelta64) -> str:
    """The same for numpy's time spans. Years and months keep their unit; NaT and units below a nanosecond have numpy's
    text."""
    unit, count = np.datetime_data(value.dtype)
    if np.isnat(value) or unit == "generic":
        return str(value)
    number = int(value.astype(np.int64)) * count
    if unit in "YM":  # without a fixed length
        return f"{'-' if number < 0 else ''}P{abs(number)}{unit}"
    return duration(number * _NANOSECONDS[unit]) if unit in _NANOSECONDS else str(value)
