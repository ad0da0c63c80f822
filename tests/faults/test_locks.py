"""Locked rows stop only those that need them.

In each test, the lock is still held when unrelated writers are acknowledged, which proves without a clock that they do
not wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from fixtures.ingest import Client, Session, WritePath, post, start_worker, stored_steps
from stepwell_ingest.config import Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

LEDGER = (
    "SELECT FROM stepwell.ledger WHERE run_id IN (SELECT run_id FROM stepwell.run WHERE name = 'locked') FOR UPDATE"
)
RUN = "SELECT FROM stepwell.run WHERE name = 'locked' FOR UPDATE"
WRITER = "SELECT FROM stepwell.writer w JOIN stepwell.run r USING (run_id) WHERE r.name = 'locked' FOR UPDATE OF w"


@asynccontextmanager
async def held(pg: asyncpg.Connection, query: str) -> AsyncIterator[None]:
    """Locks the rows of a query while the block runs."""
    async with pg.transaction():
        assert await pg.fetch(query)
        yield


@asynccontextmanager
async def attached(worker: Worker, *sessions: Session) -> AsyncIterator[list[Client]]:
    clients = [Client(worker) for _ in sessions]
    try:
        for client, session in zip(clients, sessions, strict=True):
            await client.__aenter__()
            assert (await client.attach(session))["type"] == "attached"
        yield clients
    finally:
        for client in clients:
            await client.__aexit__()


async def test_locked_ledger_rows_block_only_their_writers(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    stuck = [Session(run="locked", writer=str(rank)) for rank in range(4)]
    others = [Session(writer=str(rank)) for rank in range(3)]
    async with attached(any_worker, *stuck, *others) as clients:
        for client, session in zip(clients, [*stuck, *others], strict=True):
            assert (await client.exchange(session.frame()))["type"] == "ack"
        async with held(any_pg, LEDGER):
            for round_ in range(2, 12):
                for client, session in zip(clients, [*stuck, *others], strict=True):
                    await client.send(session.frame())
                for client in clients[len(stuck) :]:
                    assert (await client.hear_acks(round_))["stored"] == 1
        for client in clients[: len(stuck)]:  # no sender saw an error, and everything is stored now
            assert (await client.hear_acks(11))["stored"] == 10
    for session in stuck:
        assert await stored_steps(any_pg, session.writer, "locked") == list(range(11))


async def test_writer_that_stays_locked_is_told_why(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    session = Session(run="locked")
    async with start_worker(any_postgres_dsn, timeouts=Timeouts(locked_s=0.2)) as worker, Client(worker) as client:
        await client.attach(session)
        await client.exchange(session.frame())
        async with held(any_pg, LEDGER):
            error = await client.exchange(session.frame())
            assert (error["type"], error["code"], error["retryable"]) == ("error", "locked", True)
            assert error["message"] == "writer 0 or its run is locked by another transaction in Postgres"


@pytest.mark.parametrize("what", [RUN, WRITER], ids=["the run", "its writers"])
async def test_only_attaches_to_a_locked_run_wait(any_postgres_dsn: str, any_pg: asyncpg.Connection, what: str) -> None:
    async with start_worker(any_postgres_dsn, timeouts=Timeouts(locked_s=60.0)) as worker:
        await _others_attach_meanwhile(worker, any_pg, what)


async def _others_attach_meanwhile(worker: Worker, pg: asyncpg.Connection, what: str) -> None:
    await post(worker, "/v1/attach", Session(run="locked").attach())
    async with held(pg, what):
        ranks = [Session(run="locked", writer=str(rank)).attach() for rank in range(1, 20)]
        ranks += [Session(run="locked", writer=f"+{rank}").attach(resume="allow") for rank in range(20)]
        waiting = [
            asyncio.create_task(post(worker, "/v1/attach", rank)) for rank in [*ranks, Session(run="locked").attach()]
        ]
        others = [Session(run=f"run-{number}") for number in range(70)]
        answers = await asyncio.gather(*(post(worker, "/v1/attach", other.attach()) for other in others))
        assert {status for status, _, _ in answers} == {200}
        for other in others[:3]:
            assert (await post(worker, "/v1/frames", other.frame()))[0] == 200
        # New writers of the run do not wait for locked writers.
        assert not any(task.done() for task in (waiting if what == RUN else waiting[-1:]))
    assert {status for status, _, _ in await asyncio.gather(*waiting)} == {200}


async def test_attach_to_a_run_that_stays_locked_is_told_why(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    async with start_worker(any_postgres_dsn, timeouts=Timeouts(locked_s=0.2, failing_s=0.0)) as worker:
        await post(worker, "/v1/attach", Session(run="locked").attach())
        async with held(any_pg, RUN):
            for more in ({}, {"resume": "must"}):
                status, reply, _ = await post(worker, "/v1/attach", Session(run="locked").attach(**more))
                assert (status, reply["error"]["code"]) == (503, "locked")
                assert "run team/mnist/locked is locked by another transaction" in reply["error"]["message"]
        for check in worker.services.checks:
            check()  # a problem of one run does not make the worker unready


async def test_new_names_of_a_locked_run_block_no_other_run(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    stuck, other, third = Session(run="locked"), Session(), Session(run="run-2")
    async with attached(any_worker, stuck, other, third) as clients:
        async with held(any_pg, RUN):
            await clients[0].send(stuck.frame(keys=("new",)))
            for client, session in zip(clients[1:], (other, third), strict=True):
                for name in ("a", "b", "c"):  # new names, which a batch looks up for all its runs together
                    assert (await client.exchange(session.frame(keys=(name,))))["type"] == "ack"
        assert (await clients[0].hear())["stored"] == 1


async def test_superseded_epochs_may_be_locked(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    first, second, other = Session(run="locked"), Session(run="locked"), Session()
    await post(any_worker, "/v1/attach", first.attach())
    await post(any_worker, "/v1/frames", first.frame(5))
    async with attached(any_worker, second, other) as (client, neighbour):
        async with held(any_pg, LEDGER.replace("FOR UPDATE", "AND fenced FOR UPDATE")):
            await client.send(second.frame())
            for _ in range(5):
                assert (await neighbour.exchange(other.frame()))["type"] == "ack"
        assert (await client.hear())["stored"] == 1
    assert await stored_steps(any_pg, run="locked") == [0]


async def test_finish_waits_only_for_its_run(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    stuck = [Session(run="locked", writer=str(rank)) for rank in range(8)]
    others = [Session(run=f"run-{number}") for number in range(8)]
    async with attached(any_worker, *stuck, *others) as clients:
        async with held(any_pg, RUN):
            for client in clients:
                await client.say({"type": "finish", "exit_code": 0})
            for client in clients[len(stuck) :]:
                assert (await client.hear())["type"] == "finished"
        for client in clients[: len(stuck)]:
            assert (await client.hear())["type"] == "finished"
    assert await any_pg.fetchval("SELECT count(*) FROM stepwell.run WHERE state = 'finished'") == 9


async def test_locked_runs_do_not_delay_crash_detection(write_path: WritePath, any_pg: asyncpg.Connection) -> None:
    for run in ("locked", "run-1"):
        await write_path.attach(Session(run=run))
    await any_pg.execute("UPDATE stepwell.writer SET heartbeat_at = heartbeat_at - interval '1 hour'")
    async with held(any_pg, RUN):
        await write_path.pool.execute("SELECT stepwell.reap_v1('1 min')")
        states = "SELECT name, state FROM stepwell.run"
        assert dict(await write_path.pool.fetch(states)) == {"locked": "running", "run-1": "crashed"}
