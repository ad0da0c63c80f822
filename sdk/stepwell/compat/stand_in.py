"""The stand-in for W&B's client: names of its module other than runs, and `import wandb` in other people's code.

`import stepwell as wandb` affects one script. A library that says `import wandb` itself (Lightning, Transformers) gets
Stepwell when the program calls `stepwell.install_as_wandb()` first; the names that these libraries use are present.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, DistributionFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from stepwell.compat import lightning
from stepwell.compat.absent import absent_module
from stepwell.compat.modules import WANDB_VERSION, StandIn, stand_ins
from stepwell.errors import UsageError


def login(*_: Any, **__: Any) -> bool:
    """Accepted for older scripts: a server inside a trusted network requires no key.

    Returns:
        True.
    """
    return True


def setup(*_: Any, **__: Any) -> None:
    """Accepted for older scripts: no setup is needed before `init`."""


def require(*_: Any, **__: Any) -> None:
    """Accepted for older integrations: Stepwell does not need this part of W&B's client."""


def ensure_configured() -> None:
    """Accepted for older integrations; likewise."""


class _AsDistribution(Distribution):
    """The distribution metadata of wandb for `importlib.metadata`, from which libraries read the version."""

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: wandb\nVersion: {WANDB_VERSION}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parent / str(path)


class _Finder(DistributionFinder):
    """Finds the distribution of wandb while Stepwell stands in for it, and raises hints for missing modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in lightning.MODULES:
            return lightning.find_spec(fullname, path, self)
        if fullname.startswith("wandb.") and isinstance(sys.modules.get("wandb"), StandIn):
            error = absent_module(fullname.removeprefix("wandb."))
            if error is not None:
                raise error
        return None

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        if getattr(context, "name", None) == "wandb" and isinstance(sys.modules.get("wandb"), StandIn):
            yield _AsDistribution()


def install_as_wandb() -> None:
    """Makes `import wandb` in this process return Stepwell, for libraries that import wandb themselves.

    Call it before other imports. The submodules that Lightning, Transformers and Keras import exist, too.

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
    module = sys.modules["wandb"] = StandIn("wandb", stepwell, __version__=WANDB_VERSION)
    sys.modules.update({made.__name__: made for made in stand_ins(stepwell, module).values()})
    sys.meta_path[:] = [_Finder(), *(finder for finder in sys.meta_path if not isinstance(finder, _Finder))]
    lightning.refuse_models()
