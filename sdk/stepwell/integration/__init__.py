"""Callbacks with the names of those in W&B's package, for libraries that have no W&B support of their own.

They are in `stepwell.integration.NAME` (keras, lightgbm, sb3, sklearn, tensorboard, xgboost), and in
`wandb.integration.NAME` after `install_as_wandb()`. `import stepwell` imports none of them; keras, sb3 and xgboost
import their library.
"""

from __future__ import annotations

import importlib
from typing import Any

from stepwell.compat import names
from stepwell.compat.absent import absent_name

_MODULES = ("keras", "lightgbm", "sb3", "sklearn", "tensorboard", "xgboost")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"stepwell.integration.{name}")
    prefix = "integration."
    hints = {path.removeprefix(prefix): hint for path, hint in names.MODULE.items() if path.startswith(prefix)}
    raise absent_name("wandb.integration", name, hints)
