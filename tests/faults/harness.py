"""A whole Stepwell that can be killed: Postgres, ingest workers and logging processes, with proxies between them.

    writers, syncs  →  web proxy  →  workers (one port)  →  Postgres proxy  →  Postgres (socket)  ←  judge

The result is a `Stack`, whose parts are started, given commands, killed and awaited by name. Everything except Postgres
is a child of the zygote (`faults.zygote`); proxies run in the caller's event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import asyncpg
import psutil

from faults.postgres_wire import PostgresWire
from faults.programs import Program, Sealer, Worker, encode
from faults.proxy import Proxy
from faults.stages import Victim
from faults.web_wire import WebWire
from fixtures.postgres import temporary_directory
from stepwell_ingest.db.cluster import Cluster, ClusterSettings, embedded_binaries

T = TypeVar("T")

#: After a kill, recovery uses one syncfs instead of an fsync of a thousand files; the operating system does not crash
#: here.
QUICK = {"recovery_init_sync_method": "syncfs"}
#: For the negative control: Postgres writes its log only for a COMMIT that waits for it.
CARELESS = {**QUICK, "wal_writer_delay": "10s", "wal_writer_flush_after": "1GB", "wal_buffers": "64MB"}
#: The longest time that the harness waits for anything; no result depends on it.
PATIENCE_S = 120.0


@dataclass(eq=False, slots=True)
class Child:
    """A process of the zygote.

    Attributes:
        ready: set when the program has reported that it works, or has ended.
        fired: the kill point at which it has killed itself.
        status: the status from `waitpid`, once `ended` is set.
        told: the answers of a program that executes commands.
    """

    program: Program
    pid: int = 0
    fired: str | None = None
    status: int | None = None
    error: str | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)
    forked: asyncio.Event = field(default_factory=asyncio.Event)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Sends a signal if the process is still alive."""
        if not self.ended.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Stack:
    """All parts, created by `stack`.

    Attributes:
        place: the directory for data, spools, journals and logs.
        cluster: Postgres.
        postgres_proxy: the proxy between the workers and Postgres.
        web_proxy: the proxy between the writers and the workers.
        port: the port on which all workers listen.
    """

    def __init__(self, place: Path, settings: ClusterSettings) -> None:
        self.place = place
        self.cluster = Cluster(place / "data", embedded_binaries(), settings)
        self.port = free_port()
        self.postgres_proxy = Proxy(self._open_postgres, PostgresWire)
        self.web_proxy = Proxy(lambda: asyncio.open_connection("127.0.0.1", self.port), WebWire)
        # A thread that lives as long as this object, because Postgres stops with the thread that started it.
        self._thread = ThreadPoolExecutor(1)
        self._zygote: asyncio.subprocess.Process | None = None
        self._children: dict[int, Child] = {}
        self._starting: dict[int, Child] = {}
        self._numbers = 0
        self._listening: asyncio.Task[None] | None = None

    @property
    def dsn(self) -> str:
        """The DSN of Postgres itself, without the proxy."""
        return self.cluster.dsn()

    @property
    def blobs(self) -> Path:
        """The directory in which workers store files."""
        return self.place / "blobs"

    @property
    def url(self) -> str:
        """The URL of the workers, through the proxy."""
        return f"http://127.0.0.1:{self.web_proxy.port}"

    async def start(self) -> None:
        """Starts Postgres, the proxies and the zygote, but no worker."""
        await self._in_thread(self.cluster.start)
        await self.postgres_proxy.start()
        await self.web_proxy.start()
        paths = os.pathsep.join(path for path in sys.path if path)
        log = await asyncio.to_thread((self.place / "zygote.log").open, "ab")
        self._zygote = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "faults.zygote"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"},
        )
        log.close()
        self._listening = asyncio.create_task(self._listen(self._zygote))

    async def stop(self) -> None:
        """Kills everything that is still running."""
        if self._zygote is not None and self._zygote.stdin is not None:
            self._zygote.stdin.close()
            await self._zygote.wait()
        if self._listening is not None:
            await self._listening
        await self.web_proxy.stop()
        await self.postgres_proxy.stop()
        await self._in_thread(self.cluster.stop, "immediate")
        self._thread.shutdown()

    async def run(self, program: Program) -> Child:
        """Starts a program; returns once it has a pid."""
        self._numbers += 1
        child = self._starting[self._numbers] = Child(program)
        log = str(self.place / f"{type(program).__name__.lower()}.log")
        self._order({"start": self._numbers, "program": encode(program), "log": log})
        forked = asyncio.create_task(child.forked.wait())
        assert self._listening is not None
        await asyncio.wait({forked, self._listening}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not forked.done():
            forked.cancel()
            raise RuntimeError(f"the zygote does not fork:\n{(self.place / 'zygote.log').read_text()[-4000:]}")
        if isinstance(program, Worker | Sealer):
            self._order({"tell": child.pid, "line": program.settings()})
        return child

    async def run_worker(self, program: Worker | Sealer | None = None) -> Child:
        """Starts a worker or sealer, and retries while Postgres is down."""
        while True:
            child = await self.run(program or self.worker())
            async with asyncio.timeout(PATIENCE_S):
                await child.ready.wait()
            if child.error is None or child.fired:
                return child
            await child.ended.wait()
            await asyncio.sleep(0.1)

    def worker(self, **named: Any) -> Worker:
        """The settings of a worker on the stack's port that uses the Postgres proxy."""
        return Worker(self._proxied, self.port, blobs=str(self.blobs), **named)

    def sealer(self, **named: Any) -> Sealer:
        """The settings of a sealer that uses the Postgres proxy."""
        return Sealer(self._proxied, **named)

    @property
    def _proxied(self) -> str:
        return f"postgresql://stepwell@127.0.0.1:{self.postgres_proxy.port}/stepwell"

    async def tell(self, child: Child, line: str) -> Any:
        """Sends a line to a program; returns its answer, or None if it has died."""
        self._order({"tell": child.pid, "line": line})
        answer = asyncio.create_task(child.told.get())
        end = asyncio.create_task(child.ended.wait())
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({answer, end}, return_when=asyncio.FIRST_COMPLETED)
        end.cancel()
        if not answer.done():
            answer.cancel()
            return None
        return answer.result()

    def strike(self, victim: Victim, backend: int | None = None) -> None:
        """Kills a part of Postgres immediately. `recover` must follow.

        Args:
            backend: the pid of the backend to kill.
        """
        pid, number = self.cluster.pid, signal.SIGKILL
        if victim is Victim.BACKEND:
            pid = backend
        elif victim is Victim.IMMEDIATE:
            number = signal.SIGQUIT
        with contextlib.suppress(ProcessLookupError):
            if pid is not None:
                os.kill(pid, number)

    async def recover(self, victim: Victim, backend: int | None = None) -> None:
        """Restarts Postgres if it does not restart itself; returns when it answers.

        Args:
            backend: the pid of the backend that was killed.
        """
        if victim is not Victim.BACKEND:
            await self._in_thread(self.cluster.stop, "immediate")
            await self._in_thread(self.cluster.start)
        elif backend is not None:
            # Until Postgres notices the death, it still answers; it recovers a moment later.
            async with asyncio.timeout(PATIENCE_S):
                while psutil.pid_exists(backend):  # noqa: ASYNC110 - another process's state has no event
                    await asyncio.sleep(0.01)
        await self.postgres_answers()

    async def any_backend(self) -> int | None:
        """The pid of a backend that serves a worker or a sealer now."""
        with contextlib.suppress(asyncpg.PostgresError, OSError):
            pid: int | None = await self.fetch(
                "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'stepwell%' ORDER BY random() LIMIT 1"
            )
            return pid
        return None

    async def fetch(self, query: str, *arguments: Any) -> Any:
        """The single value of a query, without proxies."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def postgres_answers(self) -> None:
        """Returns when Postgres has recovered."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.fetch("SELECT 1")
                except (asyncpg.PostgresError, OSError):
                    await asyncio.sleep(0.05)
                else:
                    return

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _open_postgres(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.cluster.data_dir / ".s.PGSQL.5432"))

    def _order(self, order: dict[str, Any]) -> None:
        assert self._zygote is not None
        assert self._zygote.stdin is not None
        self._zygote.stdin.write(json.dumps(order).encode() + b"\n")

    async def _listen(self, zygote: asyncio.subprocess.Process) -> None:
        assert zygote.stdout is not None
        # A line of a child may arrive before the zygote has reported its pid.
        early: dict[int, list[dict[str, Any]]] = {}
        async for line in zygote.stdout:
            event = json.loads(line)
            if event["event"] == "started":
                child = self._starting.pop(event["start"])
                child.pid = event["child"]
                self._children[child.pid] = child
                child.forked.set()
                for waiting in early.pop(child.pid, ()):
                    self._note(child, waiting)
            elif (pid := event.get("child", event["pid"])) in self._children:
                self._note(self._children[pid], event)
            else:
                early.setdefault(pid, []).append(event)

    def _note(self, child: Child, event: dict[str, Any]) -> None:
        kind: Literal["fired", "ready", "did", "refused", "error", "exited"] = event["event"]
        if kind == "fired":
            child.fired = event["point"]
        elif kind == "did":
            child.told.put_nowait(event["answer"])
        elif kind in ("error", "refused"):
            child.error = str(event.get("error") or event.get("code"))
        if kind == "exited":
            child.status = event["status"]
            child.ended.set()
            del self._children[child.pid]
            if not child.ready.is_set():
                child.error = child.error or f"ended with status {child.status}"
        if kind in ("ready", "error", "exited"):
            child.ready.set()


@contextlib.asynccontextmanager
async def stack(**settings: Any) -> AsyncIterator[Stack]:
    """A started stack in a temporary directory; `settings` are those of the cluster."""
    defaults: dict[str, Any] = {"shared_buffers_mb": 64, "max_wal_size_mb": 1024, "min_wal_size_mb": 80, "extra": QUICK}
    with temporary_directory() as place:
        made = Stack(place, ClusterSettings(**{**defaults, **settings}))
        try:
            await made.start()
            yield made
        finally:
            await made.stop()


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
