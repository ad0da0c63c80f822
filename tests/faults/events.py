"""One line of JSON for each event in a child, written to a pipe that all children share.

Lines are shorter than PIPE_BUF, so those of several processes never mix.
"""

from __future__ import annotations

import json
import os
from typing import Any

#: Set once in the zygote; children inherit it.
_descriptor: list[int] = []


def use(descriptor: int) -> None:
    """Sends later events to `descriptor`, in this process and its children."""
    _descriptor[:] = [descriptor]


def say(kind: str, **fields: Any) -> None:
    """Reports an event of this process."""
    os.write(_descriptor[0], json.dumps({"event": kind, "pid": os.getpid(), **fields}).encode() + b"\n")
