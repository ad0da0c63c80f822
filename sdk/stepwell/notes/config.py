"""`run.config`: the configuration of the run, as a dict and by attribute.

Off the data path: the config is sent in the attach message, later changes as notes, and both are stored in
`runs.config`. As with W&B's client, changing the value of an existing key needs allow_val_change.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepwell.errors import ConfigError
from stepwell.notes.config_sources import config_values
from stepwell.values.convert import number_of


class Config(Mapping[str, Any]):
    """A dict whose keys are attributes, too. Values are JSON: numbers, strings, lists, dicts; others become their text.

    Args:
        values: the initial values, in any form that `config_values` accepts.
        on_change: receives changes; raises when the run is finished.
        allow_val_change: whether values may be changed.
    """

    _values: dict[str, Any]
    _on_change: Callable[[dict[str, Any]], None]
    _allow: bool

    def __init__(
        self, values: Any, on_change: Callable[[dict[str, Any]], None], allow_val_change: bool = False
    ) -> None:
        object.__setattr__(self, "_values", config_values(values))
        object.__setattr__(self, "_on_change", on_change)
        object.__setattr__(self, "_allow", allow_val_change)

    def update(self, values: Any, allow_val_change: bool | None = None) -> None:
        """Sets several keys.

        Args:
            values: a dict, an argparse.Namespace, absl flags, or the path of a YAML file.
            allow_val_change: whether values may be changed; None: as given to `init`.

        Raises:
            ConfigError: a key has another value already, which may not be changed; nothing has changed.
            DataError: `values` is of another type.
            SettingError: the file cannot be read.
            UsageError: the run is finished.
        """
        allowed = self._allow if allow_val_change is None else allow_val_change
        changed = {}
        for key, value in config_values(values).items():
            if key in self._values and self._values[key] == value:
                continue
            if key in self._values and not allowed:
                raise ConfigError(
                    f"config {key!r} would change from {self._values[key]!r} to {value!r}",
                    hint=f"use config.update({{{key!r}: …}}, allow_val_change=True) if the change is intended",
                )
            changed[key] = value
        if changed:
            self._on_change(changed)
            self._values.update(changed)

    def setdefaults(self, values: Any) -> None:
        """Sets missing keys only."""
        self.update({key: value for key, value in config_values(values).items() if key not in self._values})

    def restore(self, values: Mapping[str, Any]) -> None:
        """Adds the server's values of a resumed run, for keys that were not given. Sends no note, as the server has
        them."""
        for key, value in values.items():
            self._values.setdefault(key, value)

    def as_dict(self) -> dict[str, Any]:
        """A copy as a plain dict of JSON values."""
        return copy.deepcopy(self._values)

    def __reduce__(self) -> tuple[Callable[..., Config], tuple[dict[str, Any], bool]]:
        """A copied or pickled config has the same values and belongs to no run: its changes are not sent."""
        return _copied, (self.as_dict(), self._allow)

    def __getitem__(self, key: str) -> Any:
        return number_of(self._values[key])

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
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


def _copied(values: dict[str, Any], allow_val_change: bool) -> Config:
    return Config(values, lambda change: None, allow_val_change)
