"""A worker in the event loop of a test, with a proxy on each side and writers that keep journals, for network faults.

    Logger (a real Run)  →  web proxy  →  Worker  →  Postgres proxy  →  Postgres  ←  judge

The input is a fresh database. The worker is the real one, with short timeouts.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest import mock

from faults.journal import Journal
from faults.judge import Judge, Verdict
from faults.payload import payload
from faults.postgres_wire import PostgresWire
from faults.programs import LIMITS, TIMEOUTS, aged
from faults.proxy import Proxy
from faults.web_wire import WebWire
from stepwell.runs import session as _session
from stepwell.runs.run import Run
from stepwell.settings import resolve
from stepwell_ingest.config import Config, Timeouts
from stepwell_ingest.db.cluster import Cluster
from stepwell_ingest.server.worker import Worker

PROJECT = "faults"
RUN = "run"
#: Short timeouts of the SDK.
IMPATIENT = dataclasses.replace(TIMEOUTS, connect_s=0.5, heartbeat_s=0.4, retry_max_s=0.1)
#: Short timeouts of the worker.
SHORT = Timeouts(statement_s=0.7, connect_s=0.7, failing_s=0.0, drain_s=5.0, heartbeat_s=1.0)


class Logger:
    """A writer in this process, with its journal.

    Args:
        first_step: the first step that it logs.
        age_s: the age of the process in seconds.
    """

    def __init__(self, url: str, place: Path, name: str = "0", first_step: int = 0, age_s: float = 0.0) -> None:
        self.name = name
        self.journal = place / f"{name}-{first_step}.journal"
        self._notes = Journal(self.journal)
        settings = resolve({}, url=url, dir=place, project=PROJECT, run_id=RUN, writer=name, silent="1")
        with mock.patch.object(_session, "uptime_s", aged(_session.uptime_s, age_s)):
            self.run = Run(dataclasses.replace(settings, timeouts=IMPATIENT, limits=LIMITS), {})
            self.run.open()
        assert self.run._session is not None
        self._notes.opened(self.run._session.id, name)
        self._next = first_step

    def log(self, count: int) -> None:
        """Logs `count` steps, all of them closed."""
        for _ in range(count):
            step, self._next = self._next, self._next + 1
            self._notes.logging(step)
            self.run.log(payload(RUN, self.name, step), step=step, commit=True)

    async def flush(self, timeout_s: float | None = 60.0) -> bool:
        """Whether everything was acknowledged."""
        last = self._next - 1
        done = await self.run.flush(timeout_s)
        if done:
            self._notes.acknowledged(last)
        return done

    async def finish(self) -> None:
        await asyncio.to_thread(self.run.finish)
        self._notes.finished(self.run.account)


class Service:
    """A worker with its proxies and writers, made by `service`."""

    def __init__(self, dsn: str, cluster: Cluster, place: Path) -> None:
        self.dsn = dsn
        self.place = place
        self.database = dsn.partition("?")[0].rpartition("/")[2]
        self.postgres = Proxy(lambda: asyncio.open_connection("127.0.0.1", cluster.port), PostgresWire)
        self.web = Proxy(lambda: asyncio.open_connection("127.0.0.1", _port(self.worker)), WebWire)
        self.loggers: list[Logger] = []

    async def start(self) -> None:
        await self.postgres.start()
        await self.web.start()
        self.worker = await self.start_worker()

    async def start_worker(self) -> Worker:
        """Starts another worker on a separate port."""
        dsn = f"postgresql://stepwell@127.0.0.1:{self.postgres.port}/{self.database}?sslmode=disable"
        worker = Worker(Config(dsn, port=0, timeouts=SHORT))
        await worker.start()
        return worker

    def logger(self, name: str = "0", **options: Any) -> Logger:
        """Starts a writer that uses the web proxy."""
        self.loggers.append(Logger(f"http://127.0.0.1:{self.web.port}", self.place, name, **options))
        return self.loggers[-1]

    async def verdict(self) -> Verdict:
        """Finishes all loggers, then returns the verdict of the judge."""
        await asyncio.gather(*(logger.finish() for logger in self.loggers))
        return await Judge(self.dsn, PROJECT).verdict({RUN: [logger.journal for logger in self.loggers]})

    async def stop(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(logger.run.finish) for logger in self.loggers))
        await self.web.stop()
        with contextlib.suppress(AttributeError):
            await self.worker.stop()
        await self.postgres.stop()


@contextlib.asynccontextmanager
async def service(dsn: str, cluster: Cluster, place: Path) -> AsyncIterator[Service]:
    """A started service; at the end, the data of its loggers is delivered or left in their spools."""
    made = Service(dsn, cluster, place)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


def _port(worker: Worker) -> int:
    return int(worker.url.rpartition(":")[2])
