"""Processes that belong to a server: started, told their settings, started again when one dies, ended together.

Below `stepwell up` and the supervisor of the workers. A child is a module that is run with `python -m`. In goes one
line on its stdin (not in the arguments, which every user of the machine can read, and a DSN may hold a password); out
comes one line of JSON: what it has to say when it is ready, or {"error": …}. SIGTERM ends it, and so does the end of
stdin, so that none outlives its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Any

from stepwell.errors import Error, UnavailableError, from_dict

_RESTART_MIN_S = 1.0
_RESTART_MAX_S = 30.0


class Children:
    """The child processes of one server.

    Args:
        say: told what a person should know.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._processes: set[Process] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self, name: str, module: str, line: bytes) -> dict[str, Any]:
        """Starts one, and keeps it running from then on.

        Args:
            name: what a person calls it.

        Returns:
            What it said when it was ready.

        Raises:
            Error: it could not start.
        """
        process, answer = await self._start(name, module, line)
        self._keepers.append(asyncio.create_task(self._keep(process, name, module, line)))
        return answer

    async def stop(self, patience_s: float) -> None:
        """Asks all of them to end, and waits for that."""
        self._stopping = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(process.wait() for process in self._processes))

    async def kill(self) -> None:
        """Ends those that are left at once."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self, name: str, module: str, line: bytes) -> tuple[Process, dict[str, Any]]:
        process = await asyncio.create_subprocess_exec(
            # Of its own session, or the terminal's Ctrl-C would reach it before we have drained.
            *(sys.executable, "-m", module),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # it has died, which the missing answer tells
            process.stdin.write(line)
            await process.stdin.drain()
        reply = await process.stdout.readline()
        if not reply:
            code = await process.wait()
            self._processes.discard(process)
            raise UnavailableError(f"a {name} process ended while it started", detail=f"exit code {code}")
        answer: dict[str, Any] = json.loads(reply)
        if "error" in answer:
            await process.wait()
            self._processes.discard(process)
            raise from_dict(answer["error"])
        return process, answer

    async def _keep(self, process: Process, name: str, module: str, line: bytes) -> None:
        pause_s = _RESTART_MIN_S
        while True:
            code = await process.wait()
            self._processes.discard(process)
            if self._stopping:
                return
            self._say(f"{name} {process.pid} has ended with exit code {code}; starting another one")
            while True:
                await asyncio.sleep(pause_s)
                try:
                    process, _ = await self._start(name, module, line)
                except Error as error:
                    pause_s = min(pause_s * 2, _RESTART_MAX_S)
                    self._say(f"it did not start, and is tried again in {pause_s:.0f} s: {error}")
                else:
                    pause_s = _RESTART_MIN_S
                    break
