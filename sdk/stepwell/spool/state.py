"""What `stepwell sync` must know of a run beside its frames: config and names as they were last, and how it ended.

A small JSON file beside the segments, replaced as a whole, so that a crash leaves the old one or the new one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from stepwell.values.text import dump

_NAME = "state.json"


class SpoolState(NamedTuple):
    """info: what the attach message carries; exit_code: None while the writer has not ended."""

    info: dict[str, Any]
    exit_code: int | None


def save(directory: Path, info: Mapping[str, Any], exit_code: int | None) -> None:
    """Replaces the state.

    Raises:
        OSError: the disk does not take it.
    """
    temporary = directory / f"{_NAME}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, dump({"format": 1, "info": dict(info), "exit_code": exit_code}))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(temporary, directory / _NAME)


def load(directory: Path) -> SpoolState | None:
    """The state; None when there is none, or none that can be read (the frames stand for themselves)."""
    try:
        raw = orjson.loads((directory / _NAME).read_bytes())
        return SpoolState(dict(raw["info"]), raw["exit_code"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def remove(directory: Path) -> None:
    """Removes the state of a spool that is delivered, and what a crash left of a newer one."""
    for name in (_NAME, f"{_NAME}.tmp"):
        with contextlib.suppress(OSError):
            (directory / name).unlink()
