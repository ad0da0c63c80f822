"""`python -m stepwell_ingest.server.worker_process`: one of several workers that share a port.

`Supervisor` starts this process and keeps it running. It prints {"url": …} when it listens. SIGTERM drains it, and so
does the end of stdin, so that it does not outlive its parent.
"""

from __future__ import annotations

import sys

from stepwell_ingest.config import Config
from stepwell_ingest.server import child
from stepwell_ingest.server.serving import Stop, serve
from stepwell_ingest.server.worker import Worker


async def work(config: Config) -> None:
    """Serves until the process is asked to stop.

    Raises:
        Error: the worker could not start.
    """
    stop = Stop()
    stop.on_signals()
    stop.on_end_of_stdin()
    await serve(Worker(config), stop, lambda url: child.say({"url": url}), lambda: None)


if __name__ == "__main__":
    sys.exit(child.run(work))
