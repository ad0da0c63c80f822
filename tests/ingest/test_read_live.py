"""Live views: the events of a run, and how a reader continues after it was disconnected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.ingest import Client, Session, eventually, get
from fixtures.live import View, listen
from fixtures.reads import RUN, ask, frame, run_path, store
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

QUICK = Reads(live_poll_s=0.02, live_keep_alive_s=0.2, live_points=2000)


@pytest.fixture
async def worker(postgres_dsn: str) -> AsyncIterator[Worker]:
    worker = Worker(Config(postgres_dsn, port=0, reads=QUICK))
    await worker.start()
    yield worker
    await worker.stop()


def rows(data: Any) -> list[tuple[str, int, Any]]:
    return [(row["_writer"], row["_step"], row.get("x")) for row in data["rows"]]


async def test_live_view_sends_the_position_then_new_points(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0, 5], {"x": [1, 2]}))
    async with listen(worker.url, RUN, ["x"]) as events:
        kind, cursor, data = await events.next()
        assert (kind, data) == ("start", {"state": "running", "writers": {"0": 5}})
        assert cursor
        await store(
            worker, session, frame(session, [6, 8], {"x": [3, float("nan")], "y": [0, 0]}, objects=[(8, "o", 1)])
        )
        kind, _, data = await events.next()
        assert kind == "delta"
        assert rows(data) == [("0", 6, 3.0), ("0", 8, "NaN")]
        assert data["moved"] == [{"writer": "0", "from_step": 6, "to_step": 8}]
        assert data["rows"][0].keys() == {"_step", "_writer", "_timestamp", "x"}


async def test_live_view_without_keys_has_positions_only(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    async with listen(worker.url, RUN) as events:
        assert (await events.next())[2] == {"state": "running", "writers": {"0": -1}}
        await store(worker, session, frame(session, [3], {"x": [1]}))
        moved = [{"writer": "0", "from_step": 3, "to_step": 3}]
        assert (await events.next())[2] == {"state": "running", "cuts": [], "moved": moved}


async def test_new_objects_are_sent(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    async with listen(worker.url, RUN, ["o"]) as events:
        await events.next()
        await store(worker, session, frame(session, [0], {"x": [1]}, objects=[(0, "o", {"a": "line\nbreak"})]))
        assert (await events.next())[2]["rows"][0]["o"] == {"a": "line\nbreak"}


async def test_restart_is_a_cut_followed_by_new_points(worker: Worker) -> None:
    first, second = Session(), Session()
    await store(worker, first, frame(first, range(5), {"x": range(5)}))
    async with listen(worker.url, RUN, ["x"]) as events:
        await events.next()
        await store(worker, second, frame(second, [2, 3], {"x": [20, 30]}))
        data: dict[str, Any] = {"cuts": []}
        while not data["cuts"]:
            _, _, data = await events.next()
        assert data["cuts"] == [{"writer": "0", "from_step": 2}]
        assert rows(data) == [("0", 2, 20.0), ("0", 3, 30.0)]


async def test_inherited_points_are_not_news(worker: Worker) -> None:
    parent, child = Session(), Session(run="child")
    await store(worker, parent, frame(parent, range(5), {"x": range(5)}, objects=[(2, "o", "parent's")]))
    await store(worker, child, fork_run="run-1", fork_step=3)
    async with listen(worker.url, run_path("child"), ["x", "o"]) as events:
        await events.next()
        await store(worker, child, frame(child, [4], {"x": [40]}, objects=[(4, "o", "child's")]))
        kind, _, data = await events.next()
        assert (kind, rows(data), data["rows"][0]["o"]) == ("delta", [("0", 4, 40.0)], "child's")


async def test_end_of_a_run_is_sent(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        async with listen(worker.url, RUN) as events:
            await events.next()
            await client.finish()
            assert (await events.next())[2]["state"] == "finished"


@pytest.mark.parametrize("header", [True, False])
async def test_reconnected_reader_gets_missed_events_once(worker: Worker, header: bool) -> None:
    session, view = Session(), View("x")
    await store(worker, session)
    async with listen(worker.url, RUN, ["x"]) as events:
        _, view.cursor, _ = await events.next()
    for round_ in range(5):
        await store(worker, session, frame(session, range(10 * round_, 10 * round_ + 10), {"x": np.arange(10)}))
        async with listen(worker.url, RUN, ["x"], view.cursor, header) as events:
            view.take(*await events.next())
    assert sorted(view.points["0"]) == list(range(50))


async def test_reader_far_behind_starts_over(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    async with listen(worker.url, RUN, ["x"]) as events:
        _, cursor, _ = await events.next()
    await store(worker, session, frame(session, range(3000), {"x": np.zeros(3000)}))
    async with listen(worker.url, RUN, ["x"], cursor) as events:
        kind, cursor, data = await events.next()
        assert (kind, data["reason"]) == ("reset", "more than 2000 points are new")
        await store(worker, session, frame(session, [3000], {"x": [1]}))
        kind, _, data = await events.next()
        assert (kind, rows(data)) == ("delta", [("0", 3000, 1.0)])


async def test_late_writer_sends_only_its_points(worker: Worker) -> None:
    """The points of the other writers are in the same range of steps, and are not sent again."""
    first, second = Session(), Session(writer="1")
    await store(worker, first, frame(first, range(1900), {"x": np.zeros(1900)}))
    async with listen(worker.url, RUN, ["x"]) as events:
        await events.next()
        await store(worker, second, frame(second, [5, 6], {"x": [1, 2]}))
        data: dict[str, Any] = {}
        while not data.get("rows"):
            kind, _, data = await events.next()
            assert kind == "delta"
        assert rows(data) == [("1", 5, 1.0), ("1", 6, 2.0)]


async def test_cursor_of_another_history_starts_over(worker: Worker) -> None:
    session = Session(run="other")
    await store(worker, session, frame(session, [7], {"x": [1]}))
    async with listen(worker.url, "/v1/runs/team/mnist/other") as events:
        _, cursor, _ = await events.next()
    await store(worker, Session())
    async with listen(worker.url, RUN, cursor=cursor) as events:
        kind, _, data = await events.next()
        assert (kind, data["reason"]) == ("reset", "the cursor does not belong to this history")
    status, answer = await ask(worker, f"{RUN}/live", cursor="nonsense")
    assert (status, answer["error"]["code"]) == (400, "usage")


async def test_listeners_at_one_position_share_a_read(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    reads = 0
    original = worker.services.live._read

    async def counting(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return await original(*arguments)

    worker.services.live._read = counting  # type: ignore[method-assign]  # counted, not replaced

    async def reader() -> Any:
        async with listen(worker.url, RUN, ["x"]) as events:
            await events.next()
            ready.release()
            return await events.next()

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(reader()) for _ in range(20)]
    for _ in tasks:
        await ready.acquire()
    await asyncio.sleep(5 * QUICK.live_poll_s)
    before = reads
    await store(worker, session, frame(session, [0], {"x": [1]}))
    answers = await asyncio.gather(*tasks)
    assert all(rows(data) == [("0", 0, 1.0)] for _, _, data in answers)
    assert reads - before < len(tasks)
    await eventually(lambda: worker.services.live.listeners == 0)


async def test_idle_live_view_sends_keepalives(worker: Worker) -> None:
    await store(worker, Session())
    async with listen(worker.url, RUN) as events:
        await events.next()
        assert await events.comment() == ": still here"


async def test_excess_listeners_are_told_to_retry(postgres_dsn: str) -> None:
    worker = Worker(Config(postgres_dsn, port=0, reads=Reads(listeners=1)))
    await worker.start()
    try:
        await store(worker, Session())
        async with listen(worker.url, RUN) as events:
            await events.next()
            status, answer = await ask(worker, f"{RUN}/live")
            assert (status, answer["error"]["code"]) == (503, "overloaded")
    finally:
        await worker.stop()


async def test_stopping_server_ends_live_views(worker: Worker) -> None:
    await store(worker, Session())
    async with listen(worker.url, RUN) as events:
        await events.next()
        await worker.drain()
        with pytest.raises(EOFError):
            await events.next()
    assert (await get(worker, "/healthz"))[0] == 200


async def test_failed_poll_is_retried(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    async with listen(worker.url, RUN, ["x"]) as events:
        await events.next()
        async with worker.services.reads.snapshot() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'stepwell reads' AND pid <> pg_backend_pid()"
            )
        await store(worker, session, frame(session, [0], {"x": [1]}))
        assert rows((await events.next())[2]) == [("0", 0, 1.0)]


async def test_fork_started_below_its_fork_step_cuts_inherited_points(worker: Worker) -> None:
    parent, fork = Session(), Session(run="fork")
    await store(worker, parent, frame(parent, range(10), {"x": range(10)}))
    await store(worker, Session(run="fork", writer="other"), fork_run="run-1", fork_step=7)
    async with listen(worker.url, "/v1/runs/team/mnist/fork", ["x"]) as events:
        await events.next()
        await store(worker, fork, frame(fork, [4, 5], {"x": [40, 50]}))
        _, _, data = await events.next()
        while not data["rows"]:  # the attach of the writer
            _, _, data = await events.next()
        assert data["cuts"] == [{"writer": "0", "from_step": 4}]
        assert data["moved"] == [{"writer": "0", "from_step": 4, "to_step": 5}]
        assert rows(data) == [("0", 4, 40.0), ("0", 5, 50.0)]


async def test_deleted_run_ends_its_live_views(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    await store(worker, session, frame(session, [0], {"x": [1]}))
    async with listen(worker.url, RUN, ["x"]) as events, listen(worker.url, RUN) as others:
        _, cursor, _ = await events.next()
        await others.next()
        await pg.execute("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run")
        for reader in (events, others):
            assert (await reader.next())[0] == "deleted"
            with pytest.raises(EOFError):
                await reader.next()
    status, answer = await ask(worker, f"{RUN}/live", cursor=cursor)
    assert (status, answer["error"]["code"]) == (404, "not_found")


async def test_rewound_fork_cuts_all_inherited_writers(worker: Worker) -> None:
    for writer in ("0", "1"):
        session = Session(writer=writer)
        await store(worker, session, frame(session, range(10), {"x": range(10)}))
    await store(worker, Session(run="child"), fork_run="run-1", fork_step=8)
    async with listen(worker.url, run_path("child"), ["x"]) as events:
        await events.next()
        again = Session(run="child")
        await store(worker, again, rewind_to=3)
        kind, _, data = await events.next()
        assert (kind, data["rows"]) == ("delta", [])
        assert data["cuts"] == [{"writer": "0", "from_step": 4}, {"writer": "1", "from_step": 4}]
        await store(worker, again, frame(again, [4], {"x": [40]}))
        _, _, data = await events.next()
        assert (data["cuts"], rows(data)) == ([], [("0", 4, 40.0)])
        first = Session(run="child", writer="1")
        await store(worker, first, frame(first, [2], {"x": [20]}))
        _, _, data = await events.next()
        assert (data["cuts"], rows(data)) == ([{"writer": "1", "from_step": 2}], [("1", 2, 20.0)])


async def test_pending_parent_points_reach_live_views_of_the_fork(worker: Worker) -> None:
    parent = Session()
    await store(worker, parent, frame(parent, range(5), {"x": range(5)}))
    await store(worker, Session(run="child"), fork_run="run-1", fork_step=7)
    async with listen(worker.url, run_path("child"), ["x"]) as events:
        await events.next()
        await store(worker, parent, frame(parent, [5, 6], {"x": [5, 6]}))
        _, cursor, data = await events.next()
        assert (data["cuts"], rows(data)) == ([], [("0", 5, 5.0), ("0", 6, 6.0)])
        assert data["moved"] == [{"writer": "0", "from_step": 5, "to_step": 6}]
    await store(worker, parent, frame(parent, [7, 8], {"x": [7, 8]}))
    async with listen(worker.url, run_path("child"), ["x"], cursor) as events:
        assert rows((await events.next())[2]) == [("0", 7, 7.0)]
