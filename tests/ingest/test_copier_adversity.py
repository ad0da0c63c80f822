"""Postgres stops, hangs or loses a partition during a batch: nothing is lost, duplicated or unanswered."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from fixtures.ingest import PATIENCE_S, Client, Session, WritePath, assert_empty, eventually, start_worker, stored_steps
from stepwell.errors import SequenceGapError, UnavailableError
from stepwell_ingest.write.batcher import Submission

pytestmark = pytest.mark.db

WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
    "AND query LIKE 'COPY%'"
)


@asynccontextmanager
async def held(dsn: str, table: str = "hot_block") -> AsyncIterator[asyncpg.Connection]:
    """Locks the table against writes; yields the connection that holds the lock."""
    connection = await asyncpg.connect(dsn)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE stepwell.{table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def in_the_middle(connection: asyncpg.Connection) -> int:
    """Waits until a COPY waits for the table; returns its backend."""

    async def there() -> bool:
        await connection.execute("SELECT pg_stat_clear_snapshot()")  # otherwise pg_stat_activity is cached
        return bool(await connection.fetchval(WAITING))

    await eventually(there)
    return int(await connection.fetchval(WAITING))


async def outcome(submission: Submission) -> object:
    """The answer to a submission; fails if there is none."""
    async with asyncio.timeout(PATIENCE_S):
        return (await asyncio.gather(submission.done, return_exceptions=True))[0]


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_terminated_backend_is_retried_and_stored_once(write_path: WritePath, any_postgres_dsn: str) -> None:
    session, neighbour = Session(), Session(writer="1")
    cursor, other = await write_path.attach(session), await write_path.attach(neighbour)
    frames, beside = [session.frame() for _ in range(3)], neighbour.frame()
    submissions = [write_path.put(cursor, *frames), write_path.put(other, beside)]
    async with held(any_postgres_dsn) as holder:
        copier = write_path.start()
        pid = await in_the_middle(holder)
        queued = write_path.put(cursor, session.frame())
        await holder.execute("SELECT pg_terminate_backend($1)", pid)
        for submission in [*submissions, queued]:
            error = await outcome(submission)
            assert isinstance(error, UnavailableError)
            assert error.message == "Postgres could not store a batch"
            assert (
                error.hint
                == "tries succeed again as soon as Postgres is reachable. Meanwhile, frames stay in their spools"
            )
    assert write_path.batcher.idle
    assert await stored_steps(write_path.pool) == []
    fresh, fresh_other = [await write_path.catalog.cursor(item.id) for item in (session, neighbour)]
    again = [write_path.put(fresh, *frames), write_path.put(fresh_other, beside)]
    assert [getattr(await outcome(item), "stored", None) for item in again] == [3, 1]
    await end(copier)
    assert await stored_steps(write_path.pool) == [0, 1, 2]
    assert await stored_steps(write_path.pool, "1") == [0]


async def test_commit_with_lost_answer_is_settled_by_the_ledger(
    write_path: WritePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_: object) -> None:
        raise ConnectionResetError("after COMMIT, before its answer")

    session = Session()
    cursor = await write_path.attach(session)
    frames = [session.frame() for _ in range(3)]
    submission = write_path.put(cursor, *frames)
    with monkeypatch.context() as patch:
        patch.setattr(write_path.metrics, "entries_committed", lost)
        await write_path.store()
    error = await outcome(submission)
    assert isinstance(error, UnavailableError)
    fresh = await write_path.catalog.cursor(session.id)
    assert fresh.committed_seq == 3
    again = write_path.put(fresh, *frames, session.frame())
    await write_path.store()
    assert (again.done.result().stored, again.done.result().duplicate) == (1, 3)
    assert await stored_steps(write_path.pool) == [0, 1, 2, 3]


async def test_cancelled_copier_answers_everything(write_path: WritePath, any_postgres_dsn: str) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    frame = session.frame()
    submission = write_path.put(cursor, frame)
    async with held(any_postgres_dsn) as holder:
        copier = write_path.start()
        await in_the_middle(holder)
        queued = write_path.put(cursor, session.frame())
        await end(copier)
        assert isinstance(await outcome(submission), UnavailableError)
        assert isinstance(await outcome(queued), UnavailableError)
    assert write_path.batcher.idle
    again = write_path.put(await write_path.catalog.cursor(session.id), frame)
    await write_path.store()
    assert again.done.result().stored == 1


async def test_session_reloaded_during_a_batch_is_answered(write_path: WritePath, any_postgres_dsn: str) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    frame = session.frame()
    first, second = write_path.put(cursor, frame), write_path.put(cursor, frame)
    async with held(any_postgres_dsn) as holder:
        copier = write_path.start()
        await in_the_middle(holder)
        write_path.catalog.forget(session.id)
        behind = write_path.put(await write_path.catalog.cursor(session.id), frame)
    assert getattr(await outcome(first), "stored", None) == 1
    assert getattr(await outcome(second), "duplicate", None) == 1
    assert isinstance(await outcome(behind), SequenceGapError)
    await end(copier)
    assert await stored_steps(write_path.pool) == [0]


async def test_fence_during_a_batch_takes_effect_after_it(write_path: WritePath, any_postgres_dsn: str) -> None:
    old, new = Session(), Session()
    submission = write_path.put(await write_path.attach(old), old.frame(5))
    async with held(any_postgres_dsn) as holder:
        copier = write_path.start()
        await in_the_middle(holder)
        attaching = asyncio.create_task(write_path.attach(new))
    assert getattr(await outcome(submission), "stored", None) == 1
    assert (await attaching).epoch == 2
    assert await write_path.pool.fetchval("SELECT last_step FROM stepwell.ledger WHERE fenced") == 4
    await end(copier)


@pytest.mark.parametrize("table", ["hot_object", "metric"])
async def test_missing_partition_delays_only_its_writer(write_path: WritePath, table: str) -> None:
    session, neighbour = Session(), Session(run="run-2")
    await write_path.attach(session)
    # The table has no partition (any more) for the month of the run.
    others = {"hot_object", "metric"} - {table}
    for name in others:
        await write_path.pool.execute(
            f"CREATE TABLE stepwell.{name}_2021_05 PARTITION OF stepwell.{name} FOR VALUES FROM "
            "(stepwell.run_id_floor_v1('2021-05-01 UTC')) TO (stepwell.run_id_floor_v1('2021-06-01 UTC'))"
        )
    for name, column in [
        *((name, "run_id") for name in ("run", "writer", "ledger", "lineage")),
        ("lineage", "source_run_id"),
    ]:
        await write_path.pool.execute(
            f"UPDATE stepwell.{name} SET {column} = stepwell.run_id_floor_v1('2021-05-09 UTC')"
        )
    write_path.catalog.forget(session.id)
    frames = [session.frame(objects=[(step, "note", "x")]) for step in range(4)]
    submission = write_path.put(await write_path.catalog.cursor(session.id), *frames)
    beside = write_path.put(await write_path.attach(neighbour), neighbour.frame(3))
    await write_path.store()
    error = await outcome(submission)
    assert isinstance(error, UnavailableError)
    assert error.message == "there is no partition for this run"
    assert f'no partition of relation "{table}" found for row' in str(error.detail)
    assert "stepwell.ensure_partitions_v1(month, 1)" in str(error.hint)
    assert beside.done.result().stored == 1
    assert await write_path.pool.fetchval("SELECT count(*) FROM stepwell.rejection") == 0
    assert await write_path.pool.fetchval("SELECT sum(next_seq) FROM stepwell.ledger") == 1  # the neighbour's

    await write_path.pool.execute("SELECT stepwell.ensure_partitions_v1('2021-05-01', 1)")
    again = write_path.put(await write_path.catalog.cursor(session.id), *frames)
    await write_path.store()
    assert again.done.result().stored == 4
    assert await stored_steps(write_path.pool) == [0, 1, 2, 3]


@pytest.fixture
def asyncpg_complains(loop_errors: list[dict[str, Any]]) -> Iterator[None]:
    """Removes errors that asyncpg (0.32) reports when a connection ends between two messages.

    These are an internal waiter that is never read, and a transaction that could not be rolled back before the pool
    ended the connection.
    """
    yield
    gc.collect()
    for item in list(loop_errors):
        waiter = isinstance(item.get("exception"), asyncpg.ConnectionDoesNotExistError)
        if waiter or str(item.get("message")).startswith("Resetting connection with an active transaction"):
            loop_errors.remove(item)


async def test_streams_survive_terminated_backends(
    asyncpg_complains: None, postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    sessions = [Session(writer=str(rank)) for rank in range(4)]
    frames = {session.id: [session.frame() for _ in range(150)] for session in sessions}

    async def deliver(session: Session) -> None:
        next_seq = 0
        while next_seq < 150:
            async with Client(worker) as client:
                attached = await client.attach(session)
                if attached["type"] != "attached":
                    assert attached["retryable"], attached
                    continue
                assert attached["next_seq"] >= next_seq
                next_seq = attached["next_seq"]
                for frame in frames[session.id][next_seq:]:
                    await client.send(frame)
                while next_seq < 150 and (reply := await client.hear())["type"] == "ack":
                    next_seq = reply["next_seq"]
                assert next_seq == 150 or reply["type"] == "closed" or reply["retryable"], reply

    async def storm() -> None:
        for _ in range(15):
            await pg.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'stepwell' AND state <> 'idle'"
            )
            await asyncio.sleep(0.02)

    async with start_worker(postgres_dsn) as worker:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(storm(), *(deliver(session) for session in sessions))
        await eventually(lambda: worker.services.batcher.idle)
        assert_empty(worker)
    for session in sessions:
        assert await stored_steps(pg, session.writer) == list(range(150))
