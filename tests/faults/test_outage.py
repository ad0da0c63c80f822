"""Two days without a server, with a fake clock: nothing is given up, and the oldest frame arrives first.

The clock advances when the stream pauses: each pause is skipped, and its seconds are added. Meanwhile training
continues, with a step every fake minute, through the real stage, framer, outbox and spool, until a real server starts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from fixtures.spools import IDENTITY, SESSION, TINY, abandon, segments
from stepwell.delivery.outbox import Outbox
from stepwell.delivery.stream import Source, Stream
from stepwell.errors import RejectionError
from stepwell.settings import Limits, Timeouts
from stepwell.spool import Spool
from stepwell.stage import call as _call
from stepwell.stage import stage as _stage
from stepwell.stage.framer import frames
from stepwell.stage.stage import Stage
from stepwell.transport.backoff import Backoff
from stepwell.transport.endpoint import Endpoint
from stepwell_ingest.config import Config
from stepwell_ingest.server.worker import Worker

DAY_S = 86_400
START_S = 1_700_000_000.0
STEP_EVERY_S = 60
STEPS = 2 * DAY_S // STEP_EVERY_S
#: The bounds on the number of attempts in two days, with pauses of 15 to 30 s.
TRIES = 2 * DAY_S // 30


class Training:
    """A process that logs while there is no server: a step per fake minute, each in a separate frame."""

    def __init__(self, spool: Spool) -> None:
        self.now_s = START_S
        self.over = asyncio.Event()
        self.outbox = Outbox(spool, SESSION, 0)
        self._stage = Stage(1 << 20, lambda: True)
        self._steps = 0

    def pause(self, seconds: float) -> None:
        """Advances the clock, and training with it."""
        self.now_s += seconds
        while self._steps < STEPS and START_S + self._steps * STEP_EVERY_S <= self.now_s:
            self._stage.log({"loss": float(self._steps), "note": f"step {self._steps}"})
            self._steps += 1
            cut = self._stage.cut()
            assert cut is not None
            for frame in frames(cut, SESSION, self.outbox.next_seq, 1 << 20):
                self.outbox.append(frame)
        if self.now_s - START_S > 2 * DAY_S:
            self.over.set()

    def pause_often(self) -> None:
        """Runs for two days of the fake clock."""
        while not self.over.is_set():
            self.pause(STEP_EVERY_S)


class Deliveries:
    """A source that records the order of reads by the stream and acknowledgements by the server."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.acknowledged: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def acknowledge(self, next_seq: int) -> None:
        self.acknowledged.append(next_seq)
        self._source.acknowledge(next_seq)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.create(tmp_path, IDENTITY, replace(TINY, max_bytes=1 << 26))


