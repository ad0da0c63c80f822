"""The summary of a run from the read API: one value for each key, nested as logged, and changeable.

Sits between `Run` and the server: `update` sends the changed values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from stepwell.errors import UsageError

Send = Callable[[dict[str, Any]], object]


class Summary(Mapping[str, Any]):
    """The last value of each key; NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".

    Nested keys are dot paths, like metrics: `summary["a.b"]` and `summary["a"]["b"]` are the same.

    Args:
        values: the values by dot path.
        send: stores changes by dot path; None: nothing can be changed.
    """

    def __init__(self, values: Mapping[str, Any], send: Send | None = None) -> None:
        self._values = dict(values)
        self._send = send
        self._changed: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        inside = {path[len(key) + 1 :]: value for path, value in self._values.items() if path.startswith(f"{key}.")}
        if not inside:
            raise KeyError(key)
        return Summary(inside)

    def __setitem__(self, key: str, value: Any) -> None:
        """Changes a value locally; `update()` stores it.

        Raises:
            UsageError: this is a part of a summary.
        """
        if self._send is None:
            raise UsageError(
                "a part of a summary cannot be changed", hint='run.summary["a.b"] = … changes a nested value'
            )
        self._values[key] = self._changed[key] = value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}", name=name, obj=self) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)

    def update(self, values: Mapping[str, Any] | None = None, overwrite: bool = True) -> None:
        """Stores `values`, and values set before, on the server.

        Args:
            values: further values, by dot path.
            overwrite: accepted for scripts written for W&B.

        Raises:
            NotFoundError: the run was deleted.
            UnavailableError: the server cannot be reached.
            UsageError: this is a part of a summary.
        """
        for key, value in (values or {}).items():
            self[key] = value
        if self._changed and self._send is not None:
            self._send(self._changed)
            self._changed = {}

    @property
    def _json_dict(self) -> dict[str, Any]:
        """The summary as a dict, nested like the keys, as in W&B's client."""
        out: dict[str, Any] = {}
        for path, value in self._values.items():
            *parents, last = path.split(".")
            place = out
            for parent in parents:
                place = place.setdefault(parent, {}) if isinstance(place.get(parent, {}), dict) else out
            place[last if place is not out or not parents else path] = value
        return out
