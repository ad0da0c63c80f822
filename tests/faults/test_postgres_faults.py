"""Faults between worker and Postgres: the ledger settles an ambiguous COMMIT, a stuck connection stops no worker.

Each test ends with the judge. Numbers in brackets are those of the list of faults in docs/guarantees.md.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import asyncpg
import numpy as np
import pytest

from faults.postgres_wire import command_complete
from faults.proxy import Action, Rule
from faults.service import PROJECT, Service, service
from stepwell import wire
from stepwell_ingest.db.cluster import Cluster

pytestmark = pytest.mark.db


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        yield made


@pytest.mark.parametrize(
    ("at", "after"),
    [("> COMMIT", False), ("> COMMIT", True), ("< COMMIT", False)],
    ids=["before COMMIT", "COMMIT was sent", "COMMIT was answered"],
)
async def test_ambiguous_commit_is_settled_by_the_ledger(  # [34]
    stepwell: Service, at: str, after: bool
) -> None:
    await _survives(stepwell, *(Rule(at, action, after=after) for action in (Action.CUT, Action.RESET, Action.HANG)))


@pytest.mark.parametrize(
    ("at", "after"),
    [("> CopyData", False), ("> CopyData", True), ("> CopyDone", False), ("> CopyDone", True), ("< COPY", False)],
    ids=["before the rows", "the rows were sent", "before CopyDone", "CopyDone was sent", "COPY was answered"],
)
async def test_incomplete_copy_is_repeated(  # [35] [42]
    stepwell: Service, at: str, after: bool
) -> None:
    await _survives(stepwell, *(Rule(at, action, after=after) for action in (Action.CUT, Action.RESET, Action.HANG)))


async def _survives(stepwell: Service, *rules: Rule) -> None:
    loggers = [stepwell.logger(name) for name in "01"]
    for rule in rules:
        stepwell.postgres.rules.append(rule)
        while not rule.fired:
            for logger in loggers:
                logger.log(40)
            for logger in loggers:
                assert await logger.flush()
    assert (await stepwell.verdict()).clean


async def test_copy_that_postgres_does_not_read_is_cancelled(stepwell: Service) -> None:  # [42]
    """The link accepts bytes until all buffers are full."""
    stalled = Rule("> CopyData", Action.STALL)
    stepwell.postgres.rules.append(stalled)
    session = bytes(range(16))
    rows = np.arange(1000, dtype=np.int64)
    keys = wire.pack_names([f"metric/{i}" for i in range(1000)])
    frame = wire.encode(session, 0, [wire.Block(keys, rows, rows, np.ones((1000, 1000)))])
    attach = {"type": "attach", "protocol": 1, "entity": "default", "project": PROJECT, "run": "wide", "writer": "0"}
    async with aiohttp.ClientSession(stepwell.worker.url) as client:
        async with client.post("/v1/attach", json={**attach, "session": session.hex()}) as reply:
            assert reply.status == 200
        async with client.post("/v1/frames", data=io.BytesIO(frame)) as reply:
            assert (reply.status, stalled.fired) == (503, 1)
        stepwell.postgres.end_all(Action.RESET)
        while True:
            async with client.post("/v1/frames", data=io.BytesIO(frame)) as reply:
                if reply.status == 200:
                    break
                assert reply.status == 503
    assert stepwell.worker.services.batcher.idle


async def test_postgres_notices_a_lost_worker_host(stepwell: Service) -> None:  # [38]
    """Until then, the ledger rows of the running COPY are locked for all other workers."""
    pool = stepwell.worker._pool
    assert pool is not None
    assert await pool.fetchval("SHOW tcp_keepalives_idle") == "15"
    assert await pool.fetchval("SHOW idle_in_transaction_session_timeout") != "0"


async def test_wrong_row_count_rolls_back_the_batch(stepwell: Service) -> None:  # [36]
    await _survives(stepwell, Rule("< COPY", lambda _: command_complete(b"COPY 0")))


async def test_very_long_error_text_does_not_hang(stepwell: Service, pg: asyncpg.Connection) -> None:
    await pg.execute(  # [43]
        """
        CREATE FUNCTION pg_temp_refuse() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION '%', repeat('long ', 100000); END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON stepwell.hot_block FOR EACH ROW EXECUTE FUNCTION pg_temp_refuse()
        """
    )
    logger = stepwell.logger()
    logger.log(50)
    assert not await logger.flush(0.5)
    await pg.execute("DROP TRIGGER refuse ON stepwell.hot_block")
    assert await logger.flush()
    assert (await stepwell.verdict()).clean


async def test_same_frames_at_two_workers_are_stored_once(stepwell: Service) -> None:  # [31]
    stepwell.web.rules.append(Rule("> frames", Action.CUT, count=None))
    other = await stepwell.start_worker()
    loggers = [stepwell.logger(name) for name in "0123"]
    try:
        for _ in range(5):
            for logger in loggers:
                logger.log(60)
                await logger.flush(0.05)  # into the spool only
            bodies = [b"".join(_waiting(logger)) for logger in loggers]
            body = b"".join(bodies)
            async with aiohttp.ClientSession() as client:
                statuses = await asyncio.gather(
                    *(
                        _post(client, worker.url, data)
                        for worker in (stepwell.worker, other)
                        for data in (body, *bodies)
                    )
                )
            assert set(statuses) <= {200, 503, 409}
        stepwell.web.rules.clear()
        for logger in loggers:
            assert await logger.flush()
        assert (await stepwell.verdict()).clean
    finally:
        await other.drain()
        await other.stop()


def _waiting(logger: object) -> list[bytes]:
    outbox = logger.run._session.sender._outbox  # type: ignore[attr-defined]
    frames: list[bytes] = outbox.read(outbox.first_seq, 1 << 24, 64)
    return frames


async def _post(client: aiohttp.ClientSession, url: str, body: bytes) -> int:
    async with client.post(f"{url}/v1/frames", data=body) as reply:
        await reply.read()
        return reply.status
