"""`run.summary`: the values of closed rows, and values that the user sets."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fixtures.stages import new_stage
from stepwell.errors import DataError, UsageError
from stepwell.notes.definitions import Definitions, checked_metric
from stepwell.notes.summary import Summary, SummaryState
from stepwell.stage.plans import MAX_PLANS
from stepwell.stage.stage import Stage

OWN = ("_step", "_timestamp", "_runtime")


class Made:
    """A summary with its own stage, and the notes that it has sent."""

    def __init__(self, definitions: Definitions | None = None) -> None:
        self.stage = new_stage()
        self.said: list[dict[str, Any]] = []
        self.definitions = definitions or Definitions()
        self.summary = Summary(SummaryState(lambda: self.stage, self.definitions, self.said.append, 0.0))

    def define(self, name: str, summary: str, goal: str | None = None) -> None:
        self.definitions.add(checked_metric(name, None, None, None, summary, goal, None), False, {})
        self.stage.follow(self.definitions.follows)

    @property
    def values(self) -> dict[str, Any]:
        return {key: value for key, value in self.summary.as_dict().items() if key not in OWN}


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.mark.parametrize("cuts", [False, True])
def test_summary_has_last_values_before_and_after_a_cut(made: Made, cuts: bool) -> None:
    for row in ({"a": 1.0, "b": 2}, {"a": 3.0}, {"c": {"d": 4.5}, "text": "x"}, {"text": None, "n": math.inf}):
        made.stage.log(row)
        if cuts:
            made.stage.cut()
    assert made.values == {"a": 3, "b": 2, "c.d": 4.5, "text": "x", "n": math.inf}
    assert made.summary["_step"] == 3
    assert abs(made.summary["_timestamp"] - made.summary["_runtime"]) == 0


def test_summary_excludes_the_open_row(made: Made) -> None:
    made.stage.log({"a": 1.0})
    made.stage.log({"a": 2.0}, commit=False)
    assert made.values == {"a": 1}
    made.stage.log({"b": 3.0})
    assert made.values == {"a": 2, "b": 3}
    made.stage.log({"a": 5.0}, step=7)
    assert made.summary["a"] == 2


def test_metric_in_several_key_sets_shows_the_highest_step(made: Made) -> None:
    made.stage.log({"a": 1.0, "b": 1.0})
    made.stage.log({"a": 2.0})
    made.stage.cut()
    made.stage.log({"a": 3.0, "b": 3.0})
    made.stage.cut()
    made.stage.log({"a": 4.0})
    made.stage.log({"a": "text"})
    assert made.values == {"a": "text", "b": 3}


def test_values_outlive_forgotten_plans(made: Made) -> None:
    for number in range(MAX_PLANS + 2):
        made.stage.log({f"k{number}": float(number)})
    made.stage.cut()
    made.stage.cut()
    made.stage.log({"k1": 9.0})
    assert (made.summary["k0"], made.summary["k1"], len(made.values)) == (0, 9, MAX_PLANS + 2)


def test_values_are_set_by_key_attribute_and_update(made: Made) -> None:
    made.summary["best"] = 1
    made.summary.other = np.float32(0.5)
    made.summary.update({"list": (1, 2), "nested": {"x": {"y": 1}}, "none": None})
    assert made.said == [
        {"set": {"best": 1}},
        {"set": {"other": 0.5}},
        {"set": {"list": [1, 2], "nested.x.y": 1}},
    ]
    assert made.values == {"best": 1, "other": 0.5, "list": [1, 2], "nested.x.y": 1}
    assert (made.summary.best, made.summary.nested.x.y, made.summary["nested"]["x"]["y"]) == (1, 1, 1)
    assert (made.summary.get("best"), made.summary.get("none"), made.summary.get("none", 7)) == (1, None, 7)
    assert ("best" in made.summary, "nested" in made.summary, "none" in made.summary) == (True, True, False)
    with pytest.raises(TypeError):
        made.summary.update(best=2)  # type: ignore[call-arg]  # this must be refused
    assert made.summary.keys() == list(made.summary) == ["best", "other", "list", "nested.x.y"]
    assert (len(made.summary), made.summary.values()[0], made.summary.items()[0]) == (4, 1, ("best", 1))


def test_setting_a_nested_value_keeps_siblings(made: Made) -> None:
    made.summary["a"] = {"b": {"c": 1, "d": 1}}
    made.summary["a"]["b"]["d"] = 2
    made.summary["a"].e = 3
    assert made.values == {"a.b.c": 1, "a.b.d": 2, "a.e": 3}
    made.summary["a"]["b"] = {"f": 4}
    made.summary["a"].update({"b": {"g": 5}})
    assert made.values == {"a.b.f": 4, "a.b.g": 5, "a.e": 3}
    assert made.said[3] == {"unset": ["a.b"], "set": {"a.b.f": 4}}


def test_set_value_stays_until_the_metric_is_logged_again(made: Made) -> None:
    made.stage.log({"a": 1.0, "b": 1.0})
    made.summary["a"] = 10
    made.stage.log({"b": 2.0})
    assert made.values == {"a": 10, "b": 2}
    made.stage.log({"a": 3.0})
    assert made.values == {"a": 3, "b": 2}


def test_deleted_key_returns_when_logged_again(made: Made) -> None:
    made.stage.log({"a": 1.0, "n": {"x": 1.0, "y": 1.0}, "nx": 1.0})
    made.summary["s"] = 1
    del made.summary["a"]
    del made.summary.n
    del made.summary["s"]
    assert made.values == {"nx": 1}
    assert made.said[1:] == [{"unset": ["a"]}, {"unset": ["n"]}, {"unset": ["s"]}]
    made.stage.log({"a": 2.0})
    assert made.values == {"nx": 1, "a": 2}


@pytest.mark.parametrize("late", [False, True])
def test_definitions_select_the_aggregate(made: Made, late: bool) -> None:
    def define() -> None:
        made.define("loss", "min,max,mean,first,last")
        made.define("acc", "best", "maximize")
        made.define("err", "best")
        made.define("copied", "copy")
        made.define("hid*", "none")
        made.define("text", "first,last,min")

    if not late:
        define()
    for number, value in enumerate([math.nan, 3.0, 1.0, 2.0]):
        made.stage.log({"loss": value, "acc": value, "err": value, "copied": value, "hidden": value})
        made.stage.log({"text": f"t{number}"})
        if late and number == 0:
            define()
        if number == 2:
            made.stage.cut()
    values = made.values
    assert math.isnan(values["loss"].pop("first"))
    assert values == {
        "loss": {"min": 1, "max": 3, "mean": 2, "last": 2},
        "acc": {"best": 3},
        "err": {"best": 1},
        "copied": 2,
        "text": {"first": "t0", "last": "t3"},
    }


def test_setting_a_value_ends_its_definition(made: Made) -> None:
    made.define("loss", "min")
    made.stage.log({"loss": 3.0})
    made.summary["loss"] = 7
    made.stage.log({"loss": 5.0})
    assert made.values == {"loss": 5}


def test_missing_key_is_key_or_attribute_error(made: Made) -> None:
    with pytest.raises(KeyError):
        made.summary["none"]
    with pytest.raises(KeyError):
        del made.summary["none"]
    with pytest.raises(AttributeError, match="the summary has no 'none'"):
        _ = made.summary.none
    with pytest.raises(AttributeError, match="the summary has no 'none'"):
        del made.summary.none


def circular_dict() -> dict[str, Any]:
    values: dict[str, Any] = {}
    values["x"] = values
    return values


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("", 1, "a key of the summary is empty"),
        (5, 1, "keys must be strings, not int"),
        ("a", object(), "summary 'a': a value of type object is not JSON serializable"),
        ("a", {"b": {"c": object()}}, "summary 'a.b.c': a value of type object"),
        ("a", circular_dict(), r"summary 'a\.x\.x.*' is nested too deeply"),
    ],
)
def test_invalid_value_is_refused_and_changes_nothing(made: Made, key: Any, value: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        made.summary[key] = value
    with pytest.raises(DataError, match=text):
        made.summary.update({"good": 1, key: value})
    assert (made.said, made.values) == ([], {})


def test_refused_note_changes_nothing() -> None:
    def finished(note: dict[str, Any]) -> None:
        raise UsageError("finished")

    stage = new_stage()
    summary = Summary(SummaryState(lambda: stage, Definitions(), finished, 0.0))
    with pytest.raises(UsageError):
        summary["a"] = 1
    assert len(summary) == 0


def test_nan_round_trip(made: Made) -> None:
    made.summary["a"] = math.nan
    assert made.said == [{"set": {"a": {"_type": "float64", "value": "NaN"}}}]
    assert math.isnan(made.summary["a"])


def test_large_array_becomes_statistics(made: Made) -> None:
    made.summary["a"] = np.arange(101)
    made.summary["small"] = np.arange(3)
    assert made.values == {
        "a": {
            "_type": "numpy.ndarray",
            "min": 0,
            "max": 100,
            "mean": 50,
            "var": 850,
            "10%": 10,
            "25%": 25,
            "75%": 75,
            "90%": 90,
            "size": 101,
        },
        "small": [0, 1, 2],
    }


def test_large_tensor_has_its_type(made: Made) -> None:
    class Tensor(np.ndarray[Any, Any]):
        """The methods of a torch tensor that are used."""

        __module__ = "torch"

        def detach(self) -> Tensor:
            return self

        cpu = float = detach

    made.summary["a"] = np.arange(101).view(Tensor)
    assert (made.values["a"]["_type"], made.values["a"]["mean"], made.values["a"]["size"]) == ("torch.Tensor", 50, 101)


def test_values_above_a_mebibyte_are_only_in_sql(made: Made) -> None:
    made.stage.log({"text": "x" * (1 << 20), "short": "x" * 1000})
    assert made.values == {"short": "x" * 1000}


def test_summary_does_not_delay_logging() -> None:
    """The summary must not keep numpy views of the rows when the next row is appended."""
    made = Made()
    made.define("*", "min")
    for number in range(50):
        made.stage.log({"a": float(number)})
        assert made.summary["a"] == {"min": 0}
    assert isinstance(made.stage, Stage)
