"""The common part of a server's child processes: reads the configuration, works, and reports to the parent.

The counterpart of `children`, which runs in the parent. A child receives one line on stdin, the whole `Config`; it
prints one line of JSON when it is ready, or {"error": …} if it cannot start. From its start, its event loop prints an
empty line every second: a stalled process (stopped, or busy without end) prints none, and its parent replaces it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from stepwell.errors import Error
from stepwell_ingest.config import Config
from stepwell_ingest.config_json import decode
from stepwell_ingest.server import loop

_BEAT_S = 1.0
LOG_FORMAT = "stepwell: %(message)s"


def run(work: Callable[[Config], Coroutine[Any, Any, None]]) -> int:
    """Runs `work` with the configuration from stdin until it ends; returns the exit code of the process."""
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    # The parent handles Ctrl-C in the terminal, and then ends its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # the parent has ended meanwhile
    try:
        loop.run(_alive(work(decode(line))))
    except Error as error:
        say({"error": error.as_dict()})
        return 1
    return 0


async def _alive(work: Coroutine[Any, Any, None]) -> None:
    beating = asyncio.create_task(_beat())
    try:
        await work
    finally:
        beating.cancel()


async def _beat() -> None:
    while True:
        # A parent that does not read must not make this process wait.
        if select.select([], [sys.stdout], [], 0)[1]:
            with contextlib.suppress(OSError):  # the parent has gone; the end of stdin says so, too
                os.write(sys.stdout.fileno(), b"\n")
        await asyncio.sleep(_BEAT_S)


def say(message: dict[str, Any]) -> None:
    """Prints `message` as one line of JSON for the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
