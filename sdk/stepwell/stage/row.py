"""What one step holds before it is a row: nested values by name, and the checks of what `log()` was given.

Beside the stage, which calls these with its lock held. In come converted values; out go merged and flattened ones, or a
DataError before anything has changed. Pure but for the clock.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from time import time
from typing import Any

import numpy as np

from stepwell.errors import DataError
from stepwell.values.convert import Converted, convert, described, key_text
from stepwell.wire import MAX_KEY_BYTES, MAX_ROW_BYTES, MAX_ROW_KEYS, Object

MAX_STEP = 2**63 - 1
#: Keys that the client sets itself (log-semantics §2).
_STEP, _RUNTIME, _TIMESTAMP, _INTERNAL = "_step", "_runtime", "_timestamp", "_wandb"
_SPECIAL = frozenset({_STEP, _RUNTIME, _TIMESTAMP, _INTERNAL})


def merge(into: dict[str, Converted], new: dict[str, Converted]) -> dict[str, Converted]:
    """The last value of a key wins; nested dicts merge; a dict and a scalar replace each other."""
    for key, value in new.items():
        old = into.get(key)
        into[key] = merge(dict(old), value) if isinstance(old, dict) and isinstance(value, dict) else value
    return into


def flatten(row: Mapping[str, Converted], prefix: str, into: dict[str, float | bytes]) -> None:
    """Nested values under the dot path of their keys; an empty key at the top is dropped."""
    for key, value in row.items():
        if isinstance(value, dict):
            flatten(value, f"{prefix}{key}.", into)
        elif prefix or key:
            into[prefix + key] = value


def bytes_of(objects: list[Object]) -> int:
    """What objects weigh in the stage."""
    return sum(len(item.key) + len(item.body) for item in objects)


def check_size(row: Mapping[str, Converted]) -> None:
    """Whether the row fits a frame.

    Raises:
        DataError: too many keys, a path that is too long, or too many bytes.
    """
    flat: dict[str, float | bytes] = {}
    flatten(row, "", flat)
    if len(flat) > MAX_ROW_KEYS:
        raise DataError(
            "a step has too many metrics",
            detail=f"{len(flat)}; the limit is {MAX_ROW_KEYS}",
            hint="log an array (it becomes a histogram), or spread them over steps",
        )
    size = 0
    for key, value in flat.items():
        key_bytes = len(key) if key.isascii() else len(key.encode())
        if key_bytes > MAX_KEY_BYTES:  # the path of a nested key
            raise DataError(
                "a key cannot be stored",
                detail=f"{key[:60]!r}, {key_bytes} bytes with the keys above it",
                hint=f"at most {MAX_KEY_BYTES} bytes",
            )
        size += key_bytes + (8 if isinstance(value, float) else len(value))
    if size > MAX_ROW_BYTES:
        raise DataError(
            "a step is too large",
            detail=f"{size} bytes; the limit is {MAX_ROW_BYTES}",
            hint="log large things as files, or fewer at a time",
        )


def checked_step(step: Any) -> int:
    """The step as an int: Python's and numpy's integers pass, bools, floats and strings do not."""
    try:
        if isinstance(step, bool):
            raise TypeError
        number = operator.index(step)
    except TypeError:
        raise DataError(f"step must be an integer, not {type(step).__name__}", detail=described(step)) from None
    if number >= MAX_STEP:
        raise DataError("step is too large", detail=f"{number}; the limit is {MAX_STEP - 1}")
    return number


def checked_commit(commit: Any) -> bool:
    """The truth of a bool or an integer; a string is a mistake."""
    if isinstance(commit, bool | np.bool_):
        return bool(commit)
    try:
        return operator.index(commit) != 0
    except TypeError:
        raise DataError(
            f"commit must be True, False or None, not {type(commit).__name__}", detail=described(commit)
        ) from None


def checked_timestamp(value: Any) -> float:
    """Unix seconds in the years 1970 to 9999."""
    try:
        seconds = float(value)
    except (TypeError, ValueError) as error:
        raise DataError("'_timestamp' must be a number of Unix seconds", detail=described(value)) from error
    if not 0 <= seconds < 253_402_300_800:
        raise DataError("'_timestamp' must lie in the years 1970 to 9999", detail=described(value))
    return seconds


def converted_row(data: Mapping[str, Any], known_keys: dict[str, str]) -> tuple[dict[str, Converted], float]:
    """The values of one `log()` call, and its time in Unix seconds.

    Args:
        known_keys: keys as users give them → as they are stored; it grows up to a limit.

    Raises:
        DataError: a key or a value cannot be stored, or the whole is too large; the text names the key.
    """
    row: dict[str, Converted] = {}
    at = time()
    for key, value in data.items():
        name = known_keys.get(key)
        if name is None:
            name = key_text(key)
            if len(known_keys) < MAX_ROW_KEYS:
                known_keys[key] = name
        if name in _SPECIAL:
            if name == _TIMESTAMP:
                at = checked_timestamp(value)
            continue
        try:
            converted = convert(value)
        except DataError as error:
            raise DataError(f"{name!r}: {error.message}", detail=error.detail, hint=error.hint) from error
        except RecursionError as error:
            raise DataError(f"{name!r}: a value is nested too deeply", hint="is it circular?") from error
        if name and converted != {}:
            row[name] = converted
    check_size(row)
    return row, at
