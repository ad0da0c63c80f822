"""`finish` is interrupted by exceptions, called by a callback, or called by several threads: nothing is lost."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import stepwell
from fixtures.programs import script
from fixtures.server import PATIENCE_S, QUICK, Backend, StartRun
from fixtures.unruly import Peer, unruly
from stepwell.data_types._files import FileSink
from stepwell.errors import RejectionError, UsageError
from stepwell.runs.ending import Ending
from stepwell.runs.run import Run
from stepwell.spool import Spool

pytestmark = pytest.mark.db


@pytest.fixture(autouse=True)
def no_run_is_left() -> Iterator[None]:
    yield
    stepwell.finish()


class Alarm(Exception):
    """An exception from a program's own signal handler."""


@contextmanager
def alarm(error: type[BaseException], after_s: float = 0.2) -> Iterator[None]:
    """Raises `error` in this thread after a while, wherever it is then."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class SlowPicture:
    """A media object whose encoding waits for an event."""

    held_bytes = 1

    def __init__(self, may: threading.Event) -> None:
        self._may = may

    def encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        assert self._may.wait(PATIENCE_S)
        return {"_type": "image-file", **sink.add(f"media/{key}_{step}.png", b"picture").as_json()}


def put(run: Run, picture: SlowPicture) -> None:
    assert run._session is not None
    run._session.blobs.media.put("picture", 0, 0, picture)


def state(backend: Backend) -> list[tuple[Any, ...]]:
    return backend.query("SELECT state, exit_code FROM stepwell.runs")


@pytest.mark.parametrize("error", [KeyboardInterrupt, Alarm])
def test_interrupted_finish_without_server_is_completed(
    backend: Backend, start_run: StartRun, error: type[BaseException]
) -> None:
    run = start_run(backend.url)
    for step in range(100):
        run.log({"a": step})
    assert run.flush()
    backend.stop()
    run.log({"a": 100})
    with pytest.raises(error), alarm(error):
        run.finish()
    with pytest.raises(UsageError, match="run run-1 is finished, so log"):
        run.log({"a": 101})
    backend.start()
    run.finish()
    assert state(backend) == [("finished", 0)]
    assert len(backend.points("run-1")) == 101
    assert run.account.left == 0
    assert Spool.discover(run.settings.dir) == []


def test_interrupted_finish_during_encoding_is_completed(file_server: Backend, start_run: StartRun) -> None:
    run, may = start_run(file_server.url), threading.Event()
    run.log({"a": 1})
    put(run, SlowPicture(may))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), alarm(KeyboardInterrupt):
            run.finish(3)
    may.set()
    run.finish()
    assert state(file_server) == [("failed", 3)]
    assert file_server.query("SELECT count(*) FROM stepwell.blob") == [(1,)]
    assert [key for _, key, _, _ in file_server.objects("run-1")] == ["picture"]


def test_interrupted_finish_is_completed_at_exit(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        import time
        run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
        for _ in range(1000):
            run.log({"a": 1})
        deliver = run._session.sender._finish
        async def slowly(exit_code):
            import asyncio
            main.set()
            await asyncio.sleep(0.5)
            await deliver(exit_code)
        run._session.sender._finish = slowly
        import signal, threading
        main = threading.Event()
        threading.Thread(target=lambda: (main.wait(), os.kill(os.getpid(), signal.SIGINT))).start()
        run.finish()
        """,
        backend.url,
        tmp_path,
        check=False,
    )
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
    assert "run run-1: 1,000 values logged = 1,000 stored" in done.stderr
    assert state(backend) == [("finished", 0)]
    assert Spool.discover(tmp_path) == []


def test_interrupted_ending_steps_are_repeated() -> None:
    done: list[str] = []
    trouble = [KeyboardInterrupt(), None]

    def cut_off() -> None:
        done.append("cut off")
        if (error := trouble.pop(0)) is not None:
            raise error

    ending = Ending([lambda: done.append("first"), cut_off, lambda: ending.complete(), lambda: done.append("last")])
    with pytest.raises(KeyboardInterrupt):
        ending.complete()
    assert ending.left
    ending.complete()
    ending.complete()
    assert (done, ending.left, ending.in_use) == (["first", "cut off", "cut off", "last"], False, False)


