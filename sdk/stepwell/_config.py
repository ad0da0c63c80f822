"""`run.config`: what the run was started with, as a dict and by attribute.

Beside the data's way: it travels with the attach message and lands in `runs.config`. As with W&B's client, setting a
key again to another value needs allow_val_change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepwell._values import jsonable
from stepwell.errors import DataError, Error


class ConfigError(Error):
    """A key of the config would change its value."""

    code = "config"


class Config(Mapping[str, Any]):
    """A dict whose keys are attributes, too. Values are JSON: numbers, strings, lists, dicts.

    Args:
        values: the start.
        on_change: called after each change.
    """

    _values: dict[str, Any]
    _on_change: Callable[[], None]

    def __init__(self, values: Mapping[str, Any], on_change: Callable[[], None]) -> None:
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_on_change", lambda: None)
        self.update(values)
        object.__setattr__(self, "_on_change", on_change)

    def update(self, values: Mapping[str, Any], allow_val_change: bool = False) -> None:
        """Sets several keys.

        Raises:
            ConfigError: a key has another value already and `allow_val_change` is false; nothing has changed.
            DataError: a value that is not JSON.
        """
        if not isinstance(values, Mapping):
            raise DataError(f"config takes a dict, not {type(values).__name__}", detail=repr(values)[:80])
        new = {}
        for key, value in values.items():
            try:
                new[str(key)] = jsonable(value)
            except DataError as error:
                raise DataError(f"config {key!r}: {error.message}", detail=error.detail, hint=error.hint) from error
        for key, value in new.items():
            if not allow_val_change and key in self._values and self._values[key] != value:
                raise ConfigError(
                    f"config {key!r} would change from {self._values[key]!r} to {value!r}",
                    hint=f"config.update({{{key!r}: …}}, allow_val_change=True), if you mean it",
                )
        before = dict(self._values)
        self._values.update(new)
        try:
            self._on_change()
        except Error:  # the run is finished
            self._values.clear()
            self._values.update(before)
            raise

    def setdefaults(self, values: Mapping[str, Any]) -> None:
        """Sets the keys that are not there yet."""
        self.update({key: value for key, value in values.items() if key not in self._values})

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict."""
        return copy.deepcopy(self._values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"config has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)
