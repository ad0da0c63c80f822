"""Rows and series over HTTP: every point as it was logged, page by page, in both forms."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from fixtures.ingest import PATIENCE_S, Session, make_frame, start_worker
from fixtures.reads import RUN, ask, ask_batches, block, frame, rows_of, run_path, store
from stepwell.errors import UnavailableError, UsageError
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def rows(worker: Worker, route: str = "history", **query: Any) -> list[dict[str, Any]]:
    return rows_of(await ask_batches(worker, f"{RUN}/{route}", **query))


def row(step: int, writer: str = "0", **values: Any) -> dict[str, Any]:
    return {"_step": step, "_writer": writer, **values}


async def test_rows_have_exactly_the_logged_values(any_worker: Worker) -> None:
    session = Session()
    await store(
        any_worker,
        session,
        frame(session, [0, 1], {"loss": [0.5, 0.25], "acc": [0.0, 1.0]}),
        frame(session, [2, 7], {"loss": [0.1, 0.05]}, objects=[(2, "note", {"a": [1]}), (7, "big", 2**60)]),
    )
    assert await rows(any_worker) == [
        row(0, loss=0.5, acc=0.0),
        row(1, loss=0.25, acc=1.0),
        row(2, loss=0.1, note={"a": [1]}),
        row(7, loss=0.05, big=2**60),
    ]


async def test_rows_with_keys_have_all_of_them(worker: Worker) -> None:
    session = Session()
    await store(
        worker,
        session,
        frame(session, [0, 1], {"a": [1, 2]}),
        frame(session, [2, 3], {"a": [3, 4], "b": [5, 6]}, objects=[(3, "note", "x")]),
    )
    assert await rows(worker, keys=["a", "b"]) == [row(2, a=3, b=5), row(3, a=4, b=6)]
    assert await rows(worker, keys=["a", "note"]) == [row(3, a=4, note="x")]
    assert await rows(worker, keys=["a", "nobody"]) == []
    assert await rows(worker, keys=["_step"]) == [row(step) for step in range(4)]


async def test_series_have_every_point(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0, 1], {"a": [1, 2]}), frame(session, [2], {"b": [3]}))
    assert await rows(worker, "series", keys=["a", "b"]) == [row(0, a=1), row(1, a=2), row(2, b=3)]


async def test_doubles_arrive_bit_for_bit(any_worker: Worker) -> None:
    bits = [
        0x7FF8000000000001,
        0xFFF8DEADBEEF0000,
        0x7FF0000000000000,
        0xFFF0000000000000,
        1 << 63,
        1,
        0x7FEFFFFFFFFFFFFF,
    ]
    values = np.array(bits, np.uint64).view(np.float64)
    session = Session()
    await store(any_worker, session, frame(session, range(len(bits)), {"x": values}))
    (batch, _) = await ask_batches(any_worker, f"{RUN}/series", keys="x")
    assert batch.numbers("x").view(np.uint64).tolist() == bits


async def test_equal_steps_of_writers_are_kept_separate(worker: Worker) -> None:
    for writer in ("0", "1"):
        session = Session(writer=writer)
        await store(worker, session, frame(session, [0, 1], {"x": [int(writer), 10 + int(writer)]}))
    expected = [row(0, "0", x=0), row(0, "1", x=1), row(1, "0", x=10), row(1, "1", x=11)]
    assert await rows(worker) == await rows(worker, keys="x") == await rows(worker, "series", keys="x") == expected


async def test_superseded_points_are_omitted(worker: Worker) -> None:
    first, second = Session(), Session()
    await store(worker, first, frame(first, [0, 1, 2, 3], {"x": [0, 1, 2, 3]}, objects=[(3, "o", "old")]))
    await store(worker, second, frame(second, [2], {"x": [20]}))
    assert await rows(worker) == [row(0, x=0), row(1, x=1), row(2, x=20)]


async def test_fork_shows_parent_rows(worker: Worker) -> None:
    parent, child = Session(), Session(run="child")
    await store(worker, parent, frame(parent, [0, 1, 2], {"x": [0, 1, 2]}, objects=[(1, "o", "p"), (2, "o", "q")]))
    await store(worker, child, frame(child, [2], {"x": [20]}), fork_run="run-1", fork_step=1)
    batches = await ask_batches(worker, f"{run_path('child')}/history")
    assert rows_of(batches) == [row(0, x=0), row(1, x=1, o="p"), row(2, x=20)]


async def test_step_bounds(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, range(10), {"x": range(10)}, objects=[(5, "o", 1), (9, "o", 2)]))
    found = await rows(worker, min_step=3, max_step=6)
    assert found == [row(3, x=3), row(4, x=4), row(5, x=5, o=1)]
    assert await rows(worker, min_step=10) == await rows(worker, min_step=5, max_step=5) == []


async def test_json_equals_binary_with_names_for_nan(worker: Worker) -> None:
    session = Session()
    values = [float("nan"), float("inf"), float("-inf"), -0.0]
    await store(worker, session, frame(session, range(4), {"x": values}, objects=[(3, "big", 2**60)]))
    status, answer = await ask(worker, f"{RUN}/history")
    assert status == 200
    assert [item["x"] for item in answer["items"]] == ["NaN", "Infinity", "-Infinity", -0.0]
    assert answer["items"][0]["_timestamp"] == 1_700_000_000.0
    assert {key: answer[key] for key in ("end", "rows_sent", "next_step", "sampled")} == {
        "end": True,
        "rows_sent": 4,
        "next_step": None,
        "sampled": None,
    }


async def test_empty_run_is_valid_json(worker: Worker) -> None:
    await store(worker, Session())
    assert (await ask(worker, f"{RUN}/history"))[1]["items"] == []
    assert (await ask(worker, f"{RUN}/series", keys="x", buckets=5))[1]["items"][0]["sampled"]["from"] == 0


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_limit_returns_a_cursor(worker: Worker, limit: int) -> None:
    for writer in ("0", "1"):
        session = Session(writer=writer)
        await store(worker, session, frame(session, range(0, 50, 5), {"x": range(10)}))
    found: list[dict[str, Any]] = []
    start: int | None = 0
    while start is not None:
        batches = await ask_batches(worker, f"{RUN}/history", limit=limit, min_step=start)
        some = rows_of(batches)
        assert len(some) <= max(limit, 2)  # both rows of a step are on one page
        found += some
        start = batches[-1].head["next_step"]
    assert found == await rows(worker)


@pytest.fixture
async def small(postgres_dsn: str) -> AsyncIterator[Worker]:
    """A worker with small pages."""
    worker = Worker(Config(postgres_dsn, port=0, reads=Reads(page_points=20, page_bytes=4000, connections=2)))
    await worker.start()
    yield worker
    await worker.stop()


async def test_full_pages_lose_and_repeat_nothing(small: Worker) -> None:
    """Dense, sparse and single steps, and objects that are larger than the points of a page."""
    session = Session()
    sparse = [10**6 * step for step in range(1, 30)]
    await store(
        small,
        session,
        frame(session, range(100), {"a": range(100), "b": range(100)}, objects=[(50, "o", "x" * 1500)]),
        frame(session, [2**40], {"a": [7]}),
    )
    other = Session(writer="1")
    await store(small, other, frame(other, sparse, {"c": sparse}))
    batches = await ask_batches(small, f"{RUN}/history")
    expected = [row(step, a=step, b=step, **({"o": "x" * 1500} if step == 50 else {})) for step in range(100)]
    expected += [row(step, "1", c=step) for step in sparse] + [row(2**40, a=7)]
    assert rows_of(batches) == expected
    assert max(batch.rows for batch in batches) < 100
    assert rows_of(await ask_batches(small, f"{RUN}/series", keys="c")) == [row(step, "1", c=step) for step in sparse]


async def test_step_too_large_for_a_page_is_an_error(small: Worker) -> None:
    session = Session()
    names = {f"m{i}": [1.0] for i in range(500)}
    await store(small, session, frame(session, [0], {"x": [1]}), frame(session, [1], names))
    batches = await ask_batches_that_fail(small, f"{RUN}/history")
    assert batches["code"] == "usage"
    assert "step 1 alone exceeds the limit of a page" in batches["message"]
    assert await rows(small, keys="x") == [row(0, x=1)]


async def ask_batches_that_fail(worker: Worker, path: str) -> dict[str, Any]:
    status, answer = await ask(worker, path)
    assert status in (200, 400)
    error: dict[str, Any] = answer["error"]
    return error


async def test_frames_of_many_shapes_are_joined(worker: Worker) -> None:
    session = Session()
    rng = np.random.default_rng(1)
    step, frames, expected = 0, [], []
    for _ in range(50):
        count = int(rng.integers(1, 20))
        steps, values = list(range(step, step + count)), rng.standard_normal(count)
        frames.append(frame(session, steps, {"x": values, f"y{count}": values}))
        expected += values.tolist()
        step += count + int(rng.integers(0, 3))
    await store(worker, session, *frames)
    (batch, _) = await ask_batches(worker, f"{RUN}/series", keys="x")
    assert batch.numbers("x").tolist() == expected


async def test_two_blocks_give_two_kinds_of_rows(worker: Worker) -> None:
    session = Session()
    blocks = [block([0, 2], {"a": [0, 2]}), block([1, 3], {"b": [1, 3]})]
    await store(worker, session, make_frame(session.id, 0, [], blocks=blocks))
    assert await rows(worker) == [row(0, a=0), row(1, b=1), row(2, a=2), row(3, b=3)]


async def test_disconnected_client_frees_its_connection(postgres_dsn: str) -> None:
    worker = Worker(Config(postgres_dsn, port=0, reads=Reads(connections=1, page_points=1000, wait_s=5)))
    await worker.start()
    try:
        session = Session()
        for at in range(0, 100_000, 20_000):
            await store(worker, session, frame(session, range(at, at + 20_000), {"x": np.zeros(20_000)}))
        host, port = worker.url.removeprefix("http://").split(":")
        for _ in range(5):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET {RUN}/history HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await writer.drain()
            await asyncio.sleep(0.01)
            writer.transport.abort()
        async with asyncio.timeout(PATIENCE_S):
            assert len(await rows(worker, keys="x", min_step=99_990)) == 10
    finally:
        await worker.stop()


async def test_reads_without_a_connection_are_told_to_retry(postgres_dsn: str) -> None:
    limits = dataclasses.replace(Reads(), connections=1, wait_s=0.05)
    worker = Worker(Config(postgres_dsn, port=0, reads=limits))
    await worker.start()
    try:
        await store(worker, Session())
        async with worker.services.reads.snapshot():
            status, answer = await ask(worker, RUN)
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        assert (await ask(worker, RUN))[0] == 200
    finally:
        await worker.stop()


async def test_busy_read_pool_does_not_delay_frames(postgres_dsn: str) -> None:
    worker = Worker(Config(postgres_dsn, port=0, reads=Reads(connections=2)))
    await worker.start()
    try:
        async with worker.services.reads.snapshot(), worker.services.reads.snapshot():
            session = Session()
            async with asyncio.timeout(PATIENCE_S):
                await store(worker, session, frame(session, [0], {"x": [1]}))
        assert await rows(worker) == [row(0, x=1)]
    finally:
        await worker.stop()


async def test_reads_are_read_only_with_timeout(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn) as worker:
        with pytest.raises(UnavailableError, match="read-only transaction"):
            async with worker.services.reads.snapshot() as connection:
                await connection.execute("DELETE FROM stepwell.run")
        with pytest.raises(UsageError, match="took longer than 30 s"):
            async with worker.services.reads.snapshot() as connection:
                await connection.execute("SET LOCAL statement_timeout = 20")
                await connection.execute("SELECT pg_sleep(10)")
