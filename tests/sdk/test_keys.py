"""Keys, nesting and limits of a call, and the texts of their errors."""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import pytest

from fixtures.stages import Json, new_stage, rows
from stepwell import wire
from stepwell.errors import DataError, Error
from stepwell.stage import framer as _framer


class Metric(str, enum.Enum):  # noqa: UP042 - the older way, which str() shows as Metric.LOSS
    LOSS = "loss"


def stored(*calls: dict[str, Any]) -> dict[str, Any]:
    """The values that the calls store in one step."""
    stage = new_stage()
    for data in calls:
        stage.log(data, step=0)
    stage.close()
    return rows(stage).get(0, {})


@pytest.mark.parametrize(
    "key", ["a b", "train/loss", "a.b", "größe", "\U0001f600", " ", "__proto__", "k" * 5000, "k" * 32_767, "\x01"]
)
def test_any_text_is_a_key(key: str) -> None:
    assert {key: 1.0} == stored({key: 1})


def test_empty_key_is_dropped() -> None:
    assert stored({"": 5, "a": 1}) == {"a": 1.0}


def test_surrogates_and_nul_in_keys_are_replaced() -> None:
    assert stored({"a\0": 1, "n": {"\0b": 2}}) == {"a\ufffd": 1.0, "n.\ufffdb": 2.0}
    first, second = "a\ud800", "a\udfff"
    assert stored({first: 1, second: 2, "?": 3, "n": {"\ud800": 4}}) == {"a\ufffd": 2.0, "?": 3.0, "n.\ufffd": 4.0}


def test_string_subclass_keys_are_strings() -> None:
    data = {Metric.LOSS: 1, "n": {Metric.LOSS: 2}, "l": [{Metric.LOSS: 3}], np.str_("np"): 4}
    expected = {"loss": 1.0, "n.loss": 2.0, "l": Json([{"loss": 3}]), "np": 4.0}
    stage = new_stage()
    for _ in range(3):
        stage.log(data)
    assert {0: expected, 1: expected, 2: expected} == rows(stage)


