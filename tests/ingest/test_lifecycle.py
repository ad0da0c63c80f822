"""Heartbeats: silent and returning writers; an older epoch cannot keep a newer one alive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from fixtures.ingest import PATIENCE_S, Client, Session, eventually, post, start_worker
from stepwell.errors import FencedError, UnavailableError
from stepwell_ingest.config import Timeouts
from stepwell_ingest.server.lifecycle import Lifecycle
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.ledger import LedgerCursor

pytestmark = pytest.mark.db

State = tuple[str, int | None, bool]  # state, exit code, whether it has an end time


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(postgres_dsn, min_size=2, max_size=6) as pool:
        yield pool


def lifecycle(pool: asyncpg.Pool, *attached: LedgerCursor, worker: Worker | None = None) -> Lifecycle:
    """Sends heartbeats and reaps on demand; the workers of these tests first do so after 15 s."""
    if worker is not None:
        return Lifecycle(pool, Timeouts(), worker.services.streams.cursors, worker.services.catalog.cursors)
    return Lifecycle(pool, Timeouts(), lambda: attached, list)


async def age(pg: asyncpg.Connection, writer: str = "%") -> None:
    """Moves the heartbeats of these writers back by an hour."""
    await pg.execute("UPDATE stepwell.writer SET heartbeat_at = now() - interval '1 hour' WHERE name LIKE $1", writer)


async def state(pg: asyncpg.Connection, run: str = "run-1") -> State:
    row = await pg.fetchrow(
        "SELECT state, exit_code, finished_at IS NOT NULL AS ended FROM stepwell.runs WHERE run = $1", run
    )
    return row["state"], row["exit_code"], row["ended"]


RUNNING: State = ("running", None, False)
#: The exit code is unknown.
CRASHED: State = ("crashed", None, True)
FINISHED: State = ("finished", 0, True)


async def test_open_stream_keeps_its_writer_running(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    life = lifecycle(pool, worker=worker)
    async with Client(worker) as client:
        await client.attach(Session())
        for _ in range(3):
            await age(pg)
            await life.beat()
            await life.reap()
            assert await state(pg) == RUNNING


async def test_silent_writer_has_crashed(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    life, session = lifecycle(pool, worker=worker), Session()
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(session.frame())
    await eventually(lambda: not worker.services.streams)
    await life.beat()
    await age(pg)
    await life.beat()
    assert await state(pg) == RUNNING
    await life.reap()
    assert await state(pg) == CRASHED


async def test_recent_writer_is_not_reaped(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    async with Client(worker) as client:
        await client.attach(Session())
    await lifecycle(pool).reap()
    assert await state(pg) == RUNNING


async def test_posts_count_as_heartbeats(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    life, session = lifecycle(pool, worker=worker), Session()
    await post(worker, "/v1/attach", session.attach())
    for _ in range(3):
        await post(worker, "/v1/frames", session.frame())
        await age(pg)
        await life.beat()
    await life.reap()
    assert await state(pg) == RUNNING
    await age(pg)
    await life.beat()
    await life.reap()
    assert await state(pg) == CRASHED


async def test_returning_writer_runs_again(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    life, session = lifecycle(pool, worker=worker), Session()
    async with Client(worker) as client:
        await client.attach(session)
        await age(pg)
        await life.reap()
        assert await state(pg) == CRASHED
        await life.beat()  # the stream was open all the time, and Postgres or the worker was unavailable
        assert await state(pg) == RUNNING
        await age(pg)
        await life.reap()
    async with Client(worker) as client:
        assert await state(pg) == CRASHED
        assert (await client.attach(session))["epoch"] == 1
        assert await state(pg) == RUNNING
        await age(pg)
        await life.reap()
        assert await client.finish(0) == {"type": "finished"}  # more precise than "crashed"
        assert await state(pg) == FINISHED
        await age(pg)
        await life.beat()
        await life.reap()
        assert await state(pg) == FINISHED


async def test_heartbeat_of_a_fenced_epoch_is_ignored(
    worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    old, new = Session(), Session()
    async with Client(worker) as client:
        await client.attach(old)
        cursor = await worker.services.catalog.cursor(old.id)
        await client.attach(new)
        life = lifecycle(pool, cursor)
        await age(pg)
        await life.beat()
        await life.reap()
        assert await state(pg) == CRASHED
        await life.beat()
        assert await state(pg) == CRASHED
        await lifecycle(pool, await worker.services.catalog.cursor(new.id)).beat()
        assert await state(pg) == RUNNING


async def test_late_finish_of_an_old_epoch_is_ignored(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    old, new = Session(), Session()
    async with (
        start_worker(postgres_dsn) as first,
        start_worker(postgres_dsn) as second,
        Client(first) as one,
        Client(second) as two,
    ):
        await one.attach(old)
        cursor = await first.services.catalog.cursor(old.id)
        await two.attach(new)
        with pytest.raises(FencedError):  # a worker that knows only the old epoch
            await first.services.catalog.finish(cursor, 0)
        assert await state(pg) == RUNNING
        assert (await one.finish())["code"] == "fenced"
        assert await state(pg) == RUNNING
        assert await two.finish(3) == {"type": "finished"}
        assert not await pg.fetchval("SELECT stepwell.finish_v1($1, $2, $3, 0)", *cursor.key)
        assert await state(pg) == ("failed", 3, True)


async def test_concurrent_finish_and_restart_leave_it_running(worker: Worker, pg: asyncpg.Connection) -> None:
    async with Client(worker) as one, Client(worker) as two:
        for _ in range(20):
            await one.attach(Session())
            ended, _ = await asyncio.gather(one.finish(), two.attach(Session()))
            assert await state(pg) == RUNNING
            if ended["type"] == "error":
                assert ended["code"] == "fenced"
                await one.__aexit__()
                one = await Client(worker).__aenter__()
        await one.__aexit__()


async def test_concurrent_reapers_reap_each_writer_once(
    worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    for number in range(20):
        await post(worker, "/v1/attach", Session(run=f"run-{number}", writer=str(number % 3)).attach())
    await age(pg)
    counts = await asyncio.gather(
        *(pool.fetchval("SELECT stepwell.reap_v1(interval '1 minute')") for _ in range(4)),
        lifecycle(pool).reap(),
        lifecycle(pool).reap(),
    )
    counts.append(await pool.fetchval("SELECT stepwell.reap_v1(interval '1 minute')"))
    assert sum(count or 0 for count in counts) in (0, 20)  # 0: one of the Lifecycles was faster
    assert counts[-1] == 0
    for number in range(20):
        assert await state(pg, f"run-{number}") == CRASHED


async def test_reaping_and_attaching_do_not_deadlock(
    worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    sessions = [Session(writer=str(number)) for number in range(5)]
    for session in sessions:
        await post(worker, "/v1/attach", session.attach())
    cursors = [await worker.services.catalog.cursor(session.id) for session in sessions]
    for _ in range(10):
        await age(pg)
        # a deadlock would raise an error in one of them
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(
                lifecycle(pool).reap(),
                lifecycle(pool, *cursors).beat(),
                *(post(worker, "/v1/attach", session.attach()) for session in sessions),
            )
    await lifecycle(pool, *cursors).beat()
    assert await state(pg) == RUNNING


async def test_heartbeats_skip_locked_rows(worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    sessions = [Session(writer=str(number)) for number in range(3)]
    for session in sessions:
        await post(worker, "/v1/attach", session.attach())
    cursors = [await worker.services.catalog.cursor(session.id) for session in sessions]
    await age(pg)
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM stepwell.writer WHERE name = '1' FOR UPDATE")
        async with asyncio.timeout(PATIENCE_S):
            await lifecycle(pool, *cursors).beat()
    heard = await pg.fetch(
        "SELECT name FROM stepwell.writer WHERE heartbeat_at > now() - interval '1 minute' ORDER BY 1"
    )
    assert [row["name"] for row in heard] == ["0", "2"]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ([None, "silent"], RUNNING),
        ([0, "silent"], CRASHED),
        ([3, "silent"], ("failed", 3, True)),
        ([0, 0], FINISHED),
        ([0, -15], ("failed", -15, True)),
        (["silent", "silent"], CRASHED),
        ([None, 1, "silent"], RUNNING),
    ],
)
async def test_ended_run_has_the_worst_writer_state(
    worker: Worker, pg: asyncpg.Connection, pool: asyncpg.Pool, ends: list[object], expected: State
) -> None:
    async with Client(worker) as client:
        for number, end in enumerate(ends):
            await client.attach(Session(writer=str(number)))
            if isinstance(end, int):
                await client.finish(end)
        for number, end in enumerate(ends):
            if end == "silent":
                await age(pg, str(number))
        await lifecycle(pool).reap()
        assert await state(pg) == expected


async def test_worker_sends_heartbeats_and_reaps(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    timeouts = Timeouts(beat_s=0.02, silent_s=0.1)
    async with start_worker(postgres_dsn, timeouts=timeouts) as worker:
        session = Session()
        async with Client(worker) as client:
            await client.attach(session)

        async def is_crashed() -> bool:
            return await state(pg) == CRASHED

        async def is_running() -> bool:
            return await state(pg) == RUNNING

        await eventually(is_crashed)
        async with Client(worker) as client:
            await client.attach(session)
            await eventually(is_running)
            await age(pg)
            await eventually(is_running)


async def test_reaping_waits_for_all_workers(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applies at a start, and after Postgres or the process itself was stopped for more than `silent_s`."""
    timeouts, now = Timeouts(beat_s=15, silent_s=120), 0.0
    away = {number: UnavailableError("Postgres is away") for number in range(20, 30)}
    beats, reaped, stands_still = 0, [], {40: 600.0}

    class Watched(Lifecycle):
        async def beat(self) -> None:
            nonlocal beats
            beats += 1
            if beats in away:
                raise away[beats]
            if beats > 60:
                raise asyncio.CancelledError

        async def reap(self) -> None:
            reaped.append(beats)

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += stands_still.get(beats, seconds)

    monkeypatch.setattr("stepwell_ingest.server.lifecycle.time.monotonic", lambda: now)
    monkeypatch.setattr("stepwell_ingest.server.lifecycle.asyncio.sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await Watched(pool, timeouts, list, list).run()
    assert reaped == [*range(9, 20), *range(39, 41), *range(50, 61)]
