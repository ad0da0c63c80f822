"""Names that other libraries use of W&B's module: `login`, `setup`, `termwarn`, `util`; and standing in for it.

`import stepwell as wandb` reaches one script. A library that says `import wandb` itself (Lightning, Transformers) gets
Stepwell when the program calls `stepwell.install_as_wandb()` before it: what these libraries touch is there.
"""

from __future__ import annotations

import secrets
import string
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

from stepwell.errors import CommError, ConfigError, Error, UsageError

#: What libraries compare with the oldest version of W&B's client that they want; the era whose names are here.
WANDB_VERSION = "0.19.11"
_ID_ALPHABET = string.digits + string.ascii_lowercase


def login(*_: Any, **__: Any) -> bool:
    """Accepted for older scripts: a server inside a trusted network asks for no key.

    Returns:
        True.
    """
    return True


def setup(*_: Any, **__: Any) -> None:
    """Accepted for older scripts: nothing has to be set up before `init`."""


def ensure_configured() -> None:
    """Accepted for older integrations; likewise."""


def termlog(text: str = "", *_: Any, **__: Any) -> None:
    """One line to the person at the terminal."""
    sys.stderr.write(f"stepwell: {text}\n")


termwarn = termerror = termlog


def generate_id(length: int = 8) -> str:
    """A new run id: base-36 characters."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))


#: `wandb.util`, as far as it is used from outside.
util = SimpleNamespace(generate_id=generate_id)


class StandIn(ModuleType):
    """A module that has the names of another one, and answers for missing submodules of W&B by the same names."""

    def __init__(self, name: str, names: Any, **more: Any) -> None:
        super().__init__(name, f"Stepwell, in the place of {name}.")
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__: list[str] = []
        self._names = names
        self.__dict__.update(more)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._names, name)


def install_as_wandb() -> None:
    """From now on, `import wandb` in this process gives Stepwell, for libraries that say so themselves.

    Call it first thing. The submodules that Lightning, Transformers and Keras import are there, too.

    Raises:
        UsageError: W&B's own client is imported already.
    """
    known = sys.modules.get("wandb")
    if isinstance(known, StandIn):
        return
    if known is not None:
        raise UsageError(
            "W&B's client is imported already, so Stepwell cannot stand in for it",
            hint="call stepwell.install_as_wandb() before anything imports wandb",
        )
    stepwell = sys.modules[__package__]
    run = stepwell.Run
    errors = SimpleNamespace(Error=Error, UsageError=UsageError, CommError=CommError, ConfigError=ConfigError)
    submodules = {
        "sdk": SimpleNamespace(),
        "sdk.lib": SimpleNamespace(RunDisabled=run),
        "sdk.lib.config_util": errors,
        "sdk.wandb_run": SimpleNamespace(Run=run),
        "wandb_run": SimpleNamespace(Run=run),
        "util": util,
        "errors": errors,
    }
    module = StandIn("wandb", stepwell, __version__=WANDB_VERSION)
    sys.modules["wandb"] = module
    for name, names in submodules.items():
        parent, _, last = name.rpartition(".")
        submodule = StandIn(f"wandb.{name}", names)
        sys.modules[submodule.__name__] = submodule
        setattr(sys.modules[f"wandb.{parent}" if parent else "wandb"], last, submodule)
