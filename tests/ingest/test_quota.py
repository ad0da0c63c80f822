"""Full runs: their frames are rejected and recorded, with the name of the setting; other runs continue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import pytest

from fixtures.ingest import Client, Session, eventually, open_write_path, start_worker, stored_steps
from stepwell import wire
from stepwell.errors import RunFullError
from stepwell_ingest.config import Limits
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.quota import Quota

pytestmark = pytest.mark.db


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota that is checked often."""
    monkeypatch.setattr("stepwell_ingest.write.quota._EVERY_S", 0.01)


async def until_refused(client: Client, session: Session) -> dict[str, object]:
    """The first refusal that the client receives."""
    while True:
        reply = await client.exchange(session.frame())
        assert reply["type"] == "ack"
        if reply["rejected"]:
            return dict(reply["rejected"][0])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("limits", "setting"),
    [(Limits(points_per_run=5), "--points-per-run"), (Limits(bytes_per_run=500), "--bytes-per-run")],
)
async def test_full_run_records_refusals_and_others_continue(
    any_postgres_dsn: str, limits: Limits, setting: str
) -> None:
    connection = await asyncpg.connect(any_postgres_dsn)
    async with start_worker(any_postgres_dsn, limits=limits) as worker, Client(worker) as client:
        session = Session()
        await client.attach(session)
        refusal = await until_refused(client, session)
        assert (refusal["code"], refusal["retryable"]) == ("run_full", False)
        assert setting in str(refusal["hint"])
        stored = await stored_steps(connection)
        assert stored == list(range(session.seq - 1))
        assert await connection.fetchval("SELECT code FROM stepwell.rejections") == "run_full"
        assert (await client.exchange(session.frame()))["rejected"]
        async with Client(worker) as other:
            neighbour = Session(run="run-2")
            await other.attach(neighbour)
            assert (await other.exchange(neighbour.frame()))["stored"] == 1
        assert await stored_steps(connection) == stored
    await connection.close()


@pytest.mark.usefixtures("quick")
async def test_full_run_is_full_everywhere(postgres_dsn: str) -> None:
    limits = Limits(points_per_run=5)
    async with start_worker(postgres_dsn, limits=limits) as worker, Client(worker) as client:
        session = Session()
        await client.attach(session)
        await until_refused(client, session)
    async with start_worker(postgres_dsn, limits=limits) as worker, Client(worker) as client:
        again = Session(writer="1")
        await client.attach(again)
        assert (await until_refused(client, again))["code"] == "run_full"


async def test_quota_counts_stored_bytes(any_postgres_dsn: str) -> None:
    async with open_write_path(any_postgres_dsn) as path:
        session = Session()
        cursor = await path.attach(session)
        frames = [session.frame(3, objects=[(0, "note", "x" * 1000)]), session.frame()]
        session.step = 0
        path.put(cursor, *frames, session.frame())
        await path.store()
        stored = await path.pool.fetchval("SELECT bytes FROM stepwell.ledger")
        assert stored == sum(map(len, frames))


async def test_quota_is_unchanged_when_postgres_fails(any_postgres_dsn: str) -> None:
    async with open_write_path(any_postgres_dsn) as path:
        session = Session()
        cursor = await path.attach(session)
        path.put(cursor, session.frame(10))
        await path.store()
        quota = Quota(path.pool, Limits(points_per_run=10), lambda: [cursor])
        assert quota.refusal(cursor.run_id) is None
        await quota.look()
        refusal = quota.refusal(cursor.run_id)
        assert isinstance(refusal, RunFullError)
        assert refusal.detail == "10 points; the limit is 10"
        await path.pool.execute("ALTER TABLE stepwell.ledger RENAME TO elsewhere")
        looking = asyncio.create_task(quota.run())
        await eventually(lambda: quota._full != {} or looking.done())
        assert not looking.done()
        assert quota.refusal(cursor.run_id) is refusal
        looking.cancel()
        intake: Callable[..., object] = Intake(path.batcher, 100, quota.refusal).take
        intake(cursor, wire.split(session.frame()))
        assert cursor.tail_step == 9  # refused frames do not change the step


async def test_no_quota_no_queries(worker: Worker) -> None:
    assert "quota" not in worker.loops.names
