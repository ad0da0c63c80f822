"""Sources of a config: a dict, argparse or absl flags, a YAML file, and `config-defaults.yaml` if it exists.

Takes the argument of `init` or `config.update`; returns a plain dict of JSON values. PyYAML is imported only when a
file must be read.
"""

from __future__ import annotations

import argparse
import enum
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from stepwell.errors import DataError, SettingError, UsageError
from stepwell.values.convert import Inline, described, exact_integer, jsonable, key_text
from stepwell.wire import MAX_DEPTH

DEFAULTS_FILE = "config-defaults.yaml"


def config_values(source: Any) -> dict[str, Any]:
    """The config in `source`, as JSON values by key. Leading and trailing '-' of keys (of command lines) are removed.

    Raises:
        DataError: `source` is not a dict, a Namespace, absl flags or a path; or it is circular, or holds media.
        SettingError: the file cannot be read.
    """
    if source is None:
        return {}
    if isinstance(source, str | os.PathLike):
        source = _from_file(Path(source))
    elif isinstance(source, argparse.Namespace):
        source = vars(source)
    elif callable(getattr(source, "flag_values_dict", None)):  # absl.flags
        source = source.flag_values_dict()
    if not isinstance(source, Mapping):
        raise DataError(f"config takes a dict, not {type(source).__name__}", detail=described(source))
    values: dict[str, Any] = {}
    for key, value in source.items():
        name = _name(key)
        try:
            values[name] = _value(value)
        except DataError as error:
            raise DataError(f"config {name!r}: {error.message}", detail=error.detail, hint=error.hint) from error
    return values


def starting_config(
    given: Any, include: Collection[str] | None, exclude: Collection[str] | None, directory: Path
) -> dict[str, Any]:
    """The initial config of a run: the defaults file in `directory`, overridden by the given values.

    Raises:
        UsageError: keys to include and keys to exclude are both given.
        DataError, SettingError: as `config_values`.
    """
    if include and exclude:
        raise UsageError("config_include_keys and config_exclude_keys are mutually exclusive", hint="give one of them")
    values = config_values(given)
    if include:
        values = {key: value for key, value in values.items() if key in include}
    if exclude:
        values = {key: value for key, value in values.items() if key not in exclude}
    defaults = directory / DEFAULTS_FILE
    return {**(config_values(defaults) if defaults.is_file() else {}), **values}


def _name(key: object) -> str:
    return key_text(str(key)).strip("-")


def _value(value: Any, depth: int = 0) -> Any:
    """JSON values; others become their text, because configs often contain classes and functions."""
    if depth > MAX_DEPTH:
        raise DataError("a config is nested too deeply", detail=f"more than {MAX_DEPTH} levels", hint="is it circular?")
    if isinstance(value, Mapping):
        return {key_text(str(key)): _value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_value(item, depth + 1) for item in value]
    if isinstance(value, int) and not isinstance(value, bool | enum.Enum):
        return exact_integer(int(value))
    try:
        return jsonable(value, depth)
    except DataError:
        if isinstance(value, Inline) and not isinstance(value, type):  # media, whose text would be meaningless
            raise
        return jsonable(str(value))


def _from_file(path: Path) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise SettingError(
            "a config file needs PyYAML", detail=str(path), hint="pip install 'stepwell[yaml]', or give a dict"
        ) from error
    try:
        loaded = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingError(f"the config file {path} cannot be read", detail=str(error)) from error
    if not isinstance(loaded, Mapping):
        raise SettingError(
            f"the config file {path} holds no keys and values", hint="write keys and values, such as lr: 0.1"
        )
    # The form of W&B's files: {lr: {desc: …, value: 0.1}}
    return {
        key: item["value"]
        if isinstance(item, Mapping) and "value" in item and item.keys() <= {"value", "desc"}
        else item
        for key, item in loaded.items()
    }
