"""Several workers on one port: started, restarted when one dies, drained together.

Stands between `stepwell up --workers N` and N processes of `worker_process`, among which the kernel spreads the
connections (SO_REUSEPORT). The workers need not know of each other: Postgres is the judge. A worker that dies costs its
clients a reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

from stepwell.errors import Error, UnavailableError, from_dict
from stepwell_ingest.config import Config
from stepwell_ingest.service import Stop
from stepwell_ingest.worker_process import encode

_RESTART_MIN_S = 1.0
_RESTART_MAX_S = 30.0
# Beyond the drain itself, for closing connections.
_STOP_GRACE_S = 10.0


class Supervisor:
    """The worker processes of one server.

    Args:
        config: of each worker; the port must not be 0.
        count: how many.
        say: told what a person should know.
    """

    def __init__(self, config: Config, count: int, say: Callable[[str], None]) -> None:
        self._config = config
        self._count = count
        self._say = say
        self._processes: set[Process] = set()
        self._stopping = False

    async def run(self, stop: Stop, on_ready: Callable[[str], None], on_stop: Callable[[], None]) -> None:
        """Serves until `stop` is asked for; see `stepwell_ingest.service.serve`.

        Raises:
            Error: a worker could not start.
        """
        keepers: list[asyncio.Task[None]] = []
        try:
            url = await stop.unless_asked(self._start_all())
            if url is None:
                return
            keepers += [asyncio.create_task(self._keep(process)) for process in self._processes]
            on_ready(url)
            await stop.drain.wait()
            on_stop()
            self._stopping = True
            for process in self._processes:
                _signal(process)
            await stop.patiently(asyncio.create_task(self._wait()))
        finally:
            self._stopping = True
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)
            for process in list(self._processes):
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _start_all(self) -> str:
        # The first one migrates the schema, so the others come after it.
        _, url = await self._start()
        await asyncio.gather(*(self._start() for _ in range(self._count - 1)))
        return url

    async def _start(self) -> tuple[Process, str]:
        process = await asyncio.create_subprocess_exec(
            # Of its own session, or the terminal's Ctrl-C would reach it before we have drained.
            *(sys.executable, "-m", "stepwell_ingest.worker_process"),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has died, which the missing answer tells
            process.stdin.write(encode(self._config))
            await process.stdin.drain()
        reply = await process.stdout.readline()
        if not reply:
            code = await process.wait()
            self._processes.discard(process)
            raise UnavailableError("a worker process ended while it started", detail=f"exit code {code}")
        answer = json.loads(reply)
        if "error" in answer:
            await process.wait()
            self._processes.discard(process)
            raise from_dict(answer["error"])
        return process, str(answer["url"])

    async def _keep(self, process: Process) -> None:
        pause_s = _RESTART_MIN_S
        while True:
            code = await process.wait()
            self._processes.discard(process)
            if self._stopping:
                return
            self._say(f"worker {process.pid} has ended with exit code {code}; starting another one")
            while True:
                await asyncio.sleep(pause_s)
                try:
                    process, _ = await self._start()
                except Error as error:
                    pause_s = min(pause_s * 2, _RESTART_MAX_S)
                    self._say(f"it did not start, and is tried again in {pause_s:.0f} s: {error}")
                else:
                    pause_s = _RESTART_MIN_S
                    break

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.timeouts.drain_s + _STOP_GRACE_S):
                await asyncio.gather(*(process.wait() for process in self._processes))


def _signal(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
