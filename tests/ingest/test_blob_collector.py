"""Unused blobs are removed with file and row, and blobs that a client was told about stay, in a directory and on S3."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from fixtures.blobs import PART, fetch, head, make_blob, put, start_blob_worker
from fixtures.ingest import T0, Client, Session, eventually
from stepwell import wire
from stepwell.errors import UnavailableError
from stepwell_ingest.blobs import collector as collector_module
from stepwell_ingest.blobs.collector import Collected, Collector
from stepwell_ingest.blobs.incoming import path_of
from stepwell_ingest.blobs.store import Store, open_store
from stepwell_ingest.commands.delete import _text
from stepwell_ingest.config import Timeouts
from stepwell_ingest.delete.plan import plan_runs
from stepwell_ingest.delete.remover import remove
from stepwell_ingest.delete.sweeper import Sweeper
from stepwell_ingest.read.sizes import Sizes
from stepwell_ingest.server.worker import Worker

pytestmark = [pytest.mark.db, pytest.mark.usefixtures("nobody_else_collects")]


@pytest.fixture
def store(place: str) -> Store:
    return open_store(place)


@pytest.fixture
def collector(postgres_dsn: str, store: Store) -> Collector:
    return Collector(postgres_dsn, store, Timeouts())


async def collect(collector: Collector) -> Collected:
    while (collected := await collector.collect()) is None:  # noqa: ASYNC110 - Postgres sends no event
        await asyncio.sleep(0.01)  # an earlier connection releases its lock when it ends
    return collected


async def age(pg: asyncpg.Connection, *hashes: str) -> None:
    """Ends the grace period of these blobs."""
    await pg.execute(
        "UPDATE stepwell.blob SET touched_at = touched_at - interval '15 days' WHERE sha256 = ANY ($1)",
        [bytes.fromhex(sha256) for sha256 in hashes],
    )


async def upload(worker: Worker, size: int = 100, seed: int = 1) -> str:
    sha256, data = make_blob(size, seed)
    assert (await put(worker, sha256, data))[0] in (200, 201)
    return sha256


async def name_them(worker: Worker, run: str, *hashes: str) -> int:
    """Makes a run with pictures of these hashes; returns its id."""
    session = Session(run=run)
    notes = [
        wire.Object(0, T0, "object", orjson.dumps({"key": "x", "step": 0, "time": T0, "value": _picture(sha256)}))
        for sha256 in hashes
    ]
    async with Client(worker) as client:
        attached = await client.attach(session)
        await client.exchange(session.frame())
        assert (await client.exchange(wire.encode_notes(session.id, 1, notes)))["type"] == "ack"
    return int(attached["run_id"])


def _picture(sha256: str) -> dict[str, Any]:
    return {"_type": "images", "files": [{"_type": "image-file", "sha256": sha256}]}


async def is_there(worker: Worker, store: Store, pg: asyncpg.Connection, sha256: str) -> bool:
    """Checks that row, file and answer agree."""
    row = await pg.fetchval("SELECT sha256 FROM stepwell.blob WHERE sha256 = $1", bytes.fromhex(sha256)) is not None
    assert row == (await store.size(path_of(sha256)) is not None) == ((await fetch(worker, sha256))[0] == 200)
    return row


class TestWhatGoes:
    async def test_unused_blobs_are_removed_after_grace(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection
    ) -> None:
        named, young, old = [await upload(blob_worker, 100, seed) for seed in range(3)]
        await name_them(blob_worker, "run-1", named)
        await age(pg, named, old)
        assert await collect(collector) == Collected(1, 100)
        assert [await is_there(blob_worker, store, pg, item) for item in (named, young, old)] == [True, True, False]
        assert await collect(collector) == Collected(0, 0)

    async def test_picture_is_removed_with_its_last_run(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection
    ) -> None:
        shared, own = await upload(blob_worker, 1000), await upload(blob_worker, 3 * PART)
        first = await name_them(blob_worker, "run-1", shared, own)
        second = await name_them(blob_worker, "run-2", shared)
        await age(pg, shared, own)
        for run_id, left in ((first, [True, False]), (second, [False, False])):
            assert await collect(collector) == Collected(0, 0)
            await remove(pg, [run_id])
            await Sweeper(pg).sweep()
            assert (await collect(collector)).blobs == 1
            assert [await is_there(blob_worker, store, pg, item) for item in (shared, own)] == left

    async def test_more_blobs_than_one_pass_handles(
        self, blob_worker: Worker, collector: Collector, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collector_module, "_ROWS", 3)
        hashes = [await upload(blob_worker, 10, seed) for seed in range(8)]
        await name_them(blob_worker, "run-1", *hashes[::2])
        await age(pg, *hashes)
        assert await collect(collector) == Collected(4, 40)
        assert await pg.fetchval("SELECT count(*) FROM stepwell.blob") == 4

    async def test_server_collects_after_a_sweep(
        self,
        postgres_dsn: str,
        place: str,
        store: Store,
        pg: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
        nobody_else_collects: Any,
    ) -> None:
        monkeypatch.setattr(collector_module, "_LOOK_EVERY_S", 0.05)
        monkeypatch.setattr(Collector, "run", nobody_else_collects)
        async with start_blob_worker(postgres_dsn, place) as worker:
            sha256 = await upload(worker)
            run_id = await name_them(worker, "run-1", sha256)
            await age(pg, sha256)
            await remove(pg, [run_id])
            await worker.housekeeping.sweep()

            async def gone() -> bool:
                return not await pg.fetchval("SELECT count(*) FROM stepwell.blob")

            await eventually(gone)
            assert not await is_there(worker, store, pg, sha256)

    async def test_unavailable_store_leaves_rows_marked(
        self,
        blob_worker: Worker,
        collector: Collector,
        store: Store,
        pg: asyncpg.Connection,
        bucket: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sha256 = await upload(blob_worker)
        await age(pg, sha256)
        nowhere = open_store("s3://no-such-bucket/x")
        with pytest.raises(UnavailableError, match="could not list its blobs"):
            await Collector(collector._dsn, nowhere, Timeouts()).collect()
        assert (await head(blob_worker, sha256))[0] == 200  # no removal has started
        await age(pg, sha256)
        with monkeypatch.context() as patch, pytest.raises(UnavailableError, match="could not move a blob"):
            patch.setattr(store, "move", nowhere.move)
            await collect(collector)
        assert (await head(blob_worker, sha256))[0] == 404
        assert await store.size(path_of(sha256)) == 100
        assert await collect(collector) == Collected(0, 0)  # the collector that marked it may still be running
        await pg.execute("UPDATE stepwell.blob SET removing_at = removing_at - interval '6 minutes'")
        assert await collect(collector) == Collected(1, 100)
        assert not await is_there(blob_worker, store, pg, sha256)


class TestWhatNames:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"key": "x", "value": {"sha256": "%s"}}',
            b'{"name": "model.pt", "sha256": "%s", "size": 3}',
            b'[[{"deep": {"sha256": "%s"}}]]',
            b'{"sha\\u0032\\u00356": "%s"}',
            b'{"\\u0073ha256": "%s", "text": "\\u00e9 \\\\ sha256"}',
        ],
    )
    @pytest.mark.parametrize("kind", ["note", "object"])
    async def test_nested_references_are_found(
        self, any_pg: asyncpg.Connection, any_worker: Worker, body: bytes, kind: str
    ) -> None:
        sha256, session = "ab" * 32, Session()
        value = body.replace(b"%s", sha256.encode())
        async with Client(any_worker) as client:
            attached = await client.attach(session)
            if kind == "object":
                reply = await client.exchange(session.frame(objects=[(0, "x", value), (0, "y", value)]))
            else:
                notes = [wire.Object(0, T0, "anything", value)] * 2
                reply = await client.exchange(wire.encode_notes(session.id, 0, notes))
            assert reply["stored"] == 1, reply
        rows = await any_pg.fetch("SELECT run_id, sha256 FROM stepwell.blob_use")
        assert [tuple(row) for row in rows] == [(attached["run_id"], bytes.fromhex(sha256))]

    async def test_other_values_reference_nothing(self, any_pg: asyncpg.Connection, any_worker: Worker) -> None:
        session = Session()
        values = [{"sha256": "no hash"}, "sha256", {"x": "ab" * 32}, {"sha256": 5}, {"sha256": ["ab" * 32]}]
        async with Client(any_worker) as client:
            await client.attach(session)
            await client.exchange(session.frame(objects=[(0, f"k{at}", value) for at, value in enumerate(values)]))
        assert await any_pg.fetchval("SELECT count(*) FROM stepwell.hot_object") == len(values)
        assert await any_pg.fetchval("SELECT count(*) FROM stepwell.blob_use") == 0

    async def test_plan_and_sizes_report_amounts(
        self, blob_worker: Worker, pg: asyncpg.Connection, postgres_dsn: str
    ) -> None:
        shared, own = await upload(blob_worker, 1000), await upload(blob_worker, 234)
        await name_them(blob_worker, "run-1", shared, own)
        await name_them(blob_worker, "run-2", shared, "cd" * 32)
        plan = await plan_runs(pg, ["run-1"])
        assert (plan.files, plan.file_bytes) == (1, 234)
        assert "1 file (234 B) that no other run names: the server removes them later" in _text(plan)
        plan = await plan_runs(pg, ["run-1", "run-2"])
        assert (plan.files, plan.file_bytes) == (2, 1234)
        async with asyncpg.create_pool(postgres_dsn, min_size=1, max_size=1) as pool:
            largest = await Sizes(pool).largest()
        assert largest is not None
        runs = {row["run"]: (row["files"], row["file_bytes"]) for row in largest["largest_runs"]}
        assert runs == {"team/mnist/run-1": (2, 1234), "team/mnist/run-2": (1, 1000)}
        assert [(row["files"], row["file_bytes"]) for row in largest["largest_projects"]] == [(2, 1234)]


class TestWhatIsSaid:
    """A client that is told that a blob is stored can read it; others are told to send it."""

    @pytest.mark.parametrize("ask", ["put", "head"])
    async def test_reported_blob_is_kept(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection, ask: str
    ) -> None:
        sha256 = await upload(blob_worker)
        await age(pg, sha256)
        if ask == "put":
            assert (await put(blob_worker, sha256, make_blob(100)[1]))[0] == 200
        else:
            assert (await head(blob_worker, sha256))[0] == 200
        assert await collect(collector) == Collected(0, 0)
        assert await is_there(blob_worker, store, pg, sha256)

    async def test_reading_does_not_keep_a_blob(
        self, blob_worker: Worker, collector: Collector, pg: asyncpg.Connection
    ) -> None:
        sha256 = await upload(blob_worker)
        await age(pg, sha256)
        assert (await fetch(blob_worker, sha256))[0] == 200
        assert await collect(collector) == Collected(1, 100)

    async def test_read_during_removal_is_404(
        self, blob_worker: Worker, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sha256 = await upload(blob_worker)
        blobs = blob_worker.services.blobs
        original = blobs.size

        async def size(sha256: str, *scope: Any) -> int | None:
            found = await original(sha256, *scope)
            await store.remove(path_of(sha256))
            return found

        monkeypatch.setattr(blobs, "size", size)
        status, reply, _ = await fetch(blob_worker, sha256)
        assert (status, b"there is no such blob" in reply) == (404, True)

    @pytest.mark.parametrize("size", [100, 3 * PART])
    async def test_upload_during_removal_is_told_to_retry(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection, size: int
    ) -> None:
        sha256, data = make_blob(size)
        await upload(blob_worker, size)
        await age(pg, sha256)
        marked, proceed, original = asyncio.Event(), asyncio.Event(), store.move

        async def slow(path: str, to: str) -> None:
            marked.set()
            await proceed.wait()
            await original(path, to)

        store.move = slow  # type: ignore[method-assign]  # of this store alone
        collecting = asyncio.create_task(collect(collector))
        await marked.wait()
        status, headers = await head(blob_worker, sha256)
        assert (status, headers["Upload-Offset"]) == (404, "0")
        status, reply, _ = await put(blob_worker, sha256, data)
        assert (status, reply["error"]["code"], reply["error"]["retryable"]) == (503, "unavailable", True)
        proceed.set()
        assert await collecting == Collected(1, size)
        assert (await put(blob_worker, sha256, data))[0] == 201
        assert await is_there(blob_worker, store, pg, sha256)

    @pytest.mark.parametrize("meanwhile", ["nobody else collects", "another collector removes it first"])
    @pytest.mark.parametrize("then", ["it goes on", "it is killed at once"])
    async def test_suspended_collector_removes_no_new_upload(
        self,
        blob_worker: Worker,
        place: str,
        collector: Collector,
        store: Store,
        pg: asyncpg.Connection,
        meanwhile: str,
        then: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        sha256, data = make_blob(100)
        await upload(blob_worker)
        await age(pg, sha256)
        original = store.move

        async def sleepy(path: str, to: str) -> None:
            monkeypatch.setattr(store, "move", original)  # the next ones are fast
            await pg.execute("UPDATE stepwell.blob SET removing_at = removing_at - interval '6 minutes'")
            if meanwhile != "nobody else collects":
                assert await Collector(collector._dsn, open_store(place), Timeouts())._pass(pg) == Collected(1, 100)
            assert (await put(blob_worker, sha256, data))[0] == 201
            await name_them(blob_worker, "run-1", sha256)
            await original(path, to)

        async def killed(*_: object) -> None:
            raise ConnectionResetError

        monkeypatch.setattr(store, "move", sleepy)
        if then == "it is killed at once":
            with monkeypatch.context() as patch, pytest.raises(UnavailableError):
                patch.setattr(collector, "_settle", killed)
                await collect(collector)
            assert await store.size(path_of(sha256)) is None
        assert await collect(collector) == Collected(0, 0)
        assert await is_there(blob_worker, store, pg, sha256)
        assert await store.below("removing/") == []

    async def test_removal_between_put_and_row_is_noticed(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection
    ) -> None:
        sha256, data = make_blob(100)
        await upload(blob_worker)
        await store.remove(path_of(sha256))  # a row without a file is repaired by an upload
        mine = blob_worker.services.blobs.store
        original = mine.put

        async def put_and_lose(path: str, *arguments: Any, **more: Any) -> None:
            await original(path, *arguments, **more)
            await age(pg, sha256)
            assert (await collect(collector)).blobs == 1

        mine.put = put_and_lose  # type: ignore[method-assign]  # of this worker alone
        assert (await put(blob_worker, sha256, data))[0] == 503
        mine.put = original  # type: ignore[method-assign]  # as it was
        assert (await put(blob_worker, sha256, data))[0] == 201
        assert await is_there(blob_worker, store, pg, sha256)

    async def test_partial_upload_continues(
        self, blob_worker: Worker, collector: Collector, store: Store, pg: asyncpg.Connection
    ) -> None:
        sha256, data = make_blob(3 * PART)
        assert (await put(blob_worker, sha256, data[:PART], (0, len(data))))[0] == 202
        await collect(collector)
        assert (await put(blob_worker, sha256, data[PART:], (PART, len(data))))[0] == 201
        assert await is_there(blob_worker, store, pg, sha256)

    async def test_concurrent_uploads_and_collectors_agree(
        self, postgres_dsn: str, place: str, store: Store, pg: asyncpg.Connection
    ) -> None:
        """After each acknowledgement the blob is stored, whatever was removed concurrently."""
        removed, done = 0, False

        async def keep_collecting() -> None:
            nonlocal removed
            mine = Collector(postgres_dsn, open_store(place), Timeouts())
            connection = await asyncpg.connect(postgres_dsn)
            while not done:  # without the lock, which only avoids duplicate work
                removed += (await mine._pass(connection)).blobs
            await connection.close()

        async def send(worker: Worker, sha256: str, data: bytes) -> None:
            while True:
                status, reply, _ = await put(worker, sha256, data)
                if status in (200, 201):
                    return
                # 202: two uploads of the same content were concurrent, and the rest is still missing.
                assert status == 202 or reply["error"]["retryable"], (status, reply)

        async def go_round(number: int, workers: list[Worker]) -> None:
            sha256, data = make_blob([50, 2 * PART][number % 2], number)
            for _ in range(12):
                async with pool.acquire() as connection:
                    await age(connection, sha256)
                await asyncio.gather(*(send(worker, sha256, data) for worker in workers))
                assert (await fetch(workers[0], sha256))[1] == data

        async with (
            start_blob_worker(postgres_dsn, place) as first,
            start_blob_worker(postgres_dsn, place) as second,
            asyncpg.create_pool(postgres_dsn, min_size=1, max_size=4) as pool,
        ):
            collectors = [asyncio.create_task(keep_collecting()) for _ in range(2)]
            await asyncio.gather(*(go_round(number, [first, second]) for number in range(4)))
            done = True
            await asyncio.gather(*collectors)
            assert removed > 0
            for number in range(4):
                assert await is_there(first, store, pg, make_blob([50, 2 * PART][number % 2], number)[0])
