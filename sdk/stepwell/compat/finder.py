"""Finds what a stand-in for W&B's client needs besides its module: its distribution, and hints for missing modules.

`install_as_wandb` puts a `Finder` in front of `sys.meta_path`.
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
from stepwell.compat.modules import WANDB_VERSION, StandIn


class _AsDistribution(Distribution):
    """The distribution metadata of wandb for `importlib.metadata`, from which libraries read the version."""

    def read_text(self, filename: str) -> str | None:
        return f"Metadata-Version: 2.1\nName: wandb\nVersion: {WANDB_VERSION}\n" if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Path:
        return Path(__file__).parent / str(path)


class Finder(DistributionFinder):
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
