"""Which event loop the server runs on: uvloop, where it exists."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` to its end on a new loop."""
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has no uvloop
        asyncio.run(main)
    else:
        uvloop.run(main)
