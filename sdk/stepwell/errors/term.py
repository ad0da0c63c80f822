"""Prints lines to the terminal under the name that W&B's client uses: `wandb.errors.term`.

Scripts and libraries call these; Stepwell itself uses `Run.say` and the logger "stepwell".
"""

from __future__ import annotations

import sys
from typing import Any


def termlog(string: str = "", newline: bool = True, repeat: bool = True, *_: Any, **__: Any) -> None:
    """Writes one line to stderr.

    Args:
        string: the text.
        newline: whether the line ends after the text.
        repeat: accepted, and ignored: every call writes.
    """
    sys.stderr.write(f"stepwell: {string}" + ("\n" if newline else ""))


termwarn = termerror = termlog


def termsetup(*_: Any, **__: Any) -> None:
    """Accepted for older integrations: there is nothing to set up."""
