"""Checks and converts everything in one `log()` call before the stage is touched.

Runs in the caller's thread without the stage's lock, because values may be of any class, and their code may be slow or
call `log` itself. Receives the arguments of `log()`; returns the parts of a `Call`, or raises a DataError. Pure apart
from the clock.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any

import numpy as np

from stepwell.errors import DataError
from stepwell.stage.row import Row
from stepwell.values.convert import POINT_TYPES, convert, described, key_text
from stepwell.wire import MAX_ROW_KEYS, MAX_STEP, is_time

if TYPE_CHECKING:
    from stepwell.data_types._extraction import Found

_TIMESTAMP = "_timestamp"
#: Keys that are not stored, because Stepwell or W&B's client sets them.
_SPECIAL = frozenset({"_step", "_runtime", _TIMESTAMP, "_wandb"})


class Call:
    """A valid call.

    Attributes:
        step: the given step; None: the open step.
        commit: whether it closes its step.
        row: its plain values.
        time: its time in Unix seconds.
        found: its media, prepared.
        types: the types of its values if it was one flat dict of numbers; else None.
        done: whether the stage has taken it, for calls that wait in a queue.
        taken_at: the step at which the stage has taken it.
    """

    __slots__ = ("commit", "done", "found", "row", "step", "taken_at", "time", "types")

    def __init__(
        self, step: int | None, commit: bool, row: Row, at: float, found: list[Found], types: list[type] | None
    ) -> None:
        self.step = step
        self.commit = commit
        self.row = row
        self.time = at
        self.found = found
        self.types = types
        self.done = False
        self.taken_at = -1 if step is None else step


class KnownKeys(dict[str, str]):
    """A bounded cache from users' keys to stored keys; "" for keys that are not stored."""

    def __missing__(self, key: str) -> str:
        name = key_text(key)
        if name in _SPECIAL:
            name = ""
        if len(self) < MAX_ROW_KEYS:
            self[key] = name
        return name


def converted_row(data: Mapping[str, Any], known: KnownKeys) -> tuple[Row, float, list[type] | None]:
    """Converts the values of one call; returns them, the time in Unix seconds, and the types of the values if `data` is
    a flat dict of numbers, else None.

    Args:
        data: the dict that the user logs.
        known: the cache of stored keys; keys that it lacks are added.

    Raises:
        DataError: a key or a value cannot be stored (the message names the key), or the row is too large.
    """
    row = Row()
    values, at = row.values, None
    for key, value in data.items():
        name = known[key]
        if not name:
            if key == _TIMESTAMP:
                at = checked_timestamp(value)
        elif type(value) is float and not row.nested:
            values[name] = value
        else:
            try:
                row.put(name, convert(value))
            except DataError as error:
                raise DataError(f"{name!r}: {error.message}", detail=error.detail, hint=error.hint) from error
            except RecursionError as error:
                raise DataError(f"{name!r}: a value is nested too deeply", hint="is it circular?") from error
    row.check_size()
    types = None
    # The fast path sees only keys and types, so keys that are dropped or renamed must not take it.
    if list(values) == list(data) and POINT_TYPES.issuperset(types := list(map(type, data.values()))):
        return row, time() if at is None else at, types
    return row, time() if at is None else at, None


def checked_step(step: Any) -> int:
    """The step as an int: accepts Python's and numpy's integers, but no bools, floats or strings.

    Raises:
        DataError: the step is of another type, or too large.
    """
    try:
        if isinstance(step, bool):
            raise TypeError
        number = operator.index(step)
    except TypeError:
        raise DataError(f"step must be an integer, not {type(step).__name__}", detail=described(step)) from None
    if number > MAX_STEP:
        raise DataError("step is too large", detail=f"{number}; the limit is {MAX_STEP}")
    return number


def checked_commit(commit: Any) -> bool:
    """The truth value of a bool or an integer.

    Raises:
        DataError: `commit` is of another type.
    """
    if isinstance(commit, bool | np.bool_):
        return bool(commit)
    try:
        return operator.index(commit) != 0
    except TypeError:
        raise DataError(
            f"commit must be True, False or None, not {type(commit).__name__}", detail=described(commit)
        ) from None


def checked_timestamp(value: Any) -> float:
    """A time in Unix seconds, in the years 1970 to 9999.

    Raises:
        DataError: `value` is not a number, or outside these years.
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("'_timestamp' must be a number of Unix seconds", detail=described(value)) from error
    if not is_time(seconds * 1e6):
        raise DataError("'_timestamp' must lie in the years 1970 to 9999", detail=described(value))
    return seconds
