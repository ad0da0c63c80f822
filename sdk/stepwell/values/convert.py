"""Converts logged values: to a float for a point, JSON text for an object, a dict for nesting.

The first step of `log()`. Values are converted in the caller's thread at once, so the caller may change its data
afterwards, and the I/O thread never runs user code. The rules are those of W&B's client, except for values of which
that client loses data (integers over 2^53, NaN in lists): they are sent as JSON that preserves them.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import io
import math
import operator
import os
import reprlib
import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from stepwell.errors import DataError
from stepwell.values.durations import duration, numpy_duration
from stepwell.values.text import dump, storable
from stepwell.wire import MAX_DEPTH, MAX_INT_BITS, MAX_KEY_BYTES

#: Beyond this a float64 no longer holds every integer; such integers are sent as JSON.
MAX_EXACT_INT = 2**53
#: Types that `array('d')` accepts without loss, for integers within ±2^53.
FLOAT_TYPES = frozenset({float, np.float64, np.float32, np.float16})
SMALL_INT_TYPES = frozenset({np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32})
INT_TYPES = frozenset({int, np.int64, np.uint64})
POINT_TYPES = FLOAT_TYPES | SMALL_INT_TYPES | INT_TYPES

#: Arrays up to this size are sent as lists, larger ones as a histogram with this many bins.
MAX_LIST_SIZE = 32
_SHORT = reprlib.Repr()  # bounded in time, too, and robust against a __repr__ that raises
_SHORT.maxstring = _SHORT.maxother = 80

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

#: A converted value: a point, the JSON of an object, or nested values by name.
Converted = float | bytes | dict[str, Any]


@runtime_checkable
class Inline(Protocol):
    """A value with a JSON form of its own, such as a `Histogram`. Media raise here: as files, they cannot be among
    plain values."""

    def __stepwell_json__(self) -> Any:
        """The JSON form as plain values; raises DataError if there is none."""


def key_text(key: object) -> str:
    """The stored form of a key: see `storable`.

    Raises:
        DataError: the key is not a string, or is too long.
    """
    if not isinstance(key, str):
        raise DataError(
            f"keys must be strings, not {type(key).__name__}", detail=described(key), hint='log({"loss": 0.5})'
        )
    text = storable(key)
    if len(text) * 4 > MAX_KEY_BYTES and len(text.encode()) > MAX_KEY_BYTES:
        raise DataError("a key is too long", detail=f"{text[:60]!r}", hint=f"at most {MAX_KEY_BYTES} bytes of UTF-8")
    return text


def described(value: object) -> str:
    """`value` for an error message, in at most some 80 characters."""
    return _SHORT.repr(value)[:80]


def convert(value: Any, depth: int = 0) -> Converted:
    """The form in which `value` is sent.

    Raises:
        DataError: the value cannot be stored; the caller adds the key.
    """
    kind = type(value)
    if kind is float or kind is np.float32:
        return float(value)
    if kind is int or (isinstance(value, np.integer) and not isinstance(value, np.timedelta64)):
        return float(value) if -MAX_EXACT_INT <= value <= MAX_EXACT_INT else dump(jsonable(int(value)))
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, Mapping):
        return {key_text(nested_name(key)): convert(item, depth + 1) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return convert(value.value, depth + 1)
    if isinstance(value, np.floating) or _is_small_float(value):
        return float(value)
    if _is_array(value):
        if value_size(value) == 1 and not np.ma.is_masked(value):
            return convert(as_array(value).reshape(-1)[0], depth + 1)
    elif isinstance(value, float):
        return float(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        return convert(int(value), depth)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        return convert(_fields(value), depth + 1)  # separate metrics, as for a dict
    return dump(jsonable(value))


def jsonable(value: Any, depth: int = 0) -> Any:
    """`value` as a JSON value. NaN and infinities, which JSON cannot express, become {"_type": "float64", "value":
    "NaN"}; NUL characters and lone surrogates in a string, which jsonb cannot store, become U+FFFD.

    Raises:
        DataError: the value has no sensible JSON form.
    """
    if depth > MAX_DEPTH:
        raise _too_deep()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return jsonable(value.value, depth + 1)
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise DataError(
                "an integer is too large", detail=f"{value.bit_length()} bits", hint=f"at most {MAX_INT_BITS} bits"
            )
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _non_finite(value)
    if isinstance(value, np.generic):
        return _jsonable_numpy_scalar(value, depth)
    if isinstance(value, Mapping):
        return {jsonable(nested_name(key)): jsonable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item, depth + 1) for item in value]
    if _is_array(value):
        return _jsonable_array(as_array(value), depth)
    return _jsonable_other(value, depth)


def _jsonable_other(value: Any, depth: int) -> Any:
    if isinstance(value, Inline) and not isinstance(value, type):
        return jsonable(value.__stepwell_json__(), depth + 1)
    if isinstance(value, bytes | bytearray):
        try:
            return jsonable(value.decode(), depth + 1)
        except UnicodeDecodeError as error:
            raise DataError("bytes that are not UTF-8 cannot be logged", detail=str(error)) from error
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return duration(value // datetime.timedelta(microseconds=1) * 1000)
    if isinstance(value, decimal.Decimal | complex | os.PathLike | uuid.UUID):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable(_fields(value), depth + 1)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    # Not every iterable: a file would be read to its end, and a data loader would load all of its data.
    if isinstance(value, Collection | Iterator) and not isinstance(value, range | io.IOBase):
        return [jsonable(item, depth + 1) for item in value]
    raise DataError(
        f"a value of type {type(value).__name__} is not JSON serializable",
        detail=described(value),
        hint="log list(range(...))"
        if isinstance(value, range)
        else "log numbers, strings, lists, dicts or arrays; or log str(value)",
    )


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _jsonable_numpy_scalar(value: np.generic, depth: int) -> Any:
    if isinstance(value, np.timedelta64):
        return numpy_duration(value)
    if isinstance(value, np.datetime64 | np.complexfloating):
        return str(value)
    if isinstance(value, np.floating):
        return jsonable(float(value), depth + 1)
    if _is_small_float(value):
        return jsonable(float(value), depth + 1)
    return jsonable(value.item(), depth + 1)


def _jsonable_array(array: np.ndarray[Any, Any], depth: int) -> Any:
    if isinstance(array, np.ma.MaskedArray) and (array.size == 1 or array.size > MAX_LIST_SIZE):
        if not array.count():  # only masked values, which count as missing
            return None
        if array.size > MAX_LIST_SIZE:
            return _histogram(without_masked(array))
        array = without_masked(array)
    if array.size == 1:
        return jsonable(array.reshape(-1)[0], depth + 1)
    if array.size <= MAX_LIST_SIZE:
        if array.dtype.kind == "M":  # tolist() would return bare numbers of nanoseconds
            array = array.astype(str)
        elif array.dtype.kind == "m":
            array = np.array([numpy_duration(item) for item in array.reshape(-1)], object).reshape(array.shape)
        return jsonable(array.tolist(), depth + 1)
    return _histogram(array)


def _histogram(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"an array of {array.size} values of type {array.dtype} cannot be logged",
            hint=f"only arrays of numbers become histograms; log at most {MAX_LIST_SIZE} values, or array.tolist()",
        )
    numbers = array.reshape(-1).astype(np.float64)
    if not np.isfinite(numbers).all():
        raise DataError(
            "an array with NaN or infinities cannot become a histogram",
            detail=f"{int((~np.isfinite(numbers)).sum())} of {numbers.size} values are not finite",
            hint="log array.tolist() to keep each value",
        )
    counts, edges = counts_and_edges(numbers, MAX_LIST_SIZE)
    return {"_type": "histogram", "values": counts.tolist(), "bins": edges.tolist()}


def counts_and_edges(numbers: np.ndarray[Any, Any], bins: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Counts `numbers`, finite float64, by bin; uses one bin if float64 cannot divide their range into `bins`."""
    try:
        with np.errstate(all="ignore"):
            counts, edges = np.histogram(numbers, bins=bins)
        if (np.diff(edges) > 0).all() and counts.sum() == numbers.size:
            return counts, edges
    except (ValueError, IndexError):
        pass
    # So close together, or so far apart, that float64 has no such edges: numpy 2 raises, 1.26 miscounts or fails.
    return np.array([numbers.size]), np.array([numbers.min(), numbers.max()])