def test_equal_keys_share_a_metric() -> None:
    stage = new_stage()
    stage.log({"loss": 1})
    stage.log({Metric.LOSS: 2})
    assert rows(stage) == {0: {"loss": 1.0}, 1: {"loss": 2.0}}


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        pytest.param([{"a": {"b": 1, "c": {"d": 2}}}], {"a.b": 1.0, "a.c.d": 2.0}, id="dots"),
        pytest.param([{"a/b": 1, "a": {"b": 2}}], {"a/b": 1.0, "a.b": 2.0}, id="a slash is no structure"),
        pytest.param([{"a.b": 1, "a": {"b": 2}}], {"a.b": 2.0}, id="a dot in a key is the dot of a path"),
        pytest.param([{"a": {"c": 1}}, {"a": {"d": 2}}], {"a.c": 1.0, "a.d": 2.0}, id="deep merge"),
        pytest.param(
            [{"a": {"b": {"x": 1, "y": 2}}}, {"a": {"b": {"y": 3}, "c": 4}}],
            {"a.b.x": 1.0, "a.b.y": 3.0, "a.c": 4.0},
            id="deeper merge",
        ),
        pytest.param([{"a": {"c": 1, "d": 2}}, {"a": 3}], {"a": 3.0}, id="a scalar replaces a subtree"),
        pytest.param([{"a": 3}, {"a": {"c": 1}}], {"a.c": 1.0}, id="a dict replaces a scalar"),
        pytest.param([{"a": "x"}, {"a": {"c": 1}}], {"a.c": 1.0}, id="a dict replaces a string"),
        pytest.param([{"a": [1]}, {"a": [2]}], {"a": Json([2])}, id="lists do not merge"),
        pytest.param([{"a": {}}], {}, id="an empty dict disappears"),
        pytest.param([{"a": {"b": {}}, "c": 1}], {"c": 1.0}, id="an empty dict in a dict disappears"),
        pytest.param([{"a": 1}, {"a": {}}], {"a": 1.0}, id="an empty dict replaces nothing"),
        pytest.param([{"a": {"s": "x", "n": None}}], {"a.s": Json("x"), "a.n": Json(None)}, id="what is no number"),
        pytest.param(
            [{"a": {1: 1, (1, 2): 2, np.int64(3): 3, None: 4, 1.5: 5}}],
            {"a.1": 1.0, "a.1,2": 2.0, "a.3": 3.0, "a.None": 4.0, "a.1.5": 5.0},
            id="keys that are no strings",
        ),
    ],
)
def test_nested_dicts_become_paths(calls: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    assert expected == stored(*calls)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param(5, "log() takes a dict, not int (5)\n  Hint: log({\"loss\": 0.5})", id="int"),
        pytest.param([("a", 1)], "log() takes a dict, not list ([('a', 1)])", id="list"),
        pytest.param(None, "log() takes a dict, not NoneType (None)", id="None"),
        pytest.param("x" * 10**6, "log() takes a dict, not str ('xxx", id="str"),
        pytest.param({1: 2}, "keys must be strings, not int (1)\n  Hint: log({\"loss\": 0.5})", id="int key"),
        pytest.param({b"a": 2}, "keys must be strings, not bytes (b'a')", id="bytes key"),
        pytest.param({None: 2}, "keys must be strings, not NoneType (None)", id="None key"),
        pytest.param({("a", 1): 2}, "keys must be strings, not tuple (('a', 1))", id="tuple key"),
        pytest.param({"k" * 32_768: 2}, f"a key is too long ({'k' * 60!r})\n  Hint: at most 32767", id="long key"),
        pytest.param({"é" * 16_384: 2}, f"a key is too long ({'é' * 60!r})\n  Hint: at most 32767", id="long é"),
        pytest.param({"a" * 20_000: {"b" * 20_000: 1}}, f"a key is too long ({'a' * 60!r}, 40001 bytes with the "
                     "keys above it)\n  Hint: at most 32767 bytes", id="long path"),
        pytest.param({"a" * 20_000: {"b" * 20_000: "x"}}, f"a key is too long ({'a' * 60!r}, 40001 bytes with",
                     id="long path of an object"),
        pytest.param({"blob": "x" * 10_383_360}, "a step is too large (10383366 bytes; the limit is 10383360)\n"
                     "  Hint: log large things as files, or fewer at a time", id="huge row"),
        pytest.param({"blob": "ä" * 5_200_000}, "a step is too large (10400006 bytes; the limit is", id="huge UTF-8"),
        pytest.param({"é" * 16_000 + str(number): 1 for number in range(400)}, "a step is too large (12804290 bytes",
                     id="huge keys"),
        pytest.param({f"m{number}": number for number in range(100_001)}, "a step has too many metrics (100001; the "
                     "limit is 100000)\n  Hint: log an array (it becomes a histogram), or spread the metrics over "
                     "several steps",
                     id="too many metrics"),
        pytest.param({"n": {f"m{number}": number for number in range(100_001)}}, "a step has too many metrics (100001;",
                     id="too many nested metrics"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", [{}, {"step": 3}, {"commit": False}])
def test_invalid_data_is_refused_and_changes_nothing(data: Any, text: str, how: dict[str, Any]) -> None:
    stage = new_stage()
    stage.log({"a": 1}, commit=False)
    with pytest.raises(DataError) as raised:
        stage.log(data, **how)
    assert str(raised.value).startswith(text)
    assert len(str(raised.value)) < 250
    assert tuple(isinstance(raised.value, kind) for kind in (TypeError, ValueError, Error)) == (True, True, True)
    stage.log({"b": 2})
    assert rows(stage) == {0: {"a": 1.0, "b": 2.0}}


def test_step_too_large_to_merge_keeps_its_values() -> None:
    stage = new_stage()
    stage.log({"a": "x" * 6_000_000}, step=0)
    with pytest.raises(DataError, match="a step is too large"):
        stage.log({"b": "x" * 6_000_000}, step=0)
    stage.log({"c": 1}, step=0, commit=True)
    assert {"a", "c"} == set(rows(stage)[0])


def test_largest_rows_fit_a_frame() -> None:
    stage = new_stage()
    stage.log({"blob": "x" * (10_383_360 - 4 - 2)})
    stage.log({f"{number:06}": number for number in range(100_000)})
    stage.log({f"{number:06}": "x" * 90 for number in range(100_000)})
    cut = stage.cut()
    assert cut is not None
    frames = list(_framer.frames(cut, bytes(16), 0, 1 << 20))
    assert [wire.peek(frame)[7:5:-1] for frame in frames] == [(0, 1), (100_000, 0), (0, 100_000)]
