"""The behaviour of a full spool: keep, drop_oldest, block, raise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fixtures.server import QUICK, Backend, StartRun
from stepwell import wire
from stepwell.delivery.outbox import Outbox
from stepwell.errors import SpoolFullError
from stepwell.settings import Limits, WhenFull
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits

SESSION = bytes(range(16))
#: About a dozen frames of one point fill it; segments hold two or three.
TINY = SpoolLimits(segment_bytes=500, max_bytes=4000)
NAMES = wire.pack_names(["loss"])
FULL = Limits(stage_bytes=800, spool_bytes=4000, memory_bytes=2000)


def frame(seq: int) -> bytes:
    one = np.array([seq])
    return wire.encode(SESSION, seq, [wire.Block(NAMES, one, one, one.reshape(1, 1).astype(float))])


MakeOutbox = Callable[[WhenFull], Outbox]


@pytest.fixture
def make_outbox(tmp_path: Path) -> Iterator[MakeOutbox]:
    made: list[Spool] = []

    def make(policy: WhenFull) -> Outbox:
        identity = SpoolIdentity("e", "p", "run-1", "0", SESSION, 0.0, {})
        made.append(Spool.create(tmp_path / "spool", identity, TINY))
        return Outbox(made[-1], SESSION, 10_000, policy)

    yield make
    for spool in made:
        spool.close()


def test_drop_oldest_drops_and_counts(make_outbox: MakeOutbox, caplog: pytest.LogCaptureFixture) -> None:
    outbox = make_outbox("drop_oldest")
    for seq in range(100):
        outbox.append(frame(seq))
    kept = outbox.read(outbox.first_seq, 1 << 20, 1000)
    assert [wire.peek(raw).seq for raw in kept] == list(range(outbox.first_seq, 100))
    assert kept[-1] == frame(99)
    assert outbox.counts.dropped == outbox.first_seq > 0
    assert outbox.counts.dropped + len(kept) == 100
    assert f"its oldest frames, seq 0 to {outbox.first_seq - 1}" not in caplog.text  # segment by segment
    assert "the spool is full: its oldest frames, seq 0 to" in caplog.text


def test_acknowledged_frames_are_not_counted_as_dropped(make_outbox: MakeOutbox) -> None:
    outbox = make_outbox("drop_oldest")
    for seq in range(10):
        outbox.append(frame(seq))
    outbox.acknowledge(10)
    for seq in range(10, 20):
        outbox.append(frame(seq))
    assert outbox.counts.dropped == 0


@pytest.mark.parametrize("policy", ["block", "raise"])
def test_block_and_raise_keep_every_frame(make_outbox: MakeOutbox, policy: WhenFull) -> None:
    outbox = make_outbox(policy)
    count = 0
    while outbox.has_room:
        outbox.append(frame(count))
        count += 1
    outbox.append(frame(count))  # one that is cut already
    assert outbox.counts.dropped == 0
    frames: list[bytes] = []
    while len(frames) <= count:
        frames += outbox.read(len(frames), 1 << 20, 1000)
    assert frames == [frame(seq) for seq in range(count + 1)]


def test_drop_oldest_run_delivers_the_newest(postgres_dsn: str, start_run: StartRun) -> None:
    backend = Backend(postgres_dsn)
    run = start_run(backend.url, limits=FULL, spool_full="drop_oldest", timeouts=QUICK)
    for step in range(60):
        run.log({"loss": float(step)})
        run.flush(durable=False)
    backend.start()
    try:
        run.flush()
        run.finish()
        account = run.account
        assert account.dropped > 0
        assert (account.logged, account.left) == (60, 0)
        assert account.stored == 60 - account.dropped
        stored = backend.points("run-1")
        assert stored == [("0", "loss", step, float(step)) for step in range(account.dropped, 60)]
        assert backend.query("SELECT DISTINCT code FROM stepwell.rejections") == [("dropped",)]
    finally:
        backend.stop()


def test_raise_run_keeps_accepted_values(postgres_dsn: str, start_run: StartRun) -> None:
    backend = Backend(postgres_dsn)
    run = start_run(backend.url, limits=FULL, spool_full="raise", timeouts=QUICK)
    taken = 0
    with pytest.raises(SpoolFullError, match="nothing more can be logged: the spool and the frame memory are"):
        for _ in range(10_000):
            run.log({"loss": float(taken)})
            taken += 1
            run.flush(durable=False)
    backend.start()
    try:
        run.flush()
        run.finish()
        assert backend.points("run-1")[:taken] == [("0", "loss", step, float(step)) for step in range(taken)]
        assert (run.account.dropped, run.account.left) == (0, 0)
    finally:
        backend.stop()


def test_blocked_run_continues_when_the_server_arrives(postgres_dsn: str, start_run: StartRun) -> None:
    backend = Backend(postgres_dsn)
    run = start_run(backend.url, limits=FULL, spool_full="block", timeouts=QUICK)
    blocked = threading.Event()
    count = 2000

    def train() -> None:
        for step in range(count):
            if step == count // 2:
                blocked.set()  # never before the server starts: the limits allow far fewer
            run.log({"loss": float(step)})

    training = threading.Thread(target=train)
    training.start()
    try:
        assert not blocked.wait(0.5)
        backend.start()
        training.join(30)
        run.flush()
        run.finish()
        assert len(backend.points("run-1")) == count
        assert run.account.dropped == 0
    finally:
        backend.stop()
