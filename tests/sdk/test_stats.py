"""The counters: logged = stored + rejected + dropped + left, and `durable_step` follows commits only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

import stepwell
from fixtures.server import Backend, StartRun
from fixtures.unruly import Peer, unruly
from stepwell.delivery import collector as module
from stepwell.runs.run import Run
from stepwell.settings import Limits

PATIENCE_S = 30


def values_of(run: Run) -> tuple[int, int, int, int, int]:
    """The counts of logged values by state."""
    account = run.account
    return account.logged, account.stored, account.rejected, account.dropped, account.left


async def cut(run: Run, steps: int = 1) -> None:
    """Logs `steps` steps, which become one frame."""
    for _ in range(steps):
        run.log({"a": 1})
    assert run._session is not None
    assert await asyncio.to_thread(run._session.sender.make_room)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the I/O thread has no event to wait for
            await asyncio.sleep(0.002)


def durable(run: Run, step: int | None) -> Callable[[], bool]:
    return lambda: run.durable_step == step


async def test_durable_step_follows_acknowledgements(start_run: StartRun) -> None:
    acknowledge = asyncio.Queue[int]()

    async def on_demand(peer: Peer) -> None:
        await peer.attach()
        frames: list[bytes] = []
        while True:
            wanted = await acknowledge.get()
            while len(frames) <= wanted:
                frames += await peer.take(1)
            await peer.acknowledge(frames[wanted])

    async with unruly(on_demand) as server:
        run = start_run(server.url)
        assert run.durable_step is None
        run.log({"a": 1}, step=3)  # open, so it is in no frame
        for _ in range(3):
            await cut(run, 10)
        assert run.step == 33
        await until(lambda: run.stats is not None and run.stats.frames_sent == 3)
        assert run.durable_step is None
        acknowledge.put_nowait(0)
        await until(durable(run, 12))
        acknowledge.put_nowait(2)
        await until(durable(run, 32))
        run.log({"a": 1}, step=100)
        assert run.durable_step == 32
        stats = run.stats
        assert stats is not None
        assert (stats.steps_logged, stats.values_logged, stats.values_acknowledged) == (30, 30, 30)
        assert (stats.durable_step, stats.connections, stats.frames_sent, stats.frames_rejected) == (32, 1, 3, 0)
        acknowledge.put_nowait(3)
        await cut(run)
        run.log({"a": 1}, step=200)  # closes step 101, which is in no frame yet
        await until(lambda: run.durable_step in (100, 101))
        run._session.sender.abandon()  # type: ignore[union-attr]


async def test_attach_reply_makes_steps_durable(start_run: StartRun) -> None:
    async def commit_and_cut(peer: Peer) -> None:
        await peer.attach()
        await peer.take(2)
        peer._server.next_seq = 2
        await peer.cut()

    async with unruly(commit_and_cut) as server:
        run = start_run(server.url)
        await cut(run, 5)
        await cut(run, 5)
        await until(durable(run, 9))
        assert values_of(run) == (10, 10, 0, 0, 0)
        run._session.sender.abandon()  # type: ignore[union-attr]


async def test_durable_marks_are_conservative(start_run: StartRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long outage with 200 cuts, for which at most 8 marks are stored."""
    monkeypatch.setattr(module, "_MAX_MARKS", 8)
    acknowledge = asyncio.Queue[int]()

    async def on_demand(peer: Peer) -> None:
        await peer.attach()
        frames = await peer.take(200)
        while True:
            await peer.acknowledge(frames[await acknowledge.get()])

    async with unruly(on_demand) as server:
        run = start_run(server.url)
        for _ in range(200):
            await cut(run)
        assert run._session is not None
        assert len(run._session.sender._collector._marks) <= 10
        before = -1
        for seq in range(9, 200, 10):
            acknowledge.put_nowait(seq)
            await until(lambda seq=seq: run.account.stored == seq + 1)  # type: ignore[misc]
            step = -1 if run.durable_step is None else run.durable_step
            assert before <= step <= seq
            before = step
        await until(durable(run, 199))
        run._session.sender.abandon()


