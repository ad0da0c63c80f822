"""A failover: the primary is lost, its standby takes over, and the address of the database points to it. [38]

With synchronous replication, the standby has every acknowledged COMMIT, so nothing acknowledged is lost. Without it,
Postgres promises nothing, and neither does Stepwell (docs/guarantees.md, promise 1).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest

from faults.postgres_wire import PostgresWire
from faults.proxy import Action, Proxy
from faults.service import Service
from fixtures.postgres import temporary_directory
from stepwell_ingest.db import datadir
from stepwell_ingest.db.cluster import Cluster, ClusterSettings, embedded_binaries

pytestmark = [pytest.mark.db, pytest.mark.slow]

QUICK = {"shared_buffers_mb": 64, "max_wal_size_mb": 256, "min_wal_size_mb": 80}


def standby_of(primary: Cluster, place: Path) -> Cluster:
    """A copy of a stopped cluster that replicates it until it is promoted."""
    source = f"host={primary.data_dir} port=5432 user={datadir.ROLE}"
    made = Cluster(place, primary.bin_dir, ClusterSettings(**QUICK, extra={"primary_conninfo": source}))
    shutil.copytree(primary.data_dir, made.data_dir)
    (made.data_dir / "standby.signal").touch()
    made.data_dir.chmod(0o700)
    return made


class Pair:
    """A primary, its synchronous standby, and a service whose database is the one in `active`."""

    def __init__(self, place: Path, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self.primary = Cluster(place / "a" / "data", embedded_binaries(), ClusterSettings(**QUICK))
        self._copy = place / "b" / "data"
        self.active = self.primary

    async def start(self) -> None:
        await self.run(self.primary.start)
        await self.run(self.primary.stop)
        self.standby = standby_of(self.primary, self._copy)
        await self.run(self.primary.start)
        await self.run(self.standby.start)
        await self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        await self.wait_for("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")

    async def fail_over(self) -> None:
        """Kills the primary."""
        await self.run(lambda: self.primary.stop("immediate"))
        self.active = self.standby
        await self.execute("SELECT pg_promote()")
        await self.wait_for("SELECT NOT pg_is_in_recovery()")

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.active.data_dir / ".s.PGSQL.5432"))

    async def execute(self, *statements: str) -> None:
        connection = await asyncpg.connect(self.active.dsn())
        for sql in statements:
            await connection.execute(sql)
        await connection.close()

    async def wait_for(self, sql: str) -> None:
        connection = await asyncpg.connect(self.active.dsn())
        async with asyncio.timeout(60):
            while not await connection.fetchval(sql):  # noqa: ASYNC110 - Postgres sends no event
                await asyncio.sleep(0.02)
        await connection.close()

    async def run(self, work: Callable[[], None]) -> None:
        """Runs in the thread that owns Postgres."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    with temporary_directory() as place, ThreadPoolExecutor(1) as thread:
        made = Pair(place, thread)
        try:
            await made.start()
            yield made
        finally:
            await made.run(lambda: made.primary.stop("immediate"))
            if hasattr(made, "standby"):
                await made.run(lambda: made.standby.stop("immediate"))


async def test_failover_to_a_synchronous_standby_loses_nothing(pair: Pair, tmp_path: Path) -> None:
    made = Service(pair.primary.dsn(), pair.primary, tmp_path)
    made.postgres = Proxy(pair.open, PostgresWire)
    await made.start()
    try:
        loggers = [made.logger(name) for name in "0123"]
        for _ in range(3):
            for logger in loggers:
                logger.log(200)
            for logger in loggers:
                assert await logger.flush()
        for logger in loggers:
            logger.log(500)  # in flight while the primary dies
        await pair.fail_over()
        made.postgres.end_all(Action.CUT)
        for logger in loggers:
            logger.log(50)
            assert await logger.flush()
        made.dsn = pair.standby.dsn()
        verdict = await made.verdict()
        assert verdict.clean, str(verdict)
        assert verdict.obligations > 4 * 1150
    finally:
        await made.stop()