def test_other_threads_wait_for_finish(file_server: Backend, start_run: StartRun) -> None:
    run, may = start_run(file_server.url), threading.Event()
    put(run, SlowPicture(may))
    threads = [threading.Thread(target=run.finish) for _ in range(3)]
    for thread in threads:
        thread.start()
    may.set()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert run._life.over
    assert state(file_server) == [("finished", 0)]


def test_rejection_callback_may_finish_the_run(backend: Backend, start_run: StartRun) -> None:
    calls: list[Callable[[], object]] = []

    def on_rejection(seq: int, error: RejectionError) -> None:
        calls.pop()()

    with start_run(backend.url) as first:
        first.log({"a": 1}, step=9)
    run = start_run(backend.url, on_rejection=on_rejection, resume="allow")
    calls.append(lambda: run.finish(5))
    run._stage._step = 0  # a wrong step, so the server rejects the frame
    run.log({"a": 2})
    deadline = time.monotonic() + PATIENCE_S
    while not run._life.over and time.monotonic() < deadline:
        time.sleep(0.01)
    assert calls == []
    assert state(backend) == [("failed", 5)]
    with pytest.raises(UsageError, match="is finished"):
        run.log({"a": 2})


def test_racing_init_and_finish_end_cleanly(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        import threading
        errors, runs = [], []
        threading.excepthook = lambda info: errors.append(repr(info.exc_value))
        def work(number):
            for turn in range(5):
                run = stepwell.init("race", url=sys.argv[1], dir=sys.argv[2], reinit=True, config={"n": number})
                runs.append(run)
                try:
                    run.log({"a": turn})
                except stepwell.UsageError:  # another thread has finished it
                    pass
                stepwell.finish()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stepwell.run is None or stepwell.run._life.active
        stepwell.finish()
        print(errors, len({run.id for run in runs}), sum(run.account.logged - run.account.stored for run in runs))
        print(sum(run.account.logged for run in runs))
        """,
        backend.url,
        tmp_path,
    )
    first, logged = done.stdout.splitlines()
    assert first == "[] 20 0"
    assert "Traceback" not in done.stderr
    assert backend.query("SELECT state, count(*) FROM stepwell.runs GROUP BY 1") == [("finished", 20)]
    assert backend.query("SELECT coalesce(sum(points), 0)::bigint FROM stepwell.runs") == [(int(logged),)]
    assert Spool.discover(tmp_path) == []


async def test_finish_waits_while_the_server_makes_progress(start_run: StartRun) -> None:
    """The run makes no progress for several times the timeout of `finish`."""

    async def busy(peer: Peer) -> None:
        assert (await peer.attach())["progress"] is True
        (frame,) = await peer.take(1)
        for _ in range(20):
            await asyncio.sleep(QUICK.finish_idle_s / 4)
            await peer.say(type="storing")
        await peer.acknowledge(frame, stored=1)
        await peer.serve()

    async with unruly(busy) as server:
        run = await asyncio.to_thread(start_run, server.url, timeouts=QUICK)
        run.log({"a": 1})
        await asyncio.to_thread(run.finish)
    assert (run.account.stored, run.account.left) == (1, 0)


@pytest.mark.parametrize(("given", "stored"), [(2**40, 2**31 - 1), (-(2**40), -(2**31)), (0xC000013A, 2**31 - 1)])
def test_exit_code_beyond_32_bits_is_clamped(backend: Backend, start_run: StartRun, given: int, stored: int) -> None:
    run = start_run(backend.url)
    run.log({"a": 1})
    run.finish(given)
    assert state(backend) == [("failed", stored)]


@pytest.mark.parametrize("timeout_s", [float("inf"), 10**400])
def test_flush_takes_any_timeout(backend: Backend, start_run: StartRun, timeout_s: float) -> None:
    run = start_run(backend.url)
    run.log({"a": 1})
    assert run.flush(timeout_s)
