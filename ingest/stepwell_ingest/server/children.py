"""The child processes of a server: starts them with their configuration, restarts one that dies, and ends them
together.

Used by `stepwell up` and the supervisor of the workers. A child is a module that runs with `python -m` (see `child`).
It receives one line on stdin (not in the arguments, which every user of the machine can read, and a DSN may hold a
password) and answers with one line of JSON: a message when it is ready, or {"error": …}. SIGTERM ends a child, and so
does the end of stdin, so that no child outlives its parent. A child prints an empty line every second; one that stops
doing so has stalled and is killed, because its transactions may hold locks in Postgres until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Any

from stepwell.errors import Error, UnavailableError, from_dict
from stepwell_ingest.config import Timeouts

_RESTART_MIN_S = 1.0
_RESTART_MAX_S = 30.0
_LOOK_AGAIN_S = 1.5
#: How long a process may take to print its first line: it has to load its modules, perhaps on a busy machine.
_START_S = 60.0


class Children:
    """The child processes of one server.

    Args:
        say: receives messages for the user who started the server.
        hung_s: a child that has printed nothing for this long is killed.
    """

    def __init__(self, say: Callable[[str], None], hung_s: float = Timeouts().hung_s) -> None:
        self._say = say
        self._hung_s = hung_s
        self._processes: set[Process] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self, name: str, module: str, line: bytes) -> dict[str, Any]:
        """Starts a child, and restarts it whenever it ends before `stop`.

        Args:
            name: the name of the child in messages.
            module: the module for `python -m`.
            line: the child's configuration (`config_json.encode`).

        Returns:
            The child's first message, which it prints when it is ready.

        Raises:
            Error: the child could not start.
        """
        process, answer = await self._start(name, module, line)
        self._keepers.append(asyncio.create_task(self._keep(process, name, module, line)))
        return answer

    async def stop(self, patience_s: float) -> None:
        """Asks all children to end, and waits for at most `patience_s`."""
        self._stopping = True
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await asyncio.gather(*(process.wait() for process in self._processes))

    async def kill(self) -> None:
        """Kills the remaining children."""
        self._stopping = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in list(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _start(self, name: str, module: str, line: bytes) -> tuple[Process, dict[str, Any]]:
        try:
            process = await asyncio.create_subprocess_exec(
                # In a session of its own, or the terminal's Ctrl-C would reach it before the drain.
                *(sys.executable, "-m", module),
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
            )
        except OSError as error:  # no more processes, files or memory
            raise UnavailableError(f"a {name} process cannot be started", detail=str(error)) from error
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(ConnectionError):  # the child has died, as the missing answer shows
            process.stdin.write(line)
            await process.stdin.drain()
        reply = b"\n"
        while reply == b"\n":  # alive, and not ready yet
            try:
                async with asyncio.timeout(max(_START_S, self._hung_s)):
                    reply = await process.stdout.readline()
            except TimeoutError:
                process.kill()
                reply = b""
        if not reply:
            code = await process.wait()
            self._processes.discard(process)
            raise UnavailableError(f"a {name} process ended during its start", detail=f"exit code {code}")
        answer: dict[str, Any] = json.loads(reply)
        if "error" in answer:
            await process.wait()
            self._processes.discard(process)
            raise from_dict(answer["error"])
        return process, answer

    async def _watch(self, process: Process, name: str) -> None:
        """Waits until the child has ended; kills it when it stalls."""
        assert process.stdout is not None
        patience_s = self._hung_s
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    if not await process.stdout.read(4096):
                        return
                patience_s = self._hung_s
            except TimeoutError:
                if patience_s == self._hung_s:
                    patience_s = _LOOK_AGAIN_S  # perhaps this process has stalled, and not the child
                    continue
                if not self._stopping:
                    self._say(f"{name} {process.pid} has not responded for {self._hung_s:g} s, so it is killed")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                return

    async def _keep(self, process: Process, name: str, module: str, line: bytes) -> None:
        pause_s, started = _RESTART_MIN_S, time.monotonic()
        while True:
            await self._watch(process, name)
            code = await process.wait()
            self._processes.discard(process)
            if self._stopping:
                return
            if time.monotonic() - started > _RESTART_MAX_S:  # otherwise it is likely to end again soon
                pause_s = _RESTART_MIN_S
            self._say(f"{name} {process.pid} ended with exit code {code}; starting another one")
            while True:
                await asyncio.sleep(pause_s)
                try:
                    process, _ = await self._start(name, module, line)
                except (Error, OSError, ValueError) as error:  # ValueError: its message is not JSON
                    pause_s = min(pause_s * 2, _RESTART_MAX_S)
                    self._say(f"a new process did not start; trying again in {pause_s:.0f} s: {error}")
                else:
                    pause_s, started = min(pause_s * 2, _RESTART_MAX_S), time.monotonic()
                    break
