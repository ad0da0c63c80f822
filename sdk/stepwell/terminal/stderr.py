"""Messages to the person at the terminal, if there is one."""

from __future__ import annotations

import contextlib
import sys


def tell(text: str, end: str = "\n") -> None:
    """Writes one message to stderr. A program without stderr (a service, pythonw), or with a broken one, goes on."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"stepwell: {text}{end}")
        sys.stderr.flush()
