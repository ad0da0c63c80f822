"""The facts about a run that `stepwell sync` needs besides its frames: the last config and names, and the exit code.

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
    """The content of the file.

    Attributes:
        info: the info for the attach message.
        exit_code: None while the writer has not ended.
    """

    info: dict[str, Any]
    exit_code: int | None


def save(directory: Path, info: Mapping[str, Any], exit_code: int | None) -> None:
    """Replaces the state.

    Raises:
        OSError: the file cannot be written.
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
    """Reads the state; None when there is none, or it is unreadable (the frames can be delivered without it)."""
    try:
        raw = orjson.loads((directory / _NAME).read_bytes())
        return SpoolState(dict(raw["info"]), raw["exit_code"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def remove(directory: Path) -> None:
    """Removes the state of a delivered spool, and the remains of a newer one that a crash interrupted."""
    for name in (_NAME, f"{_NAME}.tmp"):
        with contextlib.suppress(OSError):
            (directory / name).unlink()
