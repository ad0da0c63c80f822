"""Writes messages to the terminal, if there is one."""

from __future__ import annotations

import contextlib
import sys


def tell(text: str, end: str = "\n") -> None:
    """Writes one message to stderr. A missing (in a service, pythonw) or broken stderr is ignored."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"stepwell: {text}{end}")
        sys.stderr.flush()
