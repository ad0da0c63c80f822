"""Rows gather while a frame is in flight, for as long as a busy server advises, and while frames are lost."""

from __future__ import annotations

import asyncio

import pytest

from fixtures.server import QUICK, StartRun
from fixtures.unruly import Peer, unruly
from stepwell import wire
from stepwell.delivery.replies import pace_s
from stepwell.runs.run import Run
from stepwell.settings import Limits


async def log_slowly(run: Run, steps: int) -> None:
    """Logs each step in a separate tick, unless ticks are skipped."""
    for _ in range(steps):
        run.log({"a": 1})
        await asyncio.sleep(0.06)


async def test_rows_gather_until_acknowledged(start_run: StartRun) -> None:
    gathered = asyncio.Event()

    async def busy(peer: Peer) -> None:
        await peer.hear()
        await peer.say(type="attached", next_seq=0, pace_ms=10_000)
        [first] = await peer.take(1)
        await gathered.wait()
        await peer.acknowledge(first, pace_ms=10_000)
        await peer.serve()

    async with unruly(busy) as server:
        run = start_run(server.url)
        await log_slowly(run, 1)
        while not server.frames:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        await log_slowly(run, 10)
        assert len(server.frames) == 1
        gathered.set()
        await asyncio.to_thread(run.finish)
    steps = [wire.decode(frame).blocks[0].steps.tolist() for frame in server.frames if wire.peek(frame).points]
    assert steps == [[0], list(range(1, 11))]


async def test_flush_ignores_the_pace(start_run: StartRun) -> None:
    async def busy(peer: Peer) -> None:
        await peer.hear()
        await peer.say(type="attached", next_seq=0, pace_ms=10_000)
        [first] = await peer.take(1)
        await peer.take(1)  # by flush(), with the first one still in flight
        await peer.acknowledge(first, pace_ms=10_000)
        await peer.acknowledge(server.frames[-1])
        await peer.serve()

    async with unruly(busy) as server:
        run = start_run(server.url)
        await log_slowly(run, 1)
        while not server.frames:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        run.log({"a": 1})
        assert await run.flush()
        await asyncio.to_thread(run.finish)


async def test_rows_gather_while_frames_are_lost(
    start_run: StartRun, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise each tick would leave a tombstone in memory, for as long as the server is away and the disk full."""
    limits = Limits(spool_bytes=1, memory_bytes=0)
    run = start_run(f"http://127.0.0.1:{unused_tcp_port}", limits=limits, timeouts=QUICK)

    def losses() -> int:
        return sum("were lost" in message for message in caplog.messages)

    while not losses():
        await log_slowly(run, 1)
    before = losses()
    await log_slowly(run, 10)
    assert losses() == before
    await asyncio.to_thread(run.finish)
    assert losses() == before + 1  # all of them in one frame
    assert run.account.logged == run.account.dropped


@pytest.mark.parametrize(
    ("said", "seconds"),
    [({"pace_ms": 250}, 0.25), ({"pace_ms": 10**9}, 10.0), ({}, 0.0), ({"pace_ms": -1}, 0.0), ({"pace_ms": "x"}, 0.0)],
)
def test_invalid_advice_is_ignored(said: dict[str, object], seconds: float) -> None:
    assert pace_s(said) == seconds
