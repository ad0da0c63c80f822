"""`run.config`: a dict with attributes whose values do not change by accident."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stepwell import Config, ConfigError, DataError, Error


@pytest.fixture
def changes() -> list[None]:
    return []


@pytest.fixture
def config(changes: list[None]) -> Config:
    return Config({"lr": 0.1, "layers": [1, 2]}, lambda: changes.append(None))


def test_values_are_there_by_key_and_by_attribute(config: Config) -> None:
    assert (
        config["lr"],
        config.lr,
        config.get("layers"),
        config.get("none"),
        config.get("none", 7),
    ) == (0.1, 0.1, [1, 2], None, 7)
    assert (list(config), len(config), "lr" in config, "none" in config) == (["lr", "layers"], 2, True, False)
    assert {"lr": 0.1, "layers": [1, 2]} == config.as_dict() == dict(config.items())
    assert repr(config) == "{'lr': 0.1, 'layers': [1, 2]}"


def test_every_change_is_told_once_and_the_start_is_none(config: Config, changes: list[None]) -> None:
    assert changes == []
    config["a"] = 1
    config.b = 2
    config.update({"c": 3, "d": 4})
    config.setdefaults({"d": 9, "e": 5})
    assert {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}.items() <= config.as_dict().items()
    assert len(changes) == 4


def test_a_key_keeps_its_value_unless_a_change_is_allowed(config: Config, changes: list[None]) -> None:
    with pytest.raises(ConfigError) as raised:
        config.update({"new": 1, "lr": 0.2})
    assert str(raised.value) == (
        "config 'lr' would change from 0.1 to 0.2\n"
        "  Hint: config.update({'lr': …}, allow_val_change=True), if you mean it"
    )
    assert isinstance(raised.value, Error)
    with pytest.raises(ConfigError):
        config.lr = 0.3
    assert (config.as_dict(), changes) == ({"lr": 0.1, "layers": [1, 2]}, [])

    config.update({"lr": 0.2}, allow_val_change=True)
    config["lr"] = 0.2
    assert config.lr == 0.2


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ((1, 2), [1, 2]),
        ({"a": {"b": (1,)}}, {"a": {"b": [1]}}),
        (print, "builtins.print"),
        (None, None),
        (float("nan"), {"_type": "float64", "value": "NaN"}),
        (2**63, 2**63),
    ],
)
def test_values_are_stored_as_json(config: Config, value: Any, stored: Any) -> None:
    config["v"] = value
    assert stored == config["v"]


def test_what_is_no_json_is_refused_by_key(config: Config, changes: list[None]) -> None:
    with pytest.raises(DataError, match="config 'bad': a value of type object is not JSON serializable"):
        config.update({"good": 1, "bad": object()})
    with pytest.raises(DataError, match=r"config takes a dict, not list \(\[1\]\)"):
        config.update([1])  # type: ignore[arg-type]
    assert ("good" in config, changes) == (False, [])


def test_what_is_missing_is_a_key_error_or_an_attribute_error(config: Config) -> None:
    with pytest.raises(KeyError):
        config["none"]
    with pytest.raises(AttributeError, match="config has no 'none'"):
        _ = config.none


def test_the_copy_is_a_copy(config: Config) -> None:
    copy = config.as_dict()
    copy["lr"] = 9
    copy["layers"].append(3)
    assert config.as_dict() == {"lr": 0.1, "layers": [1, 2]}


def test_keys_that_are_no_strings_become_strings(config: Config) -> None:
    config.update({1: "x"})  # type: ignore[dict-item]
    assert config["1"] == "x"
