"""`run.config`: a dict with attribute access, whose values do not change by accident."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepwell
from stepwell import Config, ConfigError, DataError, Error, Image, Table, UsageError, plot, testing
from stepwell.errors import SettingError
from stepwell.notes.config_sources import starting_config


@pytest.fixture
def changes() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def config(changes: list[dict[str, Any]]) -> Config:
    return Config({"lr": 0.1, "layers": [1, 2]}, changes.append)


def test_values_by_key_and_attribute(config: Config) -> None:
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


def test_each_change_is_sent_once(config: Config, changes: list[dict[str, Any]]) -> None:
    assert changes == []
    config["a"] = 1
    config.b = 2
    config.update({"c": 3, "d": 4})
    config.setdefaults({"d": 9, "e": 5})
    assert {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}.items() <= config.as_dict().items()
    assert changes == [{"a": 1}, {"b": 2}, {"c": 3, "d": 4}, {"e": 5}]
    config.update({"a": 1, "lr": 0.1})  # no change
    config.restore({"lr": 9, "old": 1})
    assert (len(changes), config.lr, config.old) == (4, 0.1, 1)


def test_key_changes_must_be_allowed(config: Config, changes: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError) as raised:
        config.update({"new": 1, "lr": 0.2})
    assert str(raised.value) == (
        "config 'lr' would change from 0.1 to 0.2\n"
        "  Hint: use config.update({'lr': …}, allow_val_change=True) if the change is intended"
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
        (float("inf"), float("inf")),
        (object, "builtins.object"),
        ({"a": [Path("x"), {1: "y"}]}, {"a": ["x", {"1": "y"}]}),
        (2**63, 2**63),
        (np.arange(33), {"_type": "histogram", "values": [*[1] * 31, 2], "bins": pytest.approx(np.arange(33.0))}),
    ],
)
def test_values_are_stored_as_json(config: Config, value: Any, stored: Any) -> None:
    config["v"] = value
    assert stored == config["v"]


class Strange:
    def __str__(self) -> str:
        return "strange\0\ud800"


def test_other_objects_become_texts(config: Config, changes: list[dict[str, Any]]) -> None:
    config.update({"good": 1, "bad": Strange(), "many": [Strange(), {"deep": Strange()}]})
    text = "strange\ufffd\ufffd"
    assert changes == [{"good": 1, "bad": text, "many": [text, {"deep": text}]}]


@pytest.mark.parametrize("wrap", [lambda image: image, lambda image: [image], lambda image: {"deep": image}])
def test_media_are_refused_in_config(config: Config, changes: list[dict[str, Any]], wrap: Any) -> None:
    with pytest.raises(
        TypeError, match=r"config 'picture': Image objects cannot be mixed (.|\n)*a config cannot hold media"
    ):
        config.update({"lr": 0.1, "picture": wrap(Image(np.zeros((2, 2, 3), np.uint8)))})
    assert (config.as_dict(), changes) == ({"lr": 0.1, "layers": [1, 2]}, [])


def test_invalid_config_is_refused(config: Config, changes: list[dict[str, Any]]) -> None:
    with pytest.raises(DataError, match=r"config takes a dict, not list \(\[1\]\)"):
        config.update([1])
    circular: dict[str, Any] = {}
    circular["again"] = circular
    with pytest.raises(DataError, match="a config is nested too deeply"):
        config.update({"circular": circular})
    assert ("circular" in config, changes) == (False, [])


def test_nan_is_sent_as_json(config: Config, changes: list[dict[str, Any]]) -> None:
    config.nan = float("nan")
    assert math.isnan(config.nan)
    assert changes == [{"nan": {"_type": "float64", "value": "NaN"}}]


def test_changes_may_be_allowed_for_the_run() -> None:
    changes: list[dict[str, Any]] = []
    config = Config({"lr": 1}, changes.append, allow_val_change=True)
    config.lr = 2
    with pytest.raises(ConfigError):
        config.update({"lr": 3}, allow_val_change=False)
    assert changes == [{"lr": 2}]


def test_refused_change_does_not_happen(config: Config) -> None:
    def finished(change: dict[str, Any]) -> None:
        raise UsageError("finished")

    config = Config({"lr": 1}, finished)
    with pytest.raises(UsageError):
        config.lr2 = 5
    assert config.as_dict() == {"lr": 1}


def test_argparse_and_flags_are_configs() -> None:
    class Flags:
        def flag_values_dict(self) -> dict[str, Any]:
            return {"lr": 1}

    assert Config(argparse.Namespace(lr=0.1, name=None), print).as_dict() == {"lr": 0.1, "name": None}
    assert Config(Flags(), print).as_dict() == {"lr": 1}


def test_leading_dashes_are_removed(config: Config) -> None:
    config.update({"--batch-size": 3, "x-": 1})
    assert (config["batch-size"], config.x) == (3, 1)


def test_yaml_file_is_a_config(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("lr:\n  desc: learning rate\n  value: 0.1\nnet: {value: 1, other: 2}\nseed: 7\n")
    expected = {"lr": 0.1, "net": {"value": 1, "other": 2}, "seed": 7}
    assert Config(str(file), print).as_dict() == Config(file, print).as_dict() == expected


@pytest.mark.parametrize("text", ["- 1", "a: [", ""])
def test_invalid_config_file_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(SettingError, match=r"config file .*config.yaml (cannot be read|holds no keys and values)"):
        Config(file, print)
    with pytest.raises(SettingError, match="cannot be read"):
        Config(tmp_path / "none.yaml", print)


def test_missing_pyyaml_error_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(SettingError, match=r"a config file needs PyYAML(.|\n)*pip install 'stepwell.yaml.'"):
        Config(tmp_path / "config.yaml", print)


def test_arguments_override_the_defaults_file(tmp_path: Path) -> None:
    (tmp_path / "config-defaults.yaml").write_text("lr: 1\nseed: 2\n")
    given = {"lr": 5, "a": 1, "b": 2}
    assert starting_config(given, None, None, tmp_path) == {"lr": 5, "seed": 2, "a": 1, "b": 2}
    assert starting_config(given, ["a"], None, tmp_path) == {"lr": 1, "seed": 2, "a": 1}
    assert starting_config(given, None, ["a", "lr"], tmp_path) == {"lr": 1, "seed": 2, "b": 2}
    assert starting_config(None, None, None, tmp_path / "none") == {}
    with pytest.raises(UsageError, match="config_include_keys and config_exclude_keys are mutually exclusive"):
        starting_config(given, ["a"], ["b"], tmp_path)


def test_missing_key_is_key_or_attribute_error(config: Config) -> None:
    with pytest.raises(KeyError):
        config["none"]
    with pytest.raises(AttributeError, match="config has no 'none'"):
        _ = config.none


def test_keys_cannot_be_deleted(config: Config) -> None:
    with pytest.raises(AttributeError):
        del config["lr"]
    with pytest.raises(AttributeError):
        config.pop("lr")
    assert config.lr == 0.1


def test_chart_layouts_are_hidden() -> None:
    with testing.capture():
        run = stepwell.init(config={"lr": 1})
        run.log({"chart": plot.line(Table(columns=["a", "b"], data=[[1, 2]]), "a", "b")})
        assert (list(run.config), run.config.as_dict()) == (["lr"], {"lr": 1})


def test_copy_is_independent(config: Config) -> None:
    copy = config.as_dict()
    copy["lr"] = 9
    copy["layers"].append(3)
    assert config.as_dict() == {"lr": 0.1, "layers": [1, 2]}


def test_keys_become_strings(config: Config) -> None:
    config.update({1: "x"})
    assert config["1"] == "x"
