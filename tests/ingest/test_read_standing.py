"""A paged read shows a single history or reports that it changed; forks and late media are read to the end."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from fixtures.ingest import Session
from fixtures.reads import RUN, ask, ask_batches, frame, rows_of, run_path, store
from stepwell.errors import NotFoundError, RewoundError
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.read.history import Wanted, read_pages
from stepwell_ingest.read.runs import find_run
from stepwell_ingest.read.series import read_buckets
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


@pytest.fixture
async def small(postgres_dsn: str) -> AsyncIterator[Worker]:
    """A worker with small pages."""
    worker = Worker(Config(postgres_dsn, port=0, reads=Reads(page_points=20)))
    await worker.start()
    yield worker
    await worker.stop()


async def stored(worker: Worker, steps: int = 100) -> Session:
    session = Session()
    await store(worker, session, frame(session, range(steps), {"x": range(steps)}))
    return session


async def pages(worker: Worker) -> AsyncIterator[Any]:
    row = await find_run(worker.services.reads, "team", "mnist", "run-1")
    return read_pages(worker.services.reads, row, Wanted())


async def test_delete_during_a_read_is_reported(small: Worker, pg: asyncpg.Connection) -> None:
    await stored(small)
    reading = await pages(small)
    await anext(reading)
    await pg.execute("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run")
    with pytest.raises(NotFoundError, match="deleted"):
        await anext(reading)


@pytest.mark.parametrize("fork", [False, True])
async def test_rewind_during_a_read_is_reported(small: Worker, fork: bool) -> None:
    await stored(small)
    name = "run-1"
    if fork:
        name = "child"
        await store(small, Session(run=name), fork_run="run-1", fork_step=80)
    row = await find_run(small.services.reads, "team", "mnist", name)
    reading = read_pages(small.services.reads, row, Wanted())
    taken = [await anext(reading) for _ in range(3)]
    await store(small, Session(run=name), rewind_to=int(taken[-1].next_step) - 5)
    with pytest.raises(RewoundError, match=f"rows from step {taken[-1].next_step - 4} on"):
        await anext(reading)


async def test_rewind_above_the_read_position_is_harmless(small: Worker) -> None:
    await stored(small)
    reading = await pages(small)
    taken = [await anext(reading)]
    await store(small, Session(), rewind_to=70)
    taken += [page async for page in reading]
    assert [step for page in taken for step in page.steps.tolist()] == list(range(71))


async def test_read_continues_while_the_run_logs(small: Worker) -> None:
    session = await stored(small)
    reading = await pages(small)
    taken = [await anext(reading)]
    await store(small, session, frame(session, range(100, 200), {"x": range(100)}))
    taken += [page async for page in reading]
    assert [step for page in taken for step in page.steps.tolist()][:100] == list(range(100))


async def test_buckets_of_several_keys_share_a_snapshot(small: Worker) -> None:
    await stored(small)
    row = await find_run(small.services.reads, "team", "mnist", "run-1")
    reading = read_buckets(small.services.reads, row, ["x", "x"], 10, None, None)
    await anext(reading)
    await store(small, Session(), rewind_to=50)
    with pytest.raises(RewoundError):
        await anext(reading)


async def test_started_answer_ends_with_the_error(small: Worker, pg: asyncpg.Connection) -> None:
    """It has no "end", so that the client does not take it for complete."""
    await stored(small)
    original = small.services.reads.snapshot
    asked = 0

    def rewinding() -> Any:
        nonlocal asked
        asked += 1
        return original()

    small.services.reads.snapshot = rewinding  # type: ignore[method-assign]  # counts
    status, whole = await ask(small, f"{RUN}/history")
    assert (status, whole["end"]) == (200, True)
    pages_asked, asked = asked, 0

    class Cut:
        async def __aenter__(self) -> Any:
            nonlocal asked
            asked += 1
            if asked == pages_asked - 1:
                await pg.execute("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run")
            self._snapshot = original()
            return await self._snapshot.__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            await self._snapshot.__aexit__(*error)

    small.services.reads.snapshot = Cut  # type: ignore[method-assign,assignment]  # deletes the run before the last but one
    status, cut = await ask(small, f"{RUN}/history")
    assert (status, cut["error"]["code"], "end" in cut) == (200, "not_found", False)


async def test_object_cursor_detects_another_history(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [frame(session, [step], {"x": [step]}, objects=[(step, "o", step)]) for step in range(6)]
    await store(worker, session, *frames)
    path = f"{RUN}/objects"
    _, first = await ask(worker, path, key="o", limit=2)
    _, second = await ask(worker, path, key="o", limit=2, cursor=first["next"])
    assert [item["step"] for item in second["values"]] == [2, 3]
    await store(worker, Session(), rewind_to=0)
    status, answer = await ask(worker, path, key="o", limit=2, cursor=first["next"])
    assert (status, answer["error"]["code"]) == (409, "rewound")
    _, first = await ask(worker, path, key="o")
    assert [item["step"] for item in first["values"]] == [0]


@pytest.mark.parametrize("samples", [5, 50, 146, 500])
@pytest.mark.parametrize(("first", "rows"), [(0, 20), (1_000_000, 146), (1_000_000, 5000), (2**62, 1000)])
async def test_sample_size_is_about_as_requested(worker: Worker, samples: int, first: int, rows: int) -> None:
    session = Session()
    await store(worker, session, frame(session, range(first, first + rows), {"x": [float(i) for i in range(rows)]}))
    batches = await ask_batches(worker, f"{RUN}/history", samples=samples)
    found = [row["_step"] for row in rows_of(batches)]
    assert len(found) == min(samples, rows)
    assert (found[0], found[-1]) == (first, first + rows - 1)
    gaps = [right - left for left, right in itertools.pairwise(found)]
    assert max(gaps) <= max(1, 4 * rows // samples)
    sampled = batches[-1].head["sampled"]
    assert sampled is None if rows <= samples else sampled["from_rows"] == rows


async def test_fork_is_read_to_its_end(worker: Worker) -> None:
    parent, child = Session(), Session(run="child")
    frames = [frame(parent, [step], {"x": [step]}, objects=[(step, "o", step)]) for step in range(51)]
    await store(worker, parent, *frames)
    await store(worker, child, fork_run="run-1", fork_step=40)
    path = run_path("child")
    assert (await ask(worker, path))[1]["last_step"] == 40
    for made in ((), (41, 42)):
        if made:
            await store(worker, child, frame(child, made, {"x": made}))
        expected = [*range(41), *made]
        assert [row["_step"] for row in rows_of(await ask_batches(worker, f"{path}/history"))] == expected
        assert [row["_step"] for row in rows_of(await ask_batches(worker, f"{path}/series", keys="x"))] == expected
        _, objects = await ask(worker, f"{path}/objects", key="o")
        assert [item["step"] for item in objects["values"]] == list(range(41))
    await store(worker, Session(run="child"), rewind_to=10)
    assert [row["_step"] for row in rows_of(await ask_batches(worker, f"{path}/history"))] == list(range(11))
    assert (await ask(worker, path))[1]["last_step"] == 10


async def test_maximal_steps_are_read(worker: Worker) -> None:
    session, last = Session(), 2**63 - 2
    await store(worker, session, frame(session, [1, last - 2, last], {"x": [1, 2, 3]}, objects=[(last, "o", "x")]))
    assert (await ask(worker, RUN))[1]["last_step"] == last
    for query in ({}, {"samples": 1}, {"samples": 5}, {"limit": 5}):
        found = rows_of(await ask_batches(worker, f"{RUN}/history", **query))
        assert [row["_step"] for row in found][-1] == last
    (buckets, _) = await ask_batches(worker, f"{RUN}/series", keys="x", buckets=1)
    assert (buckets.head["bucket_width"], buckets.numbers("count").tolist()) == (2**63 - 1, [3])
    assert (await ask(worker, f"{RUN}/objects", key="o"))[1]["values"][0]["step"] == last
