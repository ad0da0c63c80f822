"""`python -m stepwell_ingest.server.sealer_process`: seals the history of one server, in a process of its own.

In a worker, the numpy work of sealing would stall the event loop. `Children` starts this process and keeps it running.
It prints {"pid": …} when it runs. SIGTERM or the end of stdin ends it; a pass in progress is rolled back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys

from stepwell_ingest.config import Config
from stepwell_ingest.db.connect import seal_pool
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.seal.keeper import Keeper
from stepwell_ingest.server import child
from stepwell_ingest.server.loops import Loops


async def work(config: Config) -> None:
    """Seals until the process is asked to stop.

    Raises:
        UnavailableError: Postgres cannot be reached, or sealing has ended by itself.
    """
    with postgres_errors("be reached"):
        pool = await seal_pool(config.dsn, config.timeouts.connect_s)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    asyncio.get_running_loop().add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
    loops = Loops()
    loops.start("sealing", Keeper(pool, config.seal).run())
    child.say({"pid": os.getpid()})
    failure = await loops.watch(stop)
    # An interrupted COPY leaves asyncpg's connection unusable, so the connections are closed first.
    logging.disable()
    pool.terminate()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await loops.stop()
    if failure is not None:
        raise failure


if __name__ == "__main__":
    sys.exit(child.run(work))
