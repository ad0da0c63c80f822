"""Names that other libraries use of W&B's module: `login`, `setup`, `termwarn`, `util`; and standing in for it.

`import stepwell as wandb` reaches one script. A library that says `import wandb` itself (Lightning, Transformers) gets
Stepwell when the program calls `stepwell.install_as_wandb()` before it: what these libraries touch is there.
"""

from __future__ import annotations

import importlib
import secrets
import string
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
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


def require(*_: Any, **__: Any) -> None:
    """Accepted for older integrations: a part of W&B's client that scripts had to ask for is not needed here."""


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


class Later:
    """The names of a module that is imported when one of them is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


class _AsDistribution(Distribution):
    """What `importlib.metadata` says of wandb; libraries ask it for the version, not the module."""

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: wandb\nVersion: {WANDB_VERSION}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parent / str(path)


class _Finder(DistributionFinder):
    """Finds the distribution wandb, by its name, while Stepwell stands in for it; never a module."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        return None

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        if getattr(context, "name", None) == "wandb" and isinstance(sys.modules.get("wandb"), StandIn):
            yield _AsDistribution()


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
    stepwell = sys.modules["stepwell"]
    run = stepwell.Run
    errors = SimpleNamespace(Error=Error, UsageError=UsageError, CommError=CommError, ConfigError=ConfigError)
    keras = Later("stepwell.integration.keras")
    submodules = {
        "data_types": Later("stepwell.data_types"),
        "plot": Later("stepwell.plot"),
        "integration": SimpleNamespace(),
        "integration.keras": keras,
        "keras": keras,
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
    sys.meta_path[:] = [_Finder(), *(finder for finder in sys.meta_path if not isinstance(finder, _Finder))]
