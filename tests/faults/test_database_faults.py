"""Temporary states of the database: a full disk, a read-only server, a dropped partition, a migration.

Each test ends with the judge. Numbers in brackets are those of the list of faults in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import numpy as np
import pytest

import stepwell_schema
from faults.service import PROJECT, Logger, Service, service
from fixtures.ingest import Session, eventually, get, post
from stepwell import wire
from stepwell.errors import UnavailableError
from stepwell_ingest.db import migrate as migrations
from stepwell_ingest.db.cluster import Cluster
from stepwell_schema import Migration

pytestmark = pytest.mark.db

#: More than a segment of the WAL, whose files have their full size from the beginning; less than four wide frames.
_DISK_BYTES = 24 << 20
_OURS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'stepwell'"


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        yield made


def _wide_frame(session: bytes, seq: int) -> bytes:
    """8 MB of points."""
    rows, keys = np.arange(1000, dtype=np.int64), wire.pack_names([f"metric/{i}" for i in range(1000)])
    return wire.encode(session, seq, [wire.Block(keys, rows + 1000 * seq, rows, np.ones((1000, 1000)))])


@contextmanager
def files_that_cannot_grow(cluster: Cluster, pids: list[int]) -> Iterator[None]:
    """Limits the size of files for these processes of Postgres and their later children, like a full disk."""
    owner = cluster.data_dir.stat()
    whose = {"user": owner.st_uid, "group": owner.st_gid} if owner.st_uid != os.getuid() else {}

    def limit(soft: str) -> None:
        for pid in pids:
            command = ["prlimit", f"--pid={pid}", f"--fsize={soft}:"]
            subprocess.run(command, check=True, **whose)

    limit(str(_DISK_BYTES))
    try:
        yield
    finally:
        limit("unlimited")


async def test_full_disk_is_waited_for(  # [38]
    stepwell: Service, pg: asyncpg.Connection, pg_cluster: Cluster
) -> None:
    session = Session(project=PROJECT)
    assert (await post(stepwell.worker, "/v1/attach", session.attach()))[0] == 200
    frames = [_wide_frame(session.id, seq) for seq in range(5)]
    assert pg_cluster.pid is not None
    pids = [pg_cluster.pid, *(row["pid"] for row in await pg.fetch(f"SELECT pid {_OURS}"))]
    with files_that_cannot_grow(pg_cluster, pids):
        answers = [await _post(stepwell, frame) for frame in frames[:4]]
        full = next(number for number, answer in enumerate(answers) if answer is not None)
        assert answers[full] == (503, "unavailable", True)
        status, body, _ = await get(stepwell.worker, "/readyz")
        assert (status, "no batch was stored for" in body, "could not extend file" in body) == (503, True, True)
        assert await pg.fetchval("SELECT next_seq FROM stepwell.ledger") == full
    assert [await _post(stepwell, frame) for frame in frames] == [None] * 5
    assert (await get(stepwell.worker, "/readyz"))[0] == 200
    assert await pg.fetchval("SELECT array_agg(seq ORDER BY seq) FROM stepwell.hot_block") == list(range(5))
    assert await pg.fetchval("SELECT count(*) FROM stepwell.rejection") == 0


async def _post(stepwell: Service, frame: bytes) -> tuple[int, str, bool] | None:
    """Retries until the frame is stored (None) or refused for another reason: status, code, retryable."""
    while True:
        status, reply, _ = await post(stepwell.worker, "/v1/frames", io.BytesIO(frame))
        if status == 200:
            return None
        error = reply["error"]
        if "could not extend file" in str(error["detail"]) or error["code"] != "unavailable":
            return status, error["code"], error["retryable"]
        assert "TimeoutError" in str(error["detail"]), error  # the worker has short timeouts here


async def test_read_only_server_is_waited_for(stepwell: Service, pg: asyncpg.Connection) -> None:  # [38]
    """The state that a worker sees if its DSN leads to a standby for a while."""
    logger, database = stepwell.logger(), await pg.fetchval("SELECT current_database()")
    logger.log(20)
    assert await logger.flush()
    for only_reads in (True, False):
        await pg.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = {only_reads}")
        await pg.execute(f"SELECT pg_terminate_backend(pid) {_OURS}")
        logger.log(20)
        assert await logger.flush(1.0 if only_reads else 60.0) is not only_reads
    assert (await stepwell.verdict()).clean


async def test_partition_dropped_during_copy_is_recreated(  # [39]
    stepwell: Service, pg: asyncpg.Connection, postgres_dsn: str
) -> None:
    await pg.execute(
        """
        CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;
        CREATE TRIGGER wait BEFORE INSERT ON stepwell.hot_object FOR EACH ROW EXECUTE FUNCTION public.wait();
        SELECT pg_advisory_lock(4711)
        """
    )
    month = await pg.fetchval("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY_MM')")
    logger, other = stepwell.logger(), await asyncpg.connect(postgres_dsn)
    try:
        logger.log(50)
        await eventually(lambda: _waits(pg, "advisory"))
        dropping = asyncio.create_task(other.execute(f"DROP TABLE stepwell.hot_object_{month}"))
        await eventually(lambda: _waits(pg, "relation"))  # waits for the COPY, which is cancelled after a while
        await dropping
        await pg.execute("SELECT pg_advisory_unlock(4711)")
        assert not await logger.flush(0.5)
        await eventually(lambda: _told(logger, "there is no partition for this run"))
        await pg.execute("SELECT stepwell.ensure_partitions_v1((clock_timestamp() AT TIME ZONE 'UTC')::date, 1)")
        assert await logger.flush()
    finally:
        await other.close()
    assert (await stepwell.verdict()).clean


def _told(logger: Logger, reason: str) -> bool:
    stream = logger.run._session.sender.stream
    return stream is not None and reason in str(stream.last_error)


async def _waits(pg: asyncpg.Connection, kind: str) -> bool:
    return bool(await pg.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = $1", kind))


@pytest.mark.parametrize("held", [False, True], ids=["under load", "under load, and behind a long transaction"])
async def test_migration_under_load_blocks_nobody(  # [40]
    stepwell: Service, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, held: bool
) -> None:
    sql = "ALTER TABLE stepwell.ledger ADD COLUMN more int; ALTER TABLE stepwell.hot_block ADD COLUMN more int"
    extra = Migration("0999_more", sql, hashlib.sha256(sql.encode()).hexdigest())
    known = stepwell_schema.migrations()
    monkeypatch.setattr(stepwell_schema, "migrations", lambda: [*known, extra])
    monkeypatch.setattr(migrations, "_DDL_LOCK_TIMEOUT", "300ms" if held else "5s")
    loggers, ended = [stepwell.logger(name) for name in "0123"], asyncio.Event()

    async def load(number: int) -> None:
        while not ended.is_set():
            loggers[number].log(30)
            assert await loggers[number].flush()

    connection, other = await asyncpg.connect(postgres_dsn), await asyncpg.connect(postgres_dsn)
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(len(loggers)):
                group.create_task(load(number))
            await eventually(lambda: _stored(other))
            if held:
                async with other.transaction():
                    await other.fetch("SELECT FROM stepwell.hot_block LIMIT 1")
                    with pytest.raises(UnavailableError, match=r"0999_more\.sql waited 300ms for a table"):
                        await migrations.migrate(connection)
                    for logger in loggers:
                        assert await logger.flush()  # while the long transaction is still open
            else:
                assert "0999_more" in await migrations.migrate(connection)
            ended.set()
    finally:
        await connection.close()
        await other.close()
    assert (await stepwell.verdict()).clean


async def _stored(connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval("SELECT count(*) = 4 FROM stepwell.ledger WHERE next_seq > 0"))
