"""Media are extracted from the arguments of `log()`, and plain values stay."""

from __future__ import annotations

from collections import ChainMap
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

from fixtures.media import Stored
from stepwell import plot
from stepwell.data_types import Image, MediaList, Table, take_media
from stepwell.errors import DataError

IMAGE = Image(np.zeros((2, 2)))
BOXED = Image(np.zeros((2, 2)), boxes={"b": {"box_data": [], "class_labels": {0: "cat"}}})
TABLE = Table(columns=["x", "y"], data=[[1, 2]])


def names(found: list[Any]) -> list[tuple[str, str, str, type]]:
    return [(one.key, one.path, one.name, type(one.media)) for one in found]


@pytest.mark.parametrize("data", [{}, {"a": 1, "b": {"c": [1, 2], "d": {}}}, {"a": np.zeros(100)}, ChainMap({"a": 1})])
def test_plain_values_keep_their_identity(data: Any) -> None:
    rest, found = take_media(data)
    assert rest is data
    assert found == []


def test_media_paths_and_names() -> None:
    inner = {"img": IMAGE, "loss": 1.0}
    data = {"step": 1, "val/img": IMAGE, "val": inner, "only": {"deep": {"imgs": [IMAGE, IMAGE]}}}
    before = {**data, "val": dict(inner)}
    rest, found = take_media(data)
    assert rest == {"step": 1, "val": {"loss": 1.0}}
    assert names(found) == [
        ("val/img", "val/img", "val/img", Image),
        ("val.img", "val.img", "img", Image),
        ("only.deep.imgs", "only.deep.imgs", "imgs", MediaList),
    ]
    assert data == before  # the caller's dicts are unchanged


def test_chart_uses_the_key_of_its_table(stored: Stored) -> None:
    rest, found = take_media(
        {"val": {"curve": plot.line(TABLE, "x", "y")}, "k": plot.line(TABLE, "x", "y", split_table=True)}
    )
    assert rest == {}
    assert [one[:3] for one in names(found)] == [
        ("val.curve", "val.curve_table", "curve_table"),
        ("k", "Custom Chart Tables/k_table", "Custom Chart Tables/k_table"),
    ]
    assert set(found[0].config["visualize"]) == {"val.curve"}
    one = found[0].prepared()
    assert dict(one.media.encode(one.name, 3, stored.sink))["path"].startswith("media/table/curve_table_3_")


def test_nested_keys_become_texts() -> None:
    _, found = take_media({"a": {1: IMAGE, (1, 2): IMAGE}})
    assert [one.path for one in found] == ["a.1", "a.1,2"]


def test_only_top_level_empty_keys_are_dropped() -> None:
    rest, found = take_media({"": IMAGE, "a": {"": IMAGE}})
    assert rest == {}
    assert [one.path for one in found] == ["a."]


@pytest.mark.parametrize("kind", [dict, MappingProxyType, ChainMap])
def test_any_mapping_is_accepted(kind: Any) -> None:
    rest, found = take_media(kind({"a": IMAGE, "b": 1}))
    assert (dict(rest), len(found)) == ({"b": 1}, 1)


def test_config_entries_are_complete_after_prepare() -> None:
    table = Table(columns=["x"], data=[[BOXED]])
    _, found = take_media(
        {"a": {"img": BOXED}, "t": table, "chart": plot.histogram(table, "x"), "imgs": [IMAGE, BOXED]}
    )
    entries = [one.prepared().config for one in found]
    keys = [key for entry in entries for key in entry["bounding_box/class_labels"]]
    assert keys == [f"{key}_wandb_delimeter_b" for key in ("a.img", "t", "chart_table", "imgs")]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"a": [IMAGE, 1]}, "media and plain values"),
        ({5: IMAGE}, "keys must be strings"),
        ({"a" * 40_000: IMAGE}, "a key is too long"),
    ],
)
def test_invalid_data_gives_the_reason(data: Any, text: str) -> None:
    with pytest.raises(DataError, match=text):
        take_media(data)


def test_recursive_dict_is_left_to_value_conversion() -> None:
    data: dict[str, Any] = {}
    data["self"] = data
    assert take_media(data) == (data, [])
