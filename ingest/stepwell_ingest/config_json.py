"""Encodes the whole configuration as one line of JSON, for the child processes of a server.

The parent encodes, a child decodes, so every setting is the same in both. The line is passed on stdin, not in the
arguments or the environment, because the DSN may hold a password.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar, get_type_hints

from stepwell.errors import SettingError
from stepwell_ingest.config import Config

T = TypeVar("T")


def encode(config: Config) -> bytes:
    """`config` as one line of JSON with every field, ended by a newline."""
    return json.dumps(dataclasses.asdict(config)).encode() + b"\n"


def decode(line: bytes) -> Config:
    """Decodes a configuration that `encode` wrote.

    Raises:
        SettingError: `line` is not JSON, or a field is unknown or missing; defaults never fill in for a missing one.
    """
    try:
        given = json.loads(line)
    except ValueError as error:
        raise SettingError("the configuration of this process is not JSON", detail=str(error)) from error
    return _build(Config, given, "config")


def _build(kind: type[T], given: Any, path: str) -> T:
    kinds = get_type_hints(kind)
    names = given.keys() if isinstance(given, dict) else set()
    problems = [f"unknown field {path}.{name}" for name in names if name not in kinds]
    problems += [f"missing field {path}.{name}" for name in kinds if name not in names]
    if problems:
        raise SettingError(
            "the configuration of this process was written by another version of Stepwell",
            detail=", ".join(problems),
            hint="was Stepwell upgraded while the server ran? Stop the server and start it again",
        )
    return kind(
        **{
            name: _build(kinds[name], value, f"{path}.{name}") if dataclasses.is_dataclass(kinds[name]) else value
            for name, value in given.items()
        }
    )