async def test_attach_reply_rejections_are_counted_once(start_run: StartRun) -> None:
    """The frames were committed and rejected, but the acknowledgement was lost."""
    seen: list[tuple[int, str]] = []
    refusal = {"seq": 1, "code": "limit", "message": "too many metrics", "retryable": False}

    async def refuse_and_cut(peer: Peer) -> None:
        await peer.attach()
        await peer.take(3)
        peer._server.next_seq = 3
        await peer.cut()

    async def tell(peer: Peer) -> None:
        message = await peer.hear()
        assert isinstance(message, dict)
        assert message["from_seq"] == 0
        await peer.say(type="attached", next_seq=3, rejected=[refusal])
        await peer.serve()

    async with unruly(refuse_and_cut, tell) as server:
        run = start_run(server.url, on_rejection=lambda seq, error: seen.append((seq, error.code)))
        for _ in range(3):
            await cut(run, 4)
        await until(lambda: run.account.stored == 8)
        assert values_of(run) == (12, 8, 4, 0, 0)
        assert seen == [(1, "limit")]
        assert run.stats is not None
        assert (run.stats.frames_rejected, run.stats.values_rejected, run.durable_step) == (1, 4, 11)
        await cut(run)
        await until(lambda: run.account.stored == 9)
        assert seen == [(1, "limit")]
        run._session.sender.abandon()  # type: ignore[union-attr]


async def test_offline_nothing_is_durable(start_run: StartRun) -> None:
    run = start_run(mode="offline")
    await cut(run, 7)
    assert await run.flush()
    assert (run.durable_step, values_of(run)) == (None, (7, 0, 0, 0, 7))
    assert run.stats is not None
    assert (run.stats.values_spooled, run.stats.frames_sent, run.stats.connections) == (7, 0, 0)


def test_disabled_run_has_no_counts(start_run: StartRun) -> None:
    with start_run(mode="disabled") as run:
        run.log({"a": 1})
        assert (run.stats, run.durable_step, run.account) == (None, None, stepwell.Account(0, 0, 0, 0, 0))


@pytest.mark.db
def test_counts_always_add_up(postgres_dsn: str, start_run: StartRun) -> None:
    """Disk and memory are small, the server starts late, and some frames are refused."""
    backend = Backend(postgres_dsn)
    limits = Limits(spool_bytes=64 * 1024, memory_bytes=32 * 1024, frame_bytes=4096)
    run = start_run(backend.url, limits=limits, on_rejection=lambda *_: None)
    for number in range(400):
        run.log({"a": number, "text": "x" * 500})
        if number % 10 == 0:
            run._session.sender.make_room()  # type: ignore[union-attr]
            logged, stored, rejected, dropped, left = values_of(run)
            assert logged == stored + rejected + dropped + left
    assert run.account.dropped
    assert run.durable_step is None
    backend.start()
    assert run.flush()
    run.log({"a": 1})
    run.finish()
    logged, stored, rejected, dropped, left = values_of(run)
    assert (logged, rejected, left) == (801, 0, 0)
    assert logged == stored + dropped
    assert len(backend.points("run-1")) + len(backend.objects("run-1")) == stored
    stats = run.stats
    assert stats is not None
    assert (stats.values_logged, stats.values_acknowledged, stats.values_dropped) == (logged, stored, dropped)
    assert stats.values_spooled + stats.values_unspooled + stats.values_dropped == logged
    assert stats.frames_stored + stats.frames_rejected + stats.frames_duplicate == stats.frames_sent
    assert (stats.durable_step, stats.steps_logged, stats.calls_dropped) == (400, 401, 0)
    backend.stop()


@pytest.mark.db
def test_durable_step_is_in_history(backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url)
    for round_ in range(5):
        for _ in range(200):
            run.log({"a": run.step})
        assert run.flush()
        assert run.durable_step == 200 * (round_ + 1) - 1
        assert len(backend.points("run-1")) == 200 * (round_ + 1)
    run.log({"a": 1})
    run.finish()
    assert run.durable_step == 1000
