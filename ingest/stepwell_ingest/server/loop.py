"""Which event loop the server runs on: uvloop, where it exists."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of `main`, run to its end on a new loop."""
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has no uvloop
        return asyncio.run(main)
    return uvloop.run(main)
