"""A worker that stalls in the middle of a batch: others continue, and it is replaced."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import aiohttp
import asyncpg
import pytest

from fixtures.ingest import Client, Session, eventually, start_worker, stored_steps
from fixtures.server import free_port
from stepwell_ingest.config import Config, Timeouts
from stepwell_ingest.config_json import encode
from stepwell_ingest.server.children import Children

pytestmark = pytest.mark.db

#: A trigger that blocks COPY for as long as the test needs.
STANDS = """
CREATE FUNCTION public.stand() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$;
CREATE TRIGGER stand BEFORE INSERT ON stepwell.hot_object FOR EACH ROW EXECUTE FUNCTION public.stand();
SELECT pg_advisory_lock(4711)
"""
OPEN = """SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stepwell' AND state LIKE 'idle in transaction%'"""
WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@dataclass
class Stopped:
    """A worker process that was suspended in a transaction that has moved the position of `session`."""

    children: Children
    pid: int
    url: str
    session: Session
    said: list[str] = field(default_factory=list)


@pytest.fixture
async def stopped(postgres_dsn: str, pg: asyncpg.Connection, request: pytest.FixtureRequest) -> AsyncIterator[Stopped]:
    said: list[str] = []
    children = Children(said.append, request.param)
    config = Config(postgres_dsn, port=free_port(), timeouts=Timeouts(hung_s=request.param))
    url = (await children.start("worker", "stepwell_ingest.server.worker_process", encode(config)))["url"]
    pid = next(iter(children._processes)).pid
    session = Session(writer="stuck")
    async with aiohttp.ClientSession(url) as http:
        await http.post("/v1/attach", json=session.attach())
        await http.post("/v1/frames", data=session.frame())
        await pg.execute(STANDS)
        frame = session.frame(objects=[(1, "note", "text")])
        with pytest.raises((TimeoutError, aiohttp.ClientError)):
            await _stop_in_a_batch(http, frame, pg, pid)
    yield Stopped(children, pid, url, session, said)
    await children.kill()


async def _stop_in_a_batch(http: aiohttp.ClientSession, frame: bytes, pg: asyncpg.Connection, pid: int) -> None:
    async def stop() -> None:
        await eventually(lambda: _some(pg, WAITS))
        os.kill(pid, signal.SIGSTOP)
        await pg.execute("SELECT pg_advisory_unlock(4711)")

    stopping = asyncio.create_task(stop())
    try:
        async with asyncio.timeout(5.0):
            await http.post("/v1/frames", data=frame)
    finally:
        await stopping


async def _repeat_last_frame(client: Client, session: Session) -> None:
    """Connects the writer of a stalled worker, and sends its second frame until it is stored."""
    await client.attach(session)
    session.seq = session.step = 1
    await client.send(session.frame())
    await client.hear_acks(1)


async def _some(pg: asyncpg.Connection, query: str) -> bool:
    return bool(await pg.fetchval(query))


@pytest.mark.parametrize("stopped", [3600.0], indirect=True)
async def test_stalled_worker_does_not_block_other_workers(
    stopped: Stopped, postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    """They do not wait either if the locked writer connects to their worker."""
    others = [Session(writer=str(rank)) for rank in range(3)]
    await eventually(lambda: _some(pg, OPEN))
    async with start_worker(postgres_dsn) as worker, Client(worker) as moved:
        moving = asyncio.create_task(_repeat_last_frame(moved, stopped.session))
        for other in others:
            async with Client(worker) as client:
                await client.attach(other)
                for seq in range(5):
                    await client.send(other.frame(keys=(f"new-{seq}",)))
                await client.hear_acks(5)
        assert await _some(pg, OPEN)  # it was blocked all the time
        assert not moving.done()
        os.kill(stopped.pid, signal.SIGKILL)
        await moving
    assert await stored_steps(pg, "stuck") == [0, 1]


@pytest.mark.parametrize("stopped", [2.0], indirect=True)
async def test_stalled_worker_is_killed_and_replaced(stopped: Stopped, pg: asyncpg.Connection) -> None:
    await eventually(lambda: len(stopped.said) > 1)
    assert stopped.said[0] == f"worker {stopped.pid} has not responded for 2 s, so it is killed"
    assert stopped.said[1] == f"worker {stopped.pid} ended with exit code -9; starting another one"
    session = stopped.session
    async with aiohttp.ClientSession(stopped.url) as http:

        async def stores() -> bool:
            session.seq = session.step = 1
            try:
                return (await http.post("/v1/frames", data=session.frame())).status == 200
            except aiohttp.ClientError:
                return False

        await eventually(stores)
    assert not await _some(pg, OPEN)
    assert await stored_steps(pg, "stuck") == [0, 1]
