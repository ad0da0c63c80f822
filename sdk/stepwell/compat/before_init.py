"""The module's names before `init`: each use raises an error that says what to do.

The messages use the wording of W&B's client, because scripts match on it.
"""

from __future__ import annotations

from typing import Any, NoReturn

from stepwell.errors import Error


def before_init(name: str) -> Error:
    """The error for the use of `name` without a run."""
    return Error(f"You must call wandb.init() before {name}")


class BeforeInit:
    """Takes the place of `config` and `summary` until there is a run.

    Args:
        name: "config" or "summary", for errors.
    """

    _name: str

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, key: str) -> NoReturn:
        if key.startswith("__"):  # names that Python itself looks up
            raise AttributeError(key)
        raise before_init(f"{self._name}.{key}")

    def __setattr__(self, key: str, value: Any) -> NoReturn:
        raise before_init(f"{self._name}.{key}")

    def __getitem__(self, key: str) -> NoReturn:
        raise before_init(f"{self._name}[{key!r}]")

    def __setitem__(self, key: str, value: Any) -> NoReturn:
        raise before_init(f"{self._name}[{key!r}]")

    def __repr__(self) -> str:
        return f"<{self._name}, before init>"
