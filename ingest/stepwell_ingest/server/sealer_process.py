"""`python -m stepwell_ingest.server.sealer_process`: seals the history of one server, in a process of its own.

Its numpy work would stall a worker's loop. `Children` starts it and keeps it running: it receives one line of JSON on
stdin, {"dsn": …}, and prints {"pid": …} when it runs, or {"error": …}. SIGTERM or the end of stdin ends it; a pass that
is under way is undone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.config import SealSettings
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.seal.keeper import Keeper
from stepwell_ingest.server import loop

_LOG_FORMAT = "stepwell: %(message)s"


def encode(dsn: str) -> bytes:
    """What the process is told on stdin."""
    return json.dumps({"dsn": dsn}).encode() + b"\n"


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format=_LOG_FORMAT)
    # Ctrl-C is the parent's to hear; it then tells all children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = sys.stdin.buffer.readline()
    if not line:
        return 0  # the parent has ended meanwhile
    settings = json.loads(line)
    try:
        loop.run(_seal(settings["dsn"]))
    except Error as error:
        _say({"error": error.as_dict()})
        return 1
    return 0


async def _seal(dsn: str) -> None:
    with postgres_errors("be reached"):
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=2,
            command_timeout=600.0,
            server_settings={
                "synchronous_commit": "on",  # what is sealed is soon nowhere else
                "default_transaction_isolation": "read committed",  # what is read behind a lock must be new
                "application_name": "stepwell seal",
                "TimeZone": "UTC",
            },
        )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
    work = asyncio.create_task(Keeper(pool, SealSettings()).run())
    _say({"pid": os.getpid()})
    await stop.wait()
    # A COPY that is cut short leaves asyncpg's connection unusable: ended first, it has nothing to say to Postgres.
    logging.disable()
    pool.terminate()
    work.cancel()
    await asyncio.wait({work}, timeout=1)


def _say(reply: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
