"""`python -m stepwell_ingest.server.worker_process`: one of several workers that share a port. Started by `Supervisor`.

In comes one line of JSON on stdin: the settings (not in the arguments, which every user of the machine can read, and a
DSN may hold a password). Out goes one line on stdout: {"url": …} when it listens, or {"error": …}. SIGTERM drains it;
so does the end of stdin, so that it does not outlive its parent.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from typing import Any

from stepwell.errors import Error
from stepwell_ingest.config import Config, Limits, Timeouts
from stepwell_ingest.server import loop
from stepwell_ingest.server.serving import Stop, serve
from stepwell_ingest.server.worker import Worker

#: Those that `stepwell up` has options for.
_LIMITS = ("metrics_per_run", "points_per_run", "bytes_per_run", "blob_bytes")
LOG_FORMAT = "stepwell: %(message)s"


def encode(config: Config) -> bytes:
    """What a worker process is told on stdin."""
    settings = {
        "dsn": config.dsn,
        "host": config.host,
        "port": config.port,
        "blobs": config.blobs,
        "blob_grace_s": config.timeouts.blob_grace_s,
        "limits": {name: getattr(config.limits, name) for name in _LIMITS},
    }
    return json.dumps(settings).encode() + b"\n"


def decode(line: bytes) -> Config:
    """What `encode` wrote."""
    settings = json.loads(line)
    limits = Limits(**settings["limits"])
    place = (settings["dsn"], settings["host"], settings["port"])
    timeouts = Timeouts(blob_grace_s=settings["blob_grace_s"])
    return Config(*place, reuse_port=True, blobs=settings["blobs"], limits=limits, timeouts=timeouts)


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    # Ctrl-C is the parent's to hear; it then tells all workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = decode(sys.stdin.buffer.readline())
    try:
        loop.run(_serve(config))
    except Error as error:
        _say({"error": error.as_dict()})
        return 1
    return 0


async def _serve(config: Config) -> None:
    stop = Stop()
    stop.on_signals()
    stop.on_end_of_stdin()
    await serve(Worker(config), stop, lambda url: _say({"url": url}), lambda: None)


def _say(reply: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