def nested_name(key: object) -> str:
    """The name of a nested key of any type: 1 becomes "1", (1, 2) becomes "1,2", as in W&B's client."""
    if isinstance(key, str):
        return key
    return ",".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _non_finite(value: float) -> dict[str, str]:
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {"_type": "float64", "value": name}


def exact_integer(value: int) -> Any:
    """`value` in a form that all readers preserve: {"_type": "integer", "value": "…"} beyond 64 bits, where most would
    round."""
    return value if -(2**63) <= value < 2**64 else {"_type": "integer", "value": _digits(value)}


def _digits(value: int) -> str:
    """The integer in decimal, as long as Python's limit allows; beyond it in hexadecimal, which `int(text, 0)` also
    reads."""
    try:
        return str(value)
    except ValueError:
        return hex(value)


def number_of(value: Any) -> Any:
    """Restores numbers that JSON cannot express, at any depth of `value`; everything else is unchanged."""
    if isinstance(value, dict):
        kind, text = value.get("_type"), value.get("value")
        if kind == "float64":
            return _NON_FINITE.get(str(text), value)
        if kind == "integer" and isinstance(text, str):
            try:
                return int(text, 0)
            except ValueError:
                return value
        found = {key: number_of(item) for key, item in value.items()}
        return value if all(found[key] is item for key, item in value.items()) else found
    if isinstance(value, list):
        items = [number_of(item) for item in value]
        return value if all(map(operator.is_, items, value)) else items
    return value


