"""One `log()` call before the stage: checks and converts everything before the stage is touched.

Runs in the caller's thread without the stage's lock, because values may be of any class, and their code may be slow or
call `log` itself. Takes the arguments of `log()`; returns a `Call`, or raises a DataError. Pure apart from the clock.
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

#: Keys that the client sets itself.
_TIMESTAMP = "_timestamp"
_SPECIAL = frozenset({"_step", "_runtime", _TIMESTAMP, "_wandb"})


class Call:
    """A call that can be taken.

    Attributes:
        step: as it was given; None: the open step.
        commit: whether it closes its step.
        row: its plain values.
        time: Unix seconds.
        found: its media, prepared.
        types: those of its values when it was one flat dict of numbers; else None.
        done: whether the stage has taken it, for calls that wait in a queue.
        taken_at: the step that it went to.
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
    """Keys as users give them → as they are stored; "" for those that are not. Grows up to a limit."""

    def __missing__(self, key: str) -> str:
        name = key_text(key)
        if name in _SPECIAL:
            name = ""
        if len(self) < MAX_ROW_KEYS:
            self[key] = name
        return name


def converted_row(data: Mapping[str, Any], known: KnownKeys) -> tuple[Row, float, list[type] | None]:
    """The values of one call, its time in Unix seconds, and their types if the call was one flat dict of numbers.

    Raises:
        DataError: a key or a value cannot be stored, or the whole is too large; the text names the key.
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
    # The short way sees keys and types only: what is dropped or stored under another name does not take it.
    if list(values) == list(data) and POINT_TYPES.issuperset(types := list(map(type, data.values()))):
        return row, time() if at is None else at, types
    return row, time() if at is None else at, None


def checked_step(step: Any) -> int:
    """The step as an int: Python's and numpy's integers pass, bools, floats and strings do not."""
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
    if not is_time(seconds * 1e6):
        raise DataError("'_timestamp' must lie in the years 1970 to 9999", detail=described(value))
    return seconds
