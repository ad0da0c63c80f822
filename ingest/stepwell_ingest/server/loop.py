"""The event loop of the server: uvloop if it is installed, with adapted garbage collection."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Objects in the youngest generation, and passes of a younger generation before an older one is collected. A full
#: collection walks every object of every connection: with the defaults (700, 10, 10) it takes most of the time of a
#: worker with 3,000 connections (docs/performance.md). Nearly all garbage here is freed by its reference count.
_GC_THRESHOLDS = (50_000, 20, 100)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` to its end on a new loop, uvloop if it is installed; returns its result."""
    gc.collect()
    gc.freeze()  # modules and classes stay until the end
    gc.set_threshold(*_GC_THRESHOLDS)
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has no uvloop
        return asyncio.run(main)
    return uvloop.run(main)
