"""Runs workers on one port: starts them, replaces one that ends, and drains them together.

Stands between `stepwell up --workers N` and N processes of `worker_process`; the kernel spreads the connections among
them (SO_REUSEPORT). The workers need not know of each other, because the ledger in Postgres decides. A worker that dies
costs its clients a reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stepwell_ingest.config import Config
from stepwell_ingest.config_json import encode
from stepwell_ingest.server.children import Children
from stepwell_ingest.server.serving import Stop

#: The time for closing connections, in addition to that of the drain.
_STOP_GRACE_S = 10.0


class Supervisor:
    """The worker processes of one server.

    Args:
        config: the configuration of each worker; its port is not 0, and `reuse_port` is set.
        count: the number of workers.
        say: receives messages for the user who started the server.
    """

    def __init__(self, config: Config, count: int, say: Callable[[str], None]) -> None:
        self._config = config
        self._count = count
        self._children = Children(say, config.timeouts.hung_s)

    async def run(self, stop: Stop, on_ready: Callable[[str], None], on_stop: Callable[[], None]) -> None:
        """Serves until a stop is requested; see `stepwell_ingest.server.serving.serve`.

        Raises:
            Error: a worker could not start.
        """
        try:
            url = await stop.unless_asked(self._start_all())
            if url is None:
                return
            on_ready(url)
            await stop.drain.wait()
            on_stop()
            patience_s = self._config.timeouts.drain_s + _STOP_GRACE_S
            await stop.patiently(asyncio.create_task(self._children.stop(patience_s)))
        finally:
            await self._children.kill()

    async def _start_all(self) -> str:
        # The first worker migrates the schema; the others start after it.
        url = await self._start()
        await asyncio.gather(*(self._start() for _ in range(self._count - 1)))
        return url

    async def _start(self) -> str:
        answer = await self._children.start("worker", "stepwell_ingest.server.worker_process", encode(self._config))
        return str(answer["url"])