def _too_deep() -> DataError:
    return DataError("a value is nested too deeply", detail=f"more than {MAX_DEPTH} levels", hint="is it circular?")


def _is_small_float(value: Any) -> bool:
    """Returns whether the dtype is a bfloat16 or float8 of JAX or TensorFlow, which numpy does not count as floats."""
    return isinstance(value, np.generic) and value.dtype.kind == "V" and not isinstance(value, np.void)


def _is_array(value: Any) -> bool:
    """Returns whether the value is a numpy array or similar: a tensor of torch, TensorFlow or JAX."""
    return hasattr(value, "__array__") and hasattr(value, "shape") and not isinstance(value, np.generic)


def value_size(value: Any) -> int:
    """The number of elements of an array or tensor."""
    return math.prod(int(length) for length in value.shape)


def _without_graph(tensor: Any) -> Any:
    """A torch tensor detached from its graph and moved to the CPU, so that numpy accepts it.

    Raises:
        RuntimeError: the tensor has no data (the device "meta").
    """
    tensor = tensor.detach().cpu()
    if str(getattr(tensor, "layout", "torch.strided")) != "torch.strided":  # sparse, in any layout
        tensor = tensor.to_dense()
    if hasattr(tensor, "resolve_conj"):  # views that flip signs when they are read
        tensor = tensor.resolve_conj().resolve_neg()
    try:
        return np.asarray(tensor)
    except TypeError:  # numpy has no bfloat16
        return np.asarray(tensor.float())


def as_array(value: Any) -> np.ndarray[Any, Any]:
    """Converts an array, a tensor of any library or a sequence to a numpy array; not always a copy.

    Raises:
        DataError: the value cannot be converted.
    """
    if not isinstance(value, np.ndarray):
        try:
            # Files have `detach`, too, which would take the file from its user.
            is_tensor = hasattr(value, "detach") and hasattr(value, "cpu")
            value = np.asarray(_without_graph(value) if is_tensor else value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"a value of type {type(value).__name__} is not an array",
                detail=str(error)[:200],
                hint="convert it to a numpy array",
            ) from error
    if value.dtype.kind == "V" and value.dtype.type is not np.void:  # bfloat16 and float8, see _is_small_float
        value = value.astype(np.float32)
    array: np.ndarray[Any, Any] = value
    return array


def without_masked(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`array`; for a masked one, the unmasked values in one dimension."""
    if not isinstance(array, np.ma.MaskedArray):
        return array
    left: np.ndarray[Any, Any] = array.compressed()
    return left
