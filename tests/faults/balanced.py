"""A stack whose workers listen on ports of their own, behind HAProxy with the configuration in `deploy/`.

writers, syncs  →  web proxy  →  HAProxy  →  workers (a port each)  →  …
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from faults.harness import PATIENCE_S, QUICK, Stack, free_port
from faults.programs import Worker
from fixtures.postgres import temporary_directory
from stepwell_ingest.db.cluster import ClusterSettings

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"


class BalancedStack(Stack):
    """Attributes: ports: those of the workers. `port` is HAProxy's."""

    def __init__(self, place: Path, settings: ClusterSettings, workers: int) -> None:
        super().__init__(place, settings)
        self.ports = [free_port() for _ in range(workers)]
        self._haproxy: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        await super().start()
        program = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program, "HAProxy is missing: apt-get install haproxy"
        file = self.place / "haproxy.cfg"
        file.write_text(configuration(self.port, self.ports))
        log = await asyncio.to_thread((self.place / "haproxy.log").open, "ab")
        self._haproxy = await asyncio.create_subprocess_exec(program, "-db", "-f", str(file), stdout=log, stderr=log)
        log.close()
        async with asyncio.timeout(PATIENCE_S):
            while not await self._listens():
                assert self._haproxy.returncode is None, (self.place / "haproxy.log").read_text()
                await asyncio.sleep(0.05)

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    async def stop(self) -> None:
        if self._haproxy is not None:
            with contextlib.suppress(ProcessLookupError):
                self._haproxy.terminate()
            await self._haproxy.wait()
        await super().stop()

    def worker(self, **named: Any) -> Worker:
        """The settings of a worker on the port that has the fewest."""
        taken = [
            child.program.port
            for child in (*self._children.values(), *self._starting.values())
            if isinstance(child.program, Worker)
        ]
        return Worker(self._proxied, min(self.ports, key=taken.count), blobs=str(self.blobs), **named)


def configuration(port: int, workers: list[int]) -> str:
    """`deploy/haproxy.cfg` with these ports of this machine."""
    text = CONFIGURATION.read_text()
    text, binds = re.subn(r"^    bind .*$", f"    bind 127.0.0.1:{port}", text, flags=re.MULTILINE)
    text, found = re.subn(r"^    server .*\n", "", text, flags=re.MULTILINE)
    assert (binds, found) == (1, 2)
    return text + "".join(f"    server s{port} 127.0.0.1:{port} check\n" for port in workers)


@contextlib.asynccontextmanager
async def balanced(workers: int) -> AsyncIterator[BalancedStack]:
    """A started stack without workers, in a temporary directory."""
    settings = ClusterSettings(shared_buffers_mb=64, max_wal_size_mb=1024, min_wal_size_mb=80, extra=QUICK)
    with temporary_directory() as place:
        made = BalancedStack(place, settings, workers)
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
