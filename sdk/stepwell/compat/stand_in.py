"""The stand-in for W&B's client: names of its module other than runs, and `import wandb` in other people's code.

`import stepwell as wandb` affects one script. A library that says `import wandb` itself (Lightning, Transformers) gets
Stepwell when the program calls `stepwell.install_as_wandb()` first; the names that these libraries use are present.
"""

from __future__ import annotations

import sys
from typing import Any

from stepwell.compat import lightning
from stepwell.compat.modules import WANDB_VERSION, StandIn, stand_ins
from stepwell.errors import UsageError


def login(*_: Any, **__: Any) -> bool:
    """Accepted for older scripts, and does nothing: `stepwell login` or STEPWELL_API_KEY gives a key to the SDK.

    Returns:
        True.
    """
    return True


def setup(*_: Any, **__: Any) -> None:
    """Accepted for older scripts: no setup is needed before `init`."""


def require(*_: Any, **__: Any) -> None:
    """Accepted for older integrations: Stepwell does not need this part of W&B's client."""


def ensure_configured() -> None:
    """Accepted for older integrations: there is nothing to configure before `init`."""


def install_as_wandb() -> None:
    """Makes `import wandb` in this process return Stepwell, for libraries that import wandb themselves.

    Call it before other imports. The submodules that Lightning, Transformers and Keras import exist, too.

    Raises:
        UsageError: W&B's own client is imported already.
    """
    from stepwell.compat.finder import Finder  # imports importlib.metadata and with it the e-mail parser

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
    sys.meta_path[:] = [Finder(), *(finder for finder in sys.meta_path if not isinstance(finder, Finder))]
    lightning.refuse_models()
