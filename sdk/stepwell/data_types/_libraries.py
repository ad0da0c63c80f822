"""Libraries that encode media: imported on first use, so that `import stepwell` stays light."""

from __future__ import annotations

import importlib
from typing import Any

from stepwell.errors import DataError

_PACKAGES = {"PIL": "Pillow", "av": "PyAV"}


def library(module: str, purpose: str, install: str = "'stepwell[media]'") -> Any:
    """Imports a module for `purpose`.

    Raises:
        DataError: the module is not installed, or does not load; the hint says how to install it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:  # OSError: the C library that the module loads is missing
        root = module.partition(".")[0]
        raise DataError(
            f"{purpose} needs {_PACKAGES.get(root, root)}, which is not installed here or does not load",
            detail=str(error),
            hint=f"pip install {install}",
        ) from error
