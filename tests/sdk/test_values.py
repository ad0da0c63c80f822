"""The stored form of values: tables of keys and nesting, and of types, row by row."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import json
import math
import os
import pathlib
import struct
import types
import uuid
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.stages import Frames, Json, logged, new_stage, rows
from stepwell.data_types import Histogram
from stepwell.errors import DataError, Error

NAN = {"_type": "float64", "value": "NaN"}
INF = {"_type": "float64", "value": "Infinity"}
MINUS_INF = {"_type": "float64", "value": "-Infinity"}


class Color(enum.Enum):
    RED = "red"
    SIZE = 3
    PAIR = (1, "x")


class Level(enum.IntEnum):
    HIGH = 7


class Name(str, enum.Enum):  # noqa: UP042 - the older way, which str() shows as Name.LOSS
    LOSS = "loss"


@dataclasses.dataclass
class Point:
    x: int
    y: Any


HISTOGRAM = {"_type": "histogram", "values": [1, 2], "bins": [0, 1, 2]}


class SmallFloat:
    """A bfloat16 array, which numpy does not support."""


class ArrayLike:
    """The interface of TensorFlow and JAX tensors: a shape, and a conversion to an array."""

    def __init__(self, values: Any) -> None:
        self._values = np.asarray(values)
        self.shape = self._values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return self._values


class Tensor:
    """The interface of torch tensors: they must be detached and moved to the CPU before the conversion to an array."""

    def __init__(self, values: Any, dtype: Any = None, detached: bool = False) -> None:
        self._values = np.asarray(values)
        self._detached = detached
        self.shape = self._values.shape
        self.dtype = self._values.dtype if dtype is None else dtype

    def detach(self) -> Tensor:
        return type(self)(self._values, self.dtype, detached=True)

    def float(self) -> Tensor:
        return Tensor(self._values.astype(np.float32), detached=self._detached)

    def cpu(self) -> Tensor:
        assert self._detached
        return self

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if not self._detached:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.dtype is SmallFloat:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self._values


class SparseTensor(Tensor):
    layout = "torch.sparse_coo"

    def to_dense(self) -> Tensor:
        return Tensor(self._values, detached=self._detached)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        raise TypeError("can't convert Sparse layout tensor to numpy")


def some_function() -> None: ...


POINTS = [
    pytest.param(0, 0.0, id="int"),
    pytest.param(-5, -5.0, id="negative int"),
    pytest.param(2**53, 2.0**53, id="largest exact int"),
    pytest.param(-(2**53), -(2.0**53), id="smallest exact int"),
    pytest.param(0.1, 0.1, id="float"),
    pytest.param(5e-324, 5e-324, id="denormal"),
    pytest.param(-0.0, -0.0, id="-0.0"),
    pytest.param(math.nan, math.nan, id="NaN"),
    pytest.param(math.inf, math.inf, id="Inf"),
    pytest.param(-math.inf, -math.inf, id="-Inf"),
    *(pytest.param(kind(100), 100.0, id=kind.__name__) for kind in (np.int8, np.int16, np.int32, np.int64)),
    *(pytest.param(kind(100), 100.0, id=kind.__name__) for kind in (np.uint8, np.uint16, np.uint32, np.uint64)),
    *(pytest.param(kind(0.5), 0.5, id=kind.__name__) for kind in (np.float16, np.float32, np.float64, np.longdouble)),
    pytest.param(np.float32(0.1), float(np.float32(0.1)), id="float32 keeps its value"),
    pytest.param(np.float32(math.nan), math.nan, id="NaN of float32"),
    pytest.param(np.float16(math.inf), math.inf, id="Inf of float16"),
    pytest.param(np.float64(-0.0), -0.0, id="-0.0 of float64"),
    pytest.param(np.array(0.5), 0.5, id="0-d array"),
    pytest.param(np.array(7, np.uint8), 7.0, id="0-d array of uint8"),
    pytest.param(np.array([0.5]), 0.5, id="array of one"),
    pytest.param(np.array([[[3]]]), 3.0, id="array 1×1×1"),
    pytest.param(np.array([math.nan], np.float32), math.nan, id="array of one NaN"),
    pytest.param(Tensor(0.25), 0.25, id="tensor of no dimension"),
    pytest.param(Tensor([0.25]), 0.25, id="tensor of one"),
    pytest.param(Level.HIGH, 7.0, id="IntEnum"),
    pytest.param(Color.SIZE, 3.0, id="Enum of a number"),
]


@pytest.mark.parametrize(("value", "expected"), POINTS)
@pytest.mark.parametrize("times", [1, 3], ids=["first time", "again"])
def test_numbers_are_bit_exact_points(value: Any, expected: float, times: int) -> None:
    stage = new_stage()
    for _ in range(times):
        stage.log({"v": value})
    stored = Frames(stage).collect()[times - 1]
    assert stored.objects == {}
    assert struct.pack("<d", expected) == struct.pack("<d", stored.points["v"])


OBJECTS = [
    pytest.param(2**53 + 1, 2**53 + 1, id="int beyond 2^53"),
    pytest.param(2**63 - 1, 2**63 - 1, id="largest int64"),
    pytest.param(-(2**63), -(2**63), id="smallest int64"),
    pytest.param(2**63, 2**63, id="int beyond int64"),
    pytest.param(2**64, 2**64, id="int beyond uint64"),
    pytest.param(-(10**300), -(10**300), id="int of 300 digits"),
    pytest.param(np.int64(2**63 - 1), 2**63 - 1, id="np.int64 max"),
    pytest.param(np.uint64(2**64 - 1), 2**64 - 1, id="np.uint64 max"),
    pytest.param(np.array([2**64 - 1], np.uint64), 2**64 - 1, id="array of one large int"),
    pytest.param(True, True, id="True"),
    pytest.param(np.bool_(False), False, id="np.bool_"),
    pytest.param(np.array(True), True, id="0-d bool array"),
    pytest.param(None, None, id="None"),
    pytest.param("text", "text", id="str"),
    pytest.param("", "", id="empty str"),
    pytest.param('größe \U0001f600 \x1f"\\', 'größe \U0001f600 \x1f"\\', id="str of all kinds"),
    pytest.param("a\ud800b", "a\ufffdb", id="lone surrogate"),
    pytest.param("a\0b", "a\ufffdb", id="NUL"),
    pytest.param(np.str_("x"), "x", id="np.str_"),
    pytest.param("größe".encode(), "größe", id="bytes"),
    pytest.param(bytearray(b"ab"), "ab", id="bytearray"),
    pytest.param(np.bytes_(b"ab"), "ab", id="np.bytes_"),
    pytest.param(np.datetime64("2024-02-29T12:00:00"), "2024-02-29T12:00:00", id="np.datetime64"),
    pytest.param(np.datetime64("NaT"), "NaT", id="np.datetime64 NaT"),
    pytest.param(np.timedelta64(1, "s"), "PT1S", id="np.timedelta64 of a second"),
    pytest.param(np.timedelta64(1, "D"), "P1D", id="np.timedelta64 of a day"),
    pytest.param(np.timedelta64(90, "s"), "PT1M30S", id="np.timedelta64"),
    pytest.param(np.timedelta64(-1, "ns"), "-PT0.000000001S", id="np.timedelta64 of a nanosecond"),
    pytest.param(np.timedelta64(3, "M"), "P3M", id="np.timedelta64 of months"),
    pytest.param(np.timedelta64("NaT"), "NaT", id="np.timedelta64 NaT"),
    pytest.param(np.array([1, 2], "m8[h]"), ["PT1H", "PT2H"], id="array of durations"),
    pytest.param(np.complex64(1 + 2j), "(1+2j)", id="np.complex64"),
    pytest.param(np.array([1, 2.5]), [1.0, 2.5], id="array of 2"),
    pytest.param(np.arange(32), list(range(32)), id="array of 32"),
    pytest.param(np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], id="array 2×2"),
    pytest.param(np.array([1.0, math.nan, math.inf, -math.inf]), [1.0, NAN, INF, MINUS_INF], id="array with NaN"),
    pytest.param(np.array([True, False]), [True, False], id="array of bool"),
    pytest.param(np.array([]), [], id="array of none"),
    pytest.param(np.array(["a", None], object), ["a", None], id="array of objects"),
    pytest.param(np.array(["2024-01-01", "NaT"], "M8[D]"), ["2024-01-01", "NaT"], id="array of dates"),
    pytest.param(np.array([1, 2], "M8[ns]"), [f"1970-01-01T00:00:00.00000000{n}" for n in (1, 2)], id="array of ns"),
    pytest.param(Tensor([1.0, 2.0]), [1.0, 2.0], id="tensor of 2"),
    pytest.param([np.array(1.5), np.array([2]), np.float32(0.5)], [1.5, 2, 0.5], id="list of arrays of one"),
    pytest.param([], [], id="empty list"),
    pytest.param([1, "a", None, True, [2.5, []]], [1, "a", None, True, [2.5, []]], id="list of all kinds"),
    pytest.param([math.nan, [math.inf, -math.inf]], [NAN, [INF, MINUS_INF]], id="NaN in a list"),
    pytest.param([-0.0, 1.0], [-0.0, 1.0], id="-0.0 in a list"),
    pytest.param([2**53 + 1, 2**64, -(2**70)], [2**53 + 1, 2**64, -(2**70)], id="long ints in a list"),
    pytest.param(list(range(1000)), list(range(1000)), id="long list"),
    pytest.param([{"a": 1, 2: {"b": None}}], [{"a": 1, "2": {"b": None}}], id="dict in a list"),
    pytest.param((1, "x"), [1, "x"], id="tuple"),
    pytest.param({5}, [5], id="set"),
    pytest.param(frozenset(["x"]), ["x"], id="frozenset"),
    pytest.param(collections.deque([1, 2]), [1, 2], id="deque"),
    pytest.param(map(str, [1]), ["1"], id="map"),
    pytest.param(({"k": 1}.keys()), ["k"], id="keys of a dict"),
    pytest.param(datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC), "2024-02-29T12:00:00+00:00", id="datetime"),
    pytest.param(datetime.date(2024, 2, 29), "2024-02-29", id="date"),
    pytest.param(datetime.time(12, 30), "12:30:00", id="time"),
    pytest.param(datetime.timedelta(seconds=90), "PT1M30S", id="timedelta"),
    pytest.param(Color.RED, "red", id="Enum"),
    pytest.param(Color.PAIR, [1, "x"], id="Enum of a tuple"),
    pytest.param(Name.LOSS, "loss", id="Enum of a str"),
    pytest.param([Level.HIGH, Color.RED], [7, "red"], id="Enums in a list"),
    pytest.param([Point(1, [Point(2, None)])], [{"x": 1, "y": [{"x": 2, "y": None}]}], id="dataclass in a list"),
    pytest.param(types.SimpleNamespace, "types.SimpleNamespace", id="class of another module"),
    pytest.param(Histogram(np_histogram=([1, 2], [0, 1, 2])), HISTOGRAM, id="Histogram"),
    pytest.param([Histogram(np_histogram=([1, 2], [0, 1, 2]))] * 2, [HISTOGRAM] * 2, id="list of Histograms"),
    pytest.param(Tensor([1.5, 2], SmallFloat), [1.5, 2.0], id="bfloat16 tensor of torch"),
    pytest.param(SparseTensor([1, 0]), [1, 0], id="sparse tensor of torch"),
    pytest.param(ArrayLike([1.5, 2.5]), [1.5, 2.5], id="tensor of TensorFlow or JAX"),
    pytest.param(decimal.Decimal("1.10"), "1.10", id="Decimal"),
    pytest.param(pathlib.PurePosixPath("/a/b"), "/a/b", id="Path"),
    pytest.param(uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001", id="UUID"),
    pytest.param(1 + 2j, "(1+2j)", id="complex"),
    pytest.param(os.path.join, "posixpath.join", id="function"),
    pytest.param(dict, "builtins.dict", id="class"),
    pytest.param(some_function, f"{__name__}.some_function", id="own function"),
]


@pytest.mark.parametrize(("value", "expected"), OBJECTS)
def test_other_values_are_stored_as_json(value: Any, expected: Any) -> None:
    stage = new_stage()
    stage.log({"v": value})
    row = Frames(stage).collect()[0]
    assert row.points == {}
    stored = json.loads(row.objects["v"], parse_constant=pytest.fail)
    assert (expected, repr(expected)) == (stored, repr(stored))  # repr: 1 is not True, 0.0 is not -0.0


def test_dataclass_is_a_nested_dict() -> None:
    assert {"v.x": 1.0, "v.y.x": 2.0, "v.y.y": Json(None)} == logged(Point(1, Point(2, None)))


def test_generator_is_a_list() -> None:
    assert {"v": Json([0, 1, 4])} == logged(number**2 for number in range(3))


@pytest.mark.parametrize(
    "array",
    [
        np.linspace(0, 1, 33),
        np.arange(64).reshape(8, 8),
        np.arange(40, dtype=np.uint8),
        np.arange(40) % 3 == 0,
        Tensor(np.arange(40, dtype=np.float32)),
    ],
    ids=["33 floats", "8×8 ints", "uint8", "bool", "tensor"],
)
def test_large_array_becomes_a_histogram(array: Any) -> None:
    numbers = np.asarray(array._values if isinstance(array, Tensor) else array).reshape(-1).astype(float)
    counts, edges = np.histogram(numbers, 32)
    histogram = {"_type": "histogram", "values": counts.tolist(), "bins": edges.tolist()}
    assert {"v": Json(histogram)} == logged(array)
    assert {"v": Json([histogram])} == logged([array])
    assert {"v.w": Json(histogram)} == logged({"w": array})


@pytest.mark.parametrize(
    ("values", "bins"),
    [
        ([1e300] * 40, [1e300, 1e300]),
        ([-1.7e308, 1.7e308] * 20, [-1.7e308, 1.7e308]),
        ([0.0, 5e-324] * 20, [0.0, 5e-324]),
        ([2**60] * 40, [2.0**60, 2.0**60]),
    ],
    ids=["all the same and large", "as far apart as can be", "as close as can be", "large ints"],
)
def test_extreme_numbers_fall_into_one_bin(values: list[float], bins: list[float]) -> None:
    assert {"v": Json({"_type": "histogram", "values": [40], "bins": bins})} == logged(np.array(values))


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("not even that")


class Loader:
    def __iter__(self) -> Iterator[int]:
        pytest.fail("read")


class Remote(ArrayLike):
    def __init__(self) -> None:
        super().__init__([1, 2])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        raise RuntimeError("no copy to this host")


def circular_list() -> Any:
    items: list[Any] = []
    items.append([items, items])
    return items


def circular_dict() -> Any:
    values: dict[str, Any] = {}
    values["self"] = values
    return values


def circular_dataclass() -> Any:
    point = Point(0, None)
    point.y = point
    return point


HINT = "\n  Hint: log numbers, strings, lists, dicts or arrays; or log str(value)"
TOO_DEEP = "a value is nested too deeply (more than 100 levels)\n  Hint: is it circular?"
ONLY_NUMBERS = "\n  Hint: only arrays of numbers become histograms; log at most 32 values, or array.tolist()"
NOT_FINITE = "an array with NaN or infinities cannot become a histogram (2 of 40 values are not finite)"
REFUSED: list[Any] = [
    pytest.param(
        lambda: Fraction(1, 2), f"a value of type Fraction is not JSON serializable (Fraction(1, 2)){HINT}", id="object"
    ),
    pytest.param(
        lambda: [Fraction(1, 2)],
        f"a value of type Fraction is not JSON serializable (Fraction(1, 2)){HINT}",
        id="object in a list",
    ),
    pytest.param(lambda: Unprintable(), "a value of type Unprintable is not JSON serializable (<Unp", id="no repr"),
    pytest.param(
        lambda: range(3), "a value of type range is not JSON serializable (range(0, 3))\n  Hint: log list(r", id="range"
    ),
    pytest.param(lambda: io.StringIO("text"), "a value of type StringIO is not JSON serializable", id="open file"),
    pytest.param(Loader, "a value of type Loader is not JSON serializable", id="data loader"),
    pytest.param(Remote, "a value of type Remote is not an array (no copy to this host)", id="tensor out of reach"),
    pytest.param(lambda: functools.partial(print), "a value of type partial is not JSON serial", id="partial"),
    pytest.param(circular_list, TOO_DEEP, id="circular list"),
    pytest.param(circular_dict, TOO_DEEP, id="circular dict"),
    pytest.param(circular_dataclass, TOO_DEEP, id="circular dataclass"),
    pytest.param(lambda: b"\xff", "bytes that are not UTF-8 cannot be logged ('utf-8' codec can't", id="bytes"),
    pytest.param(
        lambda: np.array([math.nan, math.inf] + [1.0] * 38),
        f"{NOT_FINITE}\n  Hint: log array.tolist() to keep each value",
        id="large array with NaN",
    ),
    pytest.param(
        lambda: np.array(["x"] * 40), f"an array of 40 values of type <U1 cannot be logged{ONLY_NUMBERS}", id="array<U1"
    ),
    pytest.param(
        lambda: np.array([None] * 40, object), "an array of 40 values of type object cannot be", id="array of objects"
    ),
    pytest.param(lambda: 10**5000, "an integer is too large (16610 bits)\n  Hint: at most 1023 bits", id="huge int"),
    pytest.param(lambda: [10**400], "an integer is too large (1329 bits)", id="huge int in a list"),
]


@pytest.mark.parametrize(("make", "text"), REFUSED)
@pytest.mark.parametrize("kind", [TypeError, ValueError, DataError, Error])
def test_invalid_value_error_names_the_key(make: Callable[[], Any], text: str, kind: type[Exception]) -> None:
    stage = new_stage()
    with pytest.raises(kind) as raised:
        stage.log({"good": 1, "my key": make()})
    assert str(raised.value).startswith(f"'my key': {text}")
    assert (stage.step, rows(stage)) == (0, {})


@given(st.floats())
def test_floats_keep_their_bits(value: float) -> None:
    assert struct.pack("<d", value) == struct.pack("<d", logged(value)["v"])


@given(st.integers(-(2**200), 2**200) | st.integers(-(2**53) - 3, -(2**53) + 3) | st.integers(2**53 - 3, 2**53 + 3))
def test_integers_are_exact(value: int) -> None:
    stage = new_stage()
    stage.log({"v": value})
    row = Frames(stage).collect()[0]
    assert value == (int(row.points["v"]) if row.points else json.loads(row.objects["v"]))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.lists(JSON_VALUES))
def test_lists_become_json_for_postgres(value: list[Any]) -> None:
    stage = new_stage()
    stage.log({"v": value})
    body = Frames(stage).collect()[0].objects["v"].decode()
    assert "\\u0000" not in body.replace("\\\\", "")
    assert len(value) == len(json.loads(body, parse_constant=pytest.fail))


def test_masked_values_are_omitted() -> None:
    many = np.ma.masked_greater(np.arange(40.0), 9)
    histogram = logged(many)["v"].value
    assert (sum(histogram["values"]), histogram["bins"][0], histogram["bins"][-1]) == (10, 0.0, 9.0)
    assert logged(np.ma.array([1, 2, 3], mask=[0, 1, 0])) == {"v": Json([1, None, 3])}
    assert logged(np.ma.masked) == logged(np.ma.array([1.5], mask=[1])) == {"v": Json(None)}
    assert logged(np.ma.array([1.5], mask=[0])) == {"v": 1.5}
