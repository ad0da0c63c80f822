"""The functions of `wandb.util` that programs outside of W&B use."""

from __future__ import annotations

import importlib
import secrets
import string
from types import ModuleType
from typing import Any

from stepwell.compat import names
from stepwell.compat.absent import absent_name

_ID_ALPHABET = string.digits + string.ascii_lowercase


def generate_id(length: int = 8) -> str:
    """A new run id: base-36 characters."""
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(length))


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> ModuleType | None:
    """Imports the module of that name; returns None when it is not installed.

    Args:
        name: the dotted name of the module.
        required: if given, a missing module raises; a string is the message.
        lazy: accepted, and ignored.

    Raises:
        ImportError: the module is required and not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if required:
            raise ImportError(required if isinstance(required, str) else str(error), name=name) from error
        return None


def __getattr__(name: str) -> Any:
    raise absent_name("wandb.util", name, names.UTIL)