@pytest.fixture
async def training(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Training:
    """Replaces the clock by that of this training."""
    made = Training(spool)
    next_s = Backoff.next_s

    def skipped(self: Backoff, at_least_s: float = 0.0) -> float:
        made.pause(next_s(self, at_least_s))
        return 0.0

    monkeypatch.setattr(Backoff, "next_s", skipped)
    for module in (_stage, _call):
        monkeypatch.setattr(module, "time", lambda: made.now_s)
    return made


@pytest.fixture
def port() -> Iterator[int]:
    """A reserved port on which nothing listens yet."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def stream_to(port: int, source: Any) -> Stream:
    names = {"entity": "default", "project": "outage", "run": "r", "writer": "0"}
    message = {"type": "attach", "protocol": 1, **names, "session": SESSION.hex(), "info": {}}

    def refused(seq: int, error: RejectionError) -> None:
        raise AssertionError(f"seq {seq} was refused: {error}")

    return Stream(Endpoint.of(f"http://127.0.0.1:{port}"), source, lambda: message, Limits(), Timeouts(), refused)


async def deliver(stream: Stream, dsn: str, port: int, delivery: asyncio.Task[None]) -> None:
    """Runs the server until the end of the writer is confirmed."""
    worker = Worker(Config(dsn, port=port))
    await worker.start()
    try:
        stream.finish(0)
        await delivery
    finally:
        await worker.drain()
        await worker.stop()


async def assert_every_step_once_in_order(pg: asyncpg.Connection) -> None:
    # ctid is the place of a row in the table, and thus the order of arrival.
    seqs = await pg.fetchval("SELECT array_agg(seq ORDER BY ctid) FROM stepwell.hot_block")
    assert seqs == list(range(STEPS))
    rows = await pg.fetch(
        "SELECT step, extract(epoch FROM time)::bigint AS time, value FROM stepwell.history ORDER BY step"
    )
    assert [(row["step"], row["value"]) for row in rows] == [(step, float(step)) for step in range(STEPS)]
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert rows[-1]["time"] - rows[0]["time"] >= 2 * DAY_S - 120
    notes = await pg.fetchval("SELECT array_agg(value #>> '{}' ORDER BY step) FROM stepwell.history_objects")
    assert notes == [f"step {step}" for step in range(STEPS)]
    assert await pg.fetchval("SELECT count(*) FROM stepwell.rejections") == 0


@pytest.mark.slow
async def test_every_frame_arrives_once_after_a_two_day_outage(
    training: Training, spool: Spool, port: int, postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    source = Deliveries(training.outbox)
    stream = stream_to(port, source)
    delivery = asyncio.create_task(stream.run())
    await training.over.wait()
    assert (stream.failed, stream.counts.connections) == (None, 0)
    assert (training.outbox.first_seq, training.outbox.next_seq) == (0, STEPS)
    assert len(segments(spool.directory)) > 100
    await deliver(stream, postgres_dsn, port, delivery)
    await assert_every_step_once_in_order(pg)
    assert source.acknowledged[:1] == [0]
    assert source.acknowledged == sorted(source.acknowledged)
    assert (stream.counts.frames_stored, stream.counts.frames_duplicate) == (STEPS, 0)
    assert stream.counts.values_acknowledged == 2 * STEPS
    training.outbox.close()
    assert not spool.directory.exists()


@pytest.mark.slow
async def test_retries_last_for_two_days_at_bounded_rate(
    training: Training, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    attempt = Stream._deliver

    async def counted(self: Stream, session: Any) -> None:
        nonlocal tries
        tries += 1
        await attempt(self, session)

    monkeypatch.setattr(Stream, "_deliver", counted)
    stream = stream_to(port, training.outbox)
    delivery = asyncio.create_task(stream.run())
    await training.over.wait()
    delivery.cancel()
    await asyncio.gather(delivery, return_exceptions=True)
    assert stream.failed is None
    assert TRIES <= tries <= 2 * TRIES + 20
    training.outbox.close()


async def test_dead_process_is_delivered_from_its_oldest_frame(
    training: Training, spool: Spool, port: int, postgres_dsn: str, pg: asyncpg.Connection
) -> None:
    training.pause_often()
    directory = abandon(spool)
    left = Spool.open(directory)
    assert (left.first_seq, left.next_seq) == (0, STEPS)
    stream = stream_to(port, left)
    delivery = asyncio.create_task(stream.run())
    await deliver(stream, postgres_dsn, port, delivery)
    await assert_every_step_once_in_order(pg)
    left.close()


async def test_small_spool_keeps_the_oldest_and_counts_the_rest(
    training: Training,
    tmp_path: Path,
    port: int,
    postgres_dsn: str,
    pg: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    small = Spool.create(tmp_path / "small", IDENTITY, replace(TINY, max_bytes=100_000))
    training.outbox = Outbox(small, SESSION, 50_000)
    training.pause_often()
    counts = training.outbox.counts
    assert counts.spooled + counts.unspooled + counts.dropped == 2 * STEPS
    assert counts.dropped > 0
    refused: list[int] = []
    stream = stream_to(port, training.outbox)
    stream._on_rejection = lambda seq, _: refused.append(seq)
    delivery = asyncio.create_task(stream.run())
    await deliver(stream, postgres_dsn, port, delivery)
    assert len(refused) == counts.dropped // 2
    assert await pg.fetchval("SELECT min(seq) FROM stepwell.rejections") >= counts.spooled // 2
    assert await pg.fetchval("SELECT sum(points) FROM stepwell.rejections WHERE code = 'dropped'") == counts.dropped
    stored = await pg.fetchval("SELECT array_agg(step ORDER BY step) FROM stepwell.history")
    assert stored == [step for step in range(STEPS) if step not in set(refused)]
    assert stored[: counts.spooled // 2] == list(range(counts.spooled // 2))
    training.outbox.close()
