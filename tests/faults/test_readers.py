"""Faults of readers: live views and reads whose connection ends at any point, while writers restart.

Numbers in brackets are those of the list of faults in docs/guarantees.md. `View` is strict: it fails if an event
repeats a point, or shows an earlier point without a cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import numpy as np
import pytest

import stepwell
from faults.proxy import Action, Proxy, Shape
from fixtures.ingest import PATIENCE_S, Session, stored_steps
from fixtures.live import View, listen
from fixtures.reads import RUN, ask_batches, frame, rows_of, store
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

WRITERS = ("0", "1", "2")
QUICK = Reads(live_poll_s=0.01, live_keep_alive_s=0.2, page_points=300)


@pytest.fixture
async def workers(postgres_dsn: str) -> AsyncIterator[list[Worker]]:
    """Two workers on one Postgres; any request may reach either."""
    both = [Worker(Config(postgres_dsn, port=0, reads=QUICK)) for _ in range(2)]
    for worker in both:
        await worker.start()
    yield both
    for worker in both:
        await worker.stop()


@asynccontextmanager
async def breaking(workers: list[Worker], ends: random.Random, most: int) -> AsyncIterator[str]:
    """The URL of a proxy to both workers in turn, whose connections end after a random byte of the answers."""
    turn = 0

    async def connect() -> Any:
        nonlocal turn
        turn += 1
        url = urlsplit(workers[turn % 2].url)
        return await asyncio.open_connection(url.hostname, url.port)

    proxy = Proxy(connect)
    # Usually early; sometimes late enough for everything that has gathered.
    proxy.down = lambda _: Shape(
        end_after=ends.randrange(1, most * ends.choice([1, 1, 100])), end=ends.choice([Action.CUT, Action.RESET])
    )
    await proxy.start()
    try:
        yield f"http://127.0.0.1:{proxy.port}"
    finally:
        await proxy.stop()


async def write(workers: list[Worker], writer: str, luck: random.Random, frames: int) -> None:
    """Logs through either worker, and sometimes restarts from an earlier step."""
    session, step = Session(writer=writer), 0
    for _ in range(frames):
        if luck.random() < 0.2:
            session, step = Session(writer=writer), luck.randrange(step + 1)
        steps = range(step, step + luck.randrange(1, 8))
        await store(luck.choice(workers), session, frame(session, steps, {"loss": [float(step) for step in steps]}))
        step = steps[-1] + 1
        await asyncio.sleep(luck.random() * 0.01)


async def watch(url: str, view: View, done: asyncio.Event, pg: asyncpg.Connection) -> int:
    """Follows the run until it shows everything stored; returns the number of connections."""
    connections = 0
    async with asyncio.timeout(PATIENCE_S):
        while True:
            connections += 1
            try:
                async with listen(url, RUN, ["loss"], view.cursor) as events:
                    while True:
                        if done.is_set() and await shows_all(view, pg):
                            return connections
                        with contextlib.suppress(TimeoutError):  # no news: check whether this is everything
                            async with asyncio.timeout(0.5):
                                event = await events.next()
                            view.take(*event)
            except (EOFError, aiohttp.ClientError, AssertionError) as error:
                if isinstance(error, AssertionError) and "text/event-stream" not in str(error):
                    raise


async def shows_all(view: View, pg: asyncpg.Connection) -> bool:
    return all([sorted(view.points.get(writer, {})) == await stored_steps(pg, writer) for writer in WRITERS])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.slow
async def test_interrupted_live_view_misses_nothing(  # [49, 52]
    workers: list[Worker], pg: asyncpg.Connection, seed: int
) -> None:
    view, done = View("loss"), asyncio.Event()
    for writer in WRITERS:
        await store(workers[0], Session(writer=writer))
    async with listen(workers[0].url, RUN, ["loss"]) as events:
        _, view.cursor, _ = await events.next()

    async with breaking(workers, random.Random(seed), 3000) as url:
        reader = asyncio.create_task(watch(url, view, done, pg))
        await asyncio.gather(*(write(workers, writer, random.Random(f"{seed}{writer}"), 30) for writer in WRITERS))
        done.set()
        connections = await reader
    assert connections > 1
    assert view.cuts > 0
    for writer in WRITERS:
        assert all(value == step for step, value in view.points[writer].items())


async def test_sampled_pages_keep_the_extremes(  # [50]
    workers: list[Worker],
) -> None:
    """Pages are much smaller than the run, and some extremes are at their edges."""
    rng = np.random.default_rng(7)
    every: dict[tuple[str, int], float] = {}
    for writer in WRITERS:
        session = Session(writer=writer)
        values = rng.standard_normal(2000)
        values[rng.integers(0, 2000, 20)] = rng.choice([np.nan, np.inf, -np.inf, 1e300, -1e300], 20)
        await store(workers[0], session, frame(session, range(2000), {"loss": values}))
        every |= {(writer, step): value for step, value in enumerate(values.tolist())}

    batches = await ask_batches(workers[0], f"{RUN}/history", keys="loss", samples=300)
    assert len(batches) > 3  # pages and the final message
    kept = {(row["_writer"], row["_step"]): row["loss"] for row in rows_of(batches)}
    sampled = batches[-1].head["sampled"]
    assert (sampled["from"], sampled["from_rows"], sampled["rows"]) == (6000, 6000, len(kept))
    assert len(kept) < 6000
    assert all(repr(every[place]) == repr(value) for place, value in kept.items())
    width = int(sampled["by"].rpartition("buckets of ")[2].split()[0])
    buckets = {(writer, step // width) for writer, step in every}
    for writer, bucket in buckets:
        inside = [(writer, step) for step in range(bucket * width, min(2000, (bucket + 1) * width))]
        all_, some = ({every[place] for place in inside}, {kept[place] for place in inside if place in kept})
        finite = [value for value in all_ if np.isfinite(value)]
        assert {min(finite), max(finite), every[inside[0]], every[inside[-1]]} <= some | {np.nan}
        assert {np.inf, -np.inf} & all_ == {np.inf, -np.inf} & some
        assert any(map(np.isnan, all_)) == any(map(np.isnan, some))

    *found, _ = await ask_batches(workers[0], f"{RUN}/series", keys="loss", buckets=20)
    assert found[0].head["sampled"]["from"] == int(found[0].numbers("count").sum()) == 6000
    odd = sum(not np.isfinite(value) for value in every.values())
    assert odd == sum(int(found[0].numbers(kind).sum()) for kind in ("nans", "pos_infs", "neg_infs"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_interrupted_scan_returns_every_row_once(workers: list[Worker], seed: int) -> None:  # [52]
    session = Session()
    await store(workers[0], session, frame(session, range(3000), {"loss": np.arange(3000.0)}))
    # Most answers are cut off, but each contains at least one page; otherwise the SDK would rightly give up.
    async with breaking(workers, random.Random(seed), 60_000) as url:

        def scan() -> list[int]:
            api = stepwell.Api({"base_url": url, "entity": "team", "project": "mnist"})
            while True:
                try:
                    run = api.run("run-1")
                    break
                except stepwell.Error:
                    continue
            return [row["_step"] for row in run.scan_history(["loss"])]

        assert await asyncio.to_thread(scan) == list(range(3000))
