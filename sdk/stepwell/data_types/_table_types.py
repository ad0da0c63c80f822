"""Column types of a table: the type of a cell, whether the column accepts it, and the column's type afterwards.

Used by `Table` for every cell, in the caller's thread, so common types are looked up in a dict. Types are written as
text, such as "number", "list of string" or "Image".
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from stepwell.data_types._media import Media
from stepwell.data_types._recognition import recognised
from stepwell.errors import DataError
from stepwell.values.convert import as_array, described, jsonable

ANY = "any"
NONE = "none"
NUMBER = "number"
_LIST = "list"
_KINDS: dict[type, str] = {
    int: "number",
    float: "number",
    np.float32: "number",
    np.float64: "number",
    np.int64: "number",
    str: "string",
    bool: "boolean",
    type(None): NONE,
}
_DTYPE_KINDS = {"b": "boolean", "i": "number", "u": "number", "f": "number", "M": "timestamp", "U": "string"}
_PLAIN = frozenset({*_KINDS, bytes})


def kind_of(cell: Any) -> str:
    """The name of the type of a cell that `owned` returned."""
    if (known := _KINDS.get(type(cell))) is not None:
        return known
    if isinstance(cell, Media):
        return type(cell).__name__
    if isinstance(cell, np.ndarray):
        return f"{_LIST} of {_DTYPE_KINDS.get(cell.dtype.kind, ANY)}"
    if isinstance(cell, np.generic):
        return _DTYPE_KINDS.get(cell.dtype.kind, type(cell).__name__)
    if isinstance(cell, list | tuple | set | frozenset):
        kinds = {kind for item in cell if (kind := kind_of(item)) != NONE}
        return f"{_LIST} of {kinds.pop() if len(kinds) == 1 else ANY}" if kinds else _LIST
    if isinstance(cell, Mapping):
        return "dict"
    if isinstance(cell, datetime.date):  # a datetime is one, too
        return "timestamp"
    for base, word in ((bool, "boolean"), (int, "number"), (float, "number"), (str, "string")):
        if isinstance(cell, base):
            return word
    return type(cell).__name__


def merged(column: str, cell: str) -> str | None:
    """The type of a column after adding a cell; None when the cell does not match. The caller handles NONE."""
    if column in (cell, ANY) or (column == f"{_LIST} of {ANY}" and cell.startswith(_LIST)):
        return column
    if cell == _LIST and column.startswith(_LIST):  # an empty list
        return column
    if column == NONE or (column == _LIST and cell.startswith(_LIST)):
        return cell
    return None


def kind_of_dtype(dtype: Any) -> str:
    """The name of a type that users pass: int, str, np.float32, Image, object, …; None means the type of the cells.

    Raises:
        DataError: a column cannot have this type.
    """
    if dtype is None:
        return NONE
    if dtype in (object, Any, ANY):
        return ANY
    if isinstance(dtype, str) and dtype in {*_KINDS.values(), "timestamp", "dict", _LIST}:
        return dtype
    if isinstance(dtype, type):
        for base, kind in ((bool, "boolean"), (int, "number"), (float, "number"), (str, "string"), (dict, "dict")):
            if issubclass(dtype, base):
                return kind
        if issubclass(dtype, list | tuple | np.ndarray):
            return _LIST
        if issubclass(dtype, datetime.date):
            return "timestamp"
        if issubclass(dtype, Media):
            return str(dtype.__name__)
        if issubclass(dtype, np.generic) and (word := _DTYPE_KINDS.get(np.dtype(dtype).kind)):
            return word
    raise DataError(
        "a column cannot have this type",
        detail=described(dtype),
        hint="int, float, str, bool, list, dict, Image or None",
    )


def owned(cell: Any, table_of: Callable[[Any], Media]) -> Any:
    """The cell, or a copy if the caller could change it; media of other libraries are converted to Stepwell's.

    Args:
        cell: the user's value.
        table_of: see `recognised`.

    Raises:
        DataError: the cell has no JSON form.
    """
    if type(cell) in _PLAIN:
        if type(cell) in (int, bytes):  # the only ones that may have no JSON form
            jsonable(cell)
        return cell
    if (media := recognised(cell, table_of)) is not None:
        return media.prepare()
    if isinstance(cell, list | tuple):
        return [owned(item, table_of) for item in cell]
    if isinstance(cell, Mapping):
        return {key: owned(item, table_of) for key, item in cell.items()}
    if hasattr(cell, "__array__") and hasattr(cell, "shape") and not isinstance(cell, np.generic):
        array = as_array(cell)
        if array.dtype.kind not in "biufMmUS":
            jsonable(array.tolist())
        return array.copy() if array.ndim else array[()]
    made = jsonable(cell)  # raises a DataError now, not in the encoding thread
    return made if isinstance(made, dict | list) else cell  # the caller could change these


def copied(cell: Any) -> Any:
    """A copy of a cell that `owned` returned: users can reach lists, dicts and arrays by `table.data`."""
    if type(cell) in _PLAIN:
        return cell
    if isinstance(cell, list | tuple):
        return [copied(item) for item in cell]
    if isinstance(cell, dict):
        return {key: copied(item) for key, item in cell.items()}
    return cell.copy() if isinstance(cell, np.ndarray) else cell


def is_nan(cell: Any) -> bool:
    """Returns whether a cell is a NaN, Python's or numpy's."""
    return isinstance(cell, float | np.floating) and bool(cell != cell)
