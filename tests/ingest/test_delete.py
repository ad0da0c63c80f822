"""Deleted runs disappear immediately for all readers; their rows are removed later, and nothing of them returns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from fixtures.ingest import Client, Session, WritePath, eventually, open_write_path, post, start_worker, stored_steps
from fixtures.whole_runs import TABLES, fill, month_tables, move_to, rows_of
from stepwell.errors import RunDeletedError, UnavailableError, UsageError
from stepwell_ingest.config import SealSettings
from stepwell_ingest.delete import remover
from stepwell_ingest.delete.plan import plan_older, plan_project, plan_runs
from stepwell_ingest.delete.remover import remove
from stepwell_ingest.delete.sweeper import Sweeper
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.merger import Merger
from stepwell_ingest.seal.sealer import ChangedError, Sealer
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.ledger import LedgerCursor

pytestmark = pytest.mark.db

SMALL = SealSettings(steps=1, points=1, merge_passes=2)


@pytest.fixture
async def connection(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_postgres_dsn)
    yield connection
    await connection.close()


async def test_list_of_tables_is_complete(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'run_id' "
        "WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    assert {row[0] for row in rows} == {*TABLES, "lineage_epoch", "hot_block", "deleted_run", "deleted_session"}


async def test_deleted_run_leaves_no_rows(write_path: WritePath, connection: asyncpg.Connection) -> None:
    session, neighbour = Session(), Session(run="run-2")
    gone, stays = await fill(write_path, session), await fill(write_path, neighbour)
    before = await rows_of(connection, stays.run_id)
    assert set(before) == set(TABLES)
    assert await remove(connection, [gone.run_id]) == 1
    assert await stored_steps(connection) == []
    assert await connection.fetchval("SELECT count(*) FROM stepwell.rejections WHERE run_id = $1", gone.run_id) == 0
    swept = await Sweeper(connection).sweep()
    assert swept is not None
    assert (swept.runs, swept.left, swept.months) == (1, 0, 0)
    assert await rows_of(connection, gone.run_id) == {}
    assert await rows_of(connection, stays.run_id) == before
    assert await stored_steps(connection, run="run-2") == list(range(23))
    assert (await Sweeper(connection).sweep()).runs == 0  # type: ignore[union-attr]  # nothing else sweeps here


async def test_hot_rows_of_a_deleted_run_free_their_slot(write_path: WritePath, connection: asyncpg.Connection) -> None:
    cursor = await fill(write_path, Session(), seal=False)
    assert not await connection.fetchval("SELECT stepwell.slot_sealed_v1(0::smallint)")
    await remove(connection, [cursor.run_id])
    assert await connection.fetchval("SELECT stepwell.slot_sealed_v1(0::smallint)")


async def test_deleted_sessions_are_refused_and_the_name_is_free(
    write_path: WritePath, connection: asyncpg.Connection
) -> None:
    session = Session()
    cursor = await fill(write_path, session)
    await remove(connection, [cursor.run_id])
    for late in (False, True):
        with pytest.raises(RunDeletedError, match="run team/mnist/run-1 was deleted on 2"):
            await write_path.attach(session, late=late)
    with pytest.raises(RunDeletedError):
        await write_path.catalog.cursor(session.id, fresh=True)
    fresh = await write_path.attach(Session())
    assert fresh.run_id != cursor.run_id
    await Sweeper(connection).sweep()
    assert await connection.fetchval("SELECT count(*) FROM stepwell.runs WHERE run = 'run-1'") == 1


async def test_active_writer_learns_of_the_delete(any_postgres_dsn: str) -> None:
    async with start_worker(any_postgres_dsn) as worker, Client(worker) as client:
        session = Session()
        attached = await client.attach(session)
        await client.exchange(session.frame(3))
        connection = await asyncpg.connect(any_postgres_dsn)
        await remove(connection, [attached["run_id"]])
        reply = await client.exchange(session.frame())
        assert (reply["type"], reply["code"], reply["retryable"]) == ("error", "run_deleted", False)
        assert "stepwell sync --discard" in reply["hint"]
        status, body, _ = await post(worker, "/v1/frames", session.frame())
        assert (status, body["error"]["code"]) == (410, "run_deleted")
        async with Client(worker) as again:
            assert (await again.attach(session))["code"] == "run_deleted"
        await worker.housekeeping.sweep()
        assert await rows_of(connection, attached["run_id"]) == {}
        await connection.close()


async def test_idle_writer_learns_of_the_delete_at_finish(
    any_postgres_dsn: str, connection: asyncpg.Connection
) -> None:
    async with start_worker(any_postgres_dsn) as worker, Client(worker) as client:
        attached = await client.attach(Session())
        await remove(connection, [attached["run_id"]])
        assert (await client.finish())["code"] == "run_deleted"


async def test_delete_waits_for_commits_and_sweeps_them(any_postgres_dsn: str) -> None:
    """Batches in progress during the delete are either stored completely and swept, or refused."""
    async with start_worker(any_postgres_dsn) as worker, Client(worker) as client:
        session = Session()
        attached = await client.attach(session)

        async def log() -> str:
            while True:
                await client.send(session.frame(2, objects=[(session.step, "note", 1)]))
                reply = await client.hear()
                if reply["type"] != "ack":
                    return str(reply["code"])

        logging = asyncio.create_task(log())
        await eventually(lambda: session.seq > 20)
        connection = await asyncpg.connect(any_postgres_dsn)
        await remove(connection, [attached["run_id"]])
        assert await logging == "run_deleted"
        await Sweeper(connection).sweep()
        assert await rows_of(connection, attached["run_id"]) == {}
        assert await stored_steps(connection) == []
        await connection.close()


class TestSealing:
    async def test_running_sealing_pass_is_undone(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        cursor = await fill(write_path, Session(), seal=False)
        sealer = Sealer(write_path.pool, SMALL)
        begun, proceed = _held(sealer, "_hand_over")
        sealing = asyncio.create_task(sealer.seal(EpochKey(*cursor.key), whole=True))
        await begun.wait()
        await remove(connection, [cursor.run_id])
        sweeping = asyncio.create_task(Sweeper(connection).sweep())
        await _waits_for_a_lock(write_path.pool)
        proceed.set()
        with pytest.raises(ChangedError, match="its run was deleted"):
            await sealing
        assert (await sweeping).left == 0  # type: ignore[union-attr]  # nothing else sweeps here
        assert await rows_of(connection, cursor.run_id) == {}

    async def test_running_merge_is_waited_for(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        session = Session()
        cursor = await fill(write_path, session)
        await Sealer(write_path.pool, SMALL).seal(EpochKey(*cursor.key), whole=True)
        merger = Merger(write_path.pool, SMALL)
        begun, proceed = _held(merger, "_read")
        merging = asyncio.create_task(merger.merge(EpochKey(*cursor.key), 0))
        await begun.wait()
        await remove(connection, [cursor.run_id])
        sweeping = asyncio.create_task(Sweeper(connection).sweep())
        await _waits_for_a_lock(write_path.pool)
        proceed.set()
        assert await merging > 0
        assert (await sweeping).left == 0  # type: ignore[union-attr]  # nothing else sweeps here
        assert await rows_of(connection, cursor.run_id) == {}

    async def test_deleted_run_is_not_sealed_or_merged(
        self, write_path: WritePath, connection: asyncpg.Connection
    ) -> None:
        cursor = await fill(write_path, Session())
        await Sealer(write_path.pool, SMALL).seal(EpochKey(*cursor.key), whole=True)
        await remove(connection, [cursor.run_id])
        assert await Sealer(write_path.pool, SMALL).seal(EpochKey(*cursor.key), whole=True) is None
        assert await Merger(write_path.pool, SMALL).merge(EpochKey(*cursor.key), 0) == 0


def _held(thing: object, method: str) -> tuple[asyncio.Event, asyncio.Event]:
    """The method sets the first event when it is called, and waits for the second."""
    begun, proceed, original = asyncio.Event(), asyncio.Event(), getattr(thing, method)

    async def wait(*arguments: object) -> object:
        begun.set()
        await proceed.wait()
        return await original(*arguments)

    setattr(thing, method, wait)
    return begun, proceed


async def _waits_for_a_lock(pool: asyncpg.Pool) -> None:
    async def waits() -> bool:
        query = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        return bool(await pool.fetchval(query))

    await eventually(waits)


class TestMonths:
    AT = datetime(2025, 11, 17, tzinfo=UTC)

    async def test_empty_month_is_dropped(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        first = await move_to(connection, await fill(write_path, Session()), self.AT)
        second = await move_to(connection, await fill(write_path, Session(run="run-2")), self.AT + timedelta(days=1))
        stays = await fill(write_path, Session(run="run-3"))
        assert (await plan_runs(connection, ["run-1"])).months == []
        assert (await plan_runs(connection, ["run-1", "run-2"])).months == ["2025-11"]
        await remove(connection, [first])
        assert (await Sweeper(connection).sweep()).months == 0  # type: ignore[union-attr]  # nothing else sweeps here
        assert len(await month_tables(connection, "2025_11")) == 6
        await remove(connection, [second])
        swept = await Sweeper(connection).sweep()
        assert swept is not None
        assert (swept.months, swept.runs, swept.left) == (1, 1, 0)
        assert swept.dropped_bytes > 0
        assert await month_tables(connection, "2025_11") == []
        assert await rows_of(connection, second) == {}
        assert await stored_steps(connection, run="run-3") == list(range(23))
        assert stays.run_id > second

    async def test_table_in_use_waits_for_the_next_sweep(
        self, write_path: WritePath, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("stepwell_ingest.delete.sweeper._DETACH_MS", 50)
        run_id = await move_to(connection, await fill(write_path, Session()), self.AT)
        await remove(connection, [run_id])
        async with write_path.pool.acquire() as reader, reader.transaction():
            await reader.fetchval("SELECT count(*) FROM stepwell.chunk")
            assert (await Sweeper(connection).sweep()) is not None
            assert await month_tables(connection, "2025_11") == ["chunk_2025_11"]
        swept = await Sweeper(connection).sweep()
        assert swept is not None
        assert swept.left == 0
        assert await month_tables(connection, "2025_11") == []

    async def test_dropping_a_month_does_not_block_writers(
        self, write_path: WritePath, connection: asyncpg.Connection
    ) -> None:
        await remove(connection, [await move_to(connection, await fill(write_path, Session()), self.AT)])
        async with write_path.pool.acquire() as reader, reader.transaction():
            await reader.fetchval("SELECT count(*) FROM stepwell.hot_object")
            sweeping = asyncio.create_task(Sweeper(connection).sweep())

            async def waits() -> bool:
                query = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'virtualxid' AND NOT granted)"
                return bool(await write_path.pool.fetchval(query))

            await eventually(waits)
            await fill(write_path, Session(run="run-2"))
            assert await stored_steps(write_path.pool, run="run-2") == list(range(23))
            assert not sweeping.done()
        assert (await sweeping).months == 1  # type: ignore[union-attr]  # nothing else sweeps here

    async def test_detached_partition_is_kept(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        run_id = await move_to(connection, await fill(write_path, Session()), self.AT)
        await connection.execute("ALTER TABLE stepwell.hot_object DETACH PARTITION stepwell.hot_object_2025_11")
        await remove(connection, [run_id])
        await Sweeper(connection).sweep()
        assert await month_tables(connection, "2025_11") == ["hot_object_2025_11"]


class TestForks:
    async def fork(self, path: WritePath) -> tuple[LedgerCursor, int]:
        parent = await fill(path, Session())
        run_id = await path.pool.fetchval(
            "SELECT run_id FROM stepwell.attach_v1('team', 'mnist', 'fork', '0', gen_random_uuid(), false, '{}', "
            "fork_run => 'run-1', fork_step_ => 10)"
        )
        return parent, run_id

    async def test_run_with_forks_is_kept(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        parent, _ = await self.fork(write_path)
        with pytest.raises(UsageError, match="forks show their points") as caught:
            await plan_runs(connection, ["run-1"])
        assert caught.value.detail == "team/mnist/fork is a fork of team/mnist/run-1"
        with pytest.raises(UsageError, match="forked during"):  # a run that was created after the confirmation
            await remove(connection, [parent.run_id])
        assert await stored_steps(connection, run="fork") == list(range(11))

    async def test_parent_and_fork_are_deleted_together(
        self, write_path: WritePath, connection: asyncpg.Connection
    ) -> None:
        parent, fork = await self.fork(write_path)
        plan = await plan_runs(connection, ["run-1", "fork"])
        order: list[int] = []
        await remove(connection, [target.run_id for target in plan.targets], order.append)
        assert order == [fork, parent.run_id]

    async def test_old_parent_of_a_new_fork_is_kept(
        self, write_path: WritePath, connection: asyncpg.Connection
    ) -> None:
        parent, _ = await self.fork(write_path)
        await connection.execute(
            "UPDATE stepwell.run SET state = 'finished', created_at = now() - interval '9 days' WHERE run_id = $1",
            parent.run_id,
        )
        plan = await plan_older(connection, timedelta(days=7), None)
        assert (plan.targets, plan.kept_for_forks) == ([], 1)


class TestPlan:
    async def test_plan_reports_amounts(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        await fill(write_path, Session())
        for name in ("run-1", "mnist/run-1", "team/mnist/run-1"):
            (target,) = (await plan_runs(connection, [name])).targets
            assert (target.path, target.points, target.objects) == ("team/mnist/run-1", 43, 1)
            assert 3 * 12 < target.size_bytes < 1_000_000

    async def test_ambiguous_name_is_refused(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        for project in ("mnist", "cifar"):
            await fill(write_path, Session(project=project), seal=False)
        with pytest.raises(UsageError, match="matches 2 runs") as caught:
            await plan_runs(connection, ["run-1"])
        assert "team/cifar/run-1" in str(caught.value.detail)
        with pytest.raises(UsageError, match="there is no run nope"):
            await plan_runs(connection, ["nope"])

    async def test_deletes_a_project(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        for entity, run in (("team", "a"), ("team", "b"), ("other", "c")):
            await write_path.attach(Session(entity=entity, run=run))
        assert [item.path for item in (await plan_project(connection, "team/mnist")).targets] == [
            "team/mnist/a",
            "team/mnist/b",
        ]
        with pytest.raises(UsageError, match="mnist matches 2 projects"):
            await plan_project(connection, "mnist")
        with pytest.raises(UsageError, match="there is no project team/x"):
            await plan_project(connection, "team/x")

    async def test_running_old_runs_are_kept(self, write_path: WritePath, connection: asyncpg.Connection) -> None:
        for run in ("a", "b", "c"):
            await write_path.attach(Session(run=run))
        await connection.execute(
            "UPDATE stepwell.run SET created_at = now() - interval '8 days', "
            "state = CASE name WHEN 'a' THEN 'finished' ELSE 'running' END WHERE name IN ('a', 'b')"
        )
        plan = await plan_older(connection, timedelta(days=7), "team/mnist")
        assert ([item.path for item in plan.targets], plan.kept_running) == (["team/mnist/a"], 1)


async def test_locked_run_is_kept_and_reported(
    write_path: WritePath, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remover, "_LOCK_MS", 10)
    monkeypatch.setattr(remover, "_TRIES", 2)
    cursor = await fill(write_path, Session(), seal=False)
    async with write_path.pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM stepwell.ledger FOR UPDATE")
        with pytest.raises(UnavailableError, match="locked by another transaction"):
            await remove(connection, [cursor.run_id])
    assert await stored_steps(connection) == list(range(23))


async def test_one_sweep_at_a_time(any_postgres_dsn: str, connection: asyncpg.Connection) -> None:
    async with open_write_path(any_postgres_dsn) as path, path.pool.acquire() as other:
        await other.fetchval("SELECT pg_advisory_lock(hashtextextended('stepwell.sweep', 0))")
        assert await Sweeper(connection).sweep() is None


async def test_worker_completes_a_killed_delete(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    async with Client(any_worker) as client:
        session = Session()
        attached = await client.attach(session)
        await client.exchange(session.frame(objects=[(0, "note", 1)]))
    await any_pg.fetchval("SELECT stepwell.delete_run_v1($1)", attached["run_id"])
    assert set(await rows_of(any_pg, attached["run_id"])) == {"metric", "hot_object"}
    await any_worker.housekeeping.sweep()
    assert await rows_of(any_pg, attached["run_id"]) == {}
