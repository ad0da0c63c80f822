"""SQL returns the values that `run.log` received: real SDK, real server, real Postgres."""

from __future__ import annotations

import asyncio
import math
import multiprocessing
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import stepwell
from fixtures.server import QUICK, Backend, StartRun, free_port
from stepwell.errors import RejectionError, StepOrderError
from stepwell.settings import Limits


def test_values_of_all_types_are_in_sql(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        run.log({"loss": 0.5, "epoch": 1, "big": 2**53 + 1, "name": "größe \U0001f600", "nested": {"a": 1, "b": "x"}})
        run.log({"loss": math.nan, "inf": -math.inf, "zero": -0.0, "none": None, "list": [1, math.nan], "ok": True})
        run.log({"loss": np.float32(0.25), "one": np.array([3])}, step=10)
    points = backend.points("run-1")
    assert [(metric, step, repr(value)) for _, metric, step, value in points] == [
        ("epoch", 0, "1.0"),
        ("inf", 1, "-inf"),
        ("loss", 0, "0.5"),
        ("loss", 1, "nan"),
        ("loss", 10, "0.25"),
        ("nested.a", 0, "1.0"),
        ("one", 10, "3.0"),
        ("zero", 1, "-0.0"),
    ]
    assert backend.objects("run-1") == [
        ("0", "big", 0, 2**53 + 1),
        ("0", "list", 1, [1, {"_type": "float64", "value": "NaN"}]),
        ("0", "name", 0, "größe \U0001f600"),
        ("0", "nested.b", 0, "x"),
        ("0", "none", 1, None),
        ("0", "ok", 1, True),
    ]
    assert run.account == stepwell.Account(logged=14, stored=14, rejected=0, dropped=0, left=0)


def test_many_points_are_stored_once(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:
        for step in range(20_000):
            run.log({"loss": 1 / (step + 1), "step": step})
    ((count, distinct, total),) = backend.query(
        "SELECT count(*), count(DISTINCT step), sum(value) FILTER (WHERE metric = 'step') FROM stepwell.history"
    )
    assert (count, distinct, total) == (40_000, 20_000, sum(range(20_000)))
    assert run.account == stepwell.Account(40_000, 40_000, 0, 0, 0)
    assert not Path(run.settings.dir, run.id).exists()


def log_as_rank(rank: int, url: str, directory: str, steps: int) -> None:
    run = stepwell.init("mnist", id="ranks", url=url, dir=directory, writer=rank)
    for step in range(steps):
        run.log({"loss": rank + step / 1000, "only rank": 1.0} if step % 100 == 0 else {"loss": rank + step / 1000})
    run.finish()


def test_four_processes_log_to_one_run_as_four_writers(backend: Backend, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ranks = [
        context.Process(target=log_as_rank, args=(rank, backend.url, str(tmp_path), 1000 + rank)) for rank in range(4)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks] == [0, 0, 0, 0]
    expected = [
        (str(rank), metric, step, 1.0 if metric == "only rank" else rank + step / 1000)
        for rank in range(4)
        for metric, every in (("loss", 1), ("only rank", 100))
        for step in range(0, 1000 + rank, every)
    ]
    assert backend.points("ranks") == expected
    assert backend.query("SELECT run, state, writers, points FROM stepwell.runs") == [
        ("ranks", "finished", 4, len(expected))
    ]


async def test_async_with_and_await_flush_inside_a_running_loop(backend: Backend, start_run: StartRun) -> None:
    async with start_run(backend.url) as run:
        run.log({"a": 1})
        assert await run.flush()
        assert await asyncio.to_thread(backend.points, "run-1") == [("0", "a", 0, 1.0)]
        run.log({"a": 2}, step=5)  # open, so flush does not send it
        assert await run.flush()
        assert len(await asyncio.to_thread(backend.points, "run-1")) == 1
    assert backend.points("run-1") == [("0", "a", 0, 1.0), ("0", "a", 5, 2.0)]


def test_flush_blocks_where_no_loop_runs(backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url)
    for step in range(100):
        run.log({"a": step})
    assert run.flush()
    assert len(backend.points("run-1")) == 100


def test_flush_times_out_and_keeps_the_data(start_run: StartRun, backend: Backend) -> None:
    backend.stop()
    run = start_run(backend.url)
    run.log({"a": 1})
    assert not run.flush(timeout_s=0.05)

    async def awaited() -> bool:
        outcome = run.flush(timeout_s=0.05)
        answers = [await outcome, await outcome, bool(outcome)]
        assert answers == [False, False, False]
        return answers[0]

    assert not asyncio.run(awaited())
    backend.start()
    assert run.flush()
    assert backend.points("run-1") == [("0", "a", 0, 1.0)]


def test_module_logs_to_the_current_run(backend: Backend, tmp_path: Path) -> None:
    run = stepwell.init("mnist", entity="team", id="run-1", url=backend.url, dir=tmp_path, config={"lr": 0.1})
    assert stepwell.run is run
    stepwell.log({"a": 1})
    stepwell.log({"a": 2}, step=7)
    stepwell.log({"b": 3}, commit=True, sync=True)
    stepwell.config.update({"layers": 2})
    stepwell.flush()
    assert backend.points("run-1") == [("0", "a", 0, 1.0), ("0", "a", 7, 2.0), ("0", "b", 7, 3.0)]
    stepwell.finish()
    assert stepwell.run is None
    assert backend.query("SELECT entity, project, run, state, config FROM stepwell.runs") == [
        ("team", "mnist", "run-1", "finished", {"lr": 0.1, "layers": 2})
    ]


def test_config_and_changes_are_in_sql(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 0.1, "net": {"layers": [1, 2]}}, name="first try") as run:
        run.log({"a": 1})
        run.flush()
        query = "SELECT display_name, config, state FROM stepwell.runs"
        assert backend.query(query) == [("first try", {"lr": 0.1, "net": {"layers": [1, 2]}}, "running")]
        run.config.batch = 32
        run.config.update({"lr": 0.2}, allow_val_change=True)
    assert backend.query(query) == [
        ("first try", {"lr": 0.2, "net": {"layers": [1, 2]}, "batch": 32}, "finished"),
    ]


def test_config_floats_stay_floats(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 1.0, "nan": math.nan}) as run:
        assert (repr(run.config.lr), repr(run.config.nan)) == ("1.0", "nan")
    ((config,),) = backend.query("SELECT config FROM stepwell.runs")
    assert repr(config) == "{'lr': 1.0, 'nan': {'_type': 'float64', 'value': 'NaN'}}"


def test_exception_in_with_block_fails_the_run(backend: Backend, start_run: StartRun) -> None:
    with pytest.raises(ZeroDivisionError), start_run(backend.url) as run:
        run.log({"a": 1}, step=3)
        1 / 0  # noqa: B018 - that is what users do
    assert backend.points("run-1") == [("0", "a", 3, 1.0)]
    assert backend.query("SELECT state, exit_code FROM stepwell.runs") == [("failed", 1)]


def test_threads_log_to_one_run(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url) as run:

        def work(name: str) -> None:
            for number in range(200):
                run.log({name: number})

        threads = [threading.Thread(target=work, args=(f"t{index}",)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    points = backend.points("run-1")
    assert sorted(step for _, _, step, _ in points) == list(range(800))
    for index in range(4):
        assert [value for _, metric, _, value in points if metric == f"t{index}"] == list(range(200))


def test_late_server_gets_everything(postgres_dsn: str, start_run: StartRun) -> None:
    backend = Backend(postgres_dsn)
    with start_run(backend.url) as run:
        for step in range(500):
            run.log({"a": step})
        assert not run.flush(timeout_s=0.1)
        backend.start()
        assert run.flush()
        assert backend.points("run-1") == [("0", "a", step, float(step)) for step in range(500)]
    backend.stop()
    assert run.account == stepwell.Account(500, 500, 0, 0, 0)


@pytest.mark.parametrize("end", [Backend.kill, Backend.stop], ids=["killed", "stopped"])
def test_restarted_server_has_every_point_once(backend: Backend, start_run: StartRun, end: Any) -> None:
    """The server stops repeatedly with frames in flight, so some are committed but not acknowledged."""
    progress, gone = threading.Semaphore(0), threading.Event()
    run = start_run(backend.url)

    def train() -> None:
        for step in range(60_000):
            run.log({"a": step, "b": -step})
            if step % 15_000 == 7_000:
                progress.release()
                gone.wait()
        progress.release()

    training = threading.Thread(target=train)
    training.start()
    for _ in range(4):
        assert progress.acquire(timeout=30)
        gone.set()
        end(backend)
        gone.clear()
        backend.start()
    gone.set()
    training.join(30)
    run.finish()
    ((count, distinct, total),) = backend.query(
        "SELECT count(*), count(DISTINCT (metric, step)), sum(value) FILTER (WHERE metric = 'a') FROM stepwell.history"
    )
    assert (count, distinct, total) == (120_000, 120_000, sum(range(60_000)))
    assert run.account == stepwell.Account(120_000, 120_000, 0, 0, 0)
    assert backend.query("SELECT count(*) FROM stepwell.rejections") == [(0,)]


def test_finish_without_a_server_leaves_the_spool(
    start_run: StartRun, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = start_run(f"http://127.0.0.1:{free_port()}")
    run.log({"a": 1, "text": "x"})
    run.log({"a": 2}, step=5)
    run.finish()
    assert run.account == stepwell.Account(logged=3, stored=0, rejected=0, dropped=0, left=3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"stepwell: run run-1: 3 values logged = 0 stored + 3 in {run.spool_directory}"
    assert lines[1] == "  not delivered: Connection refused"
    assert lines[2] == f"  deliver them with: stepwell sync {tmp_path / 'spool'}"
    assert len(lines) == 3
    spool = stepwell.spool.Spool.open(Path(str(run.spool_directory)))
    assert spool.pending_frames >= 1
    spool.close()


def test_rejected_frame_is_reported_everywhere(backend: Backend, start_run: StartRun) -> None:
    """The ledger already has a higher step for the writer."""
    seen: list[tuple[int, RejectionError]] = []
    with start_run(backend.url) as first:
        for step in range(10):
            first.log({"a": step})
    second = start_run(
        backend.url, on_rejection=lambda seq, error: seen.append((seq, error)), timeouts=QUICK, resume="allow"
    )
    second._stage._step = 0  # a wrong step
    second.log({"a": 0, "text": "x"})
    second.flush()
    second.log({"a": 100}, step=100)
    second.finish()
    assert [(seq, type(error)) for seq, error in seen] == [(0, StepOrderError)]
    assert str(seen[0][1]).startswith(
        "steps go back (the frame begins at step 0, but the writer is already at 9)\n  Hint: "
    )
    assert second.account == stepwell.Account(logged=3, stored=1, rejected=2, dropped=0, left=0)
    assert [step for _, _, step, _ in backend.points("run-1")] == [*range(10), 100]
    assert backend.query("SELECT writer, code, points, objects FROM stepwell.rejections") == [("0", "step_order", 1, 1)]


def test_overflow_is_counted_and_the_rest_stored(
    postgres_dsn: str, start_run: StartRun, caplog: pytest.LogCaptureFixture
) -> None:
    """The spool and then memory fill up, because the outage is longer than both last."""
    limits = Limits(spool_bytes=64 * 1024, memory_bytes=32 * 1024, frame_bytes=4096)
    backend = Backend(postgres_dsn)
    seen: list[str] = []
    run = start_run(backend.url, limits=limits, on_rejection=lambda _, error: seen.append(error.code))
    while not run.account.dropped:
        run.log({"a": 1, "text": "x" * 1000})
        run.flush(timeout_s=0.001)
    backend.start()
    assert run.flush()
    run.log({"a": 2})
    run.finish()
    account = run.account
    assert (account.logged, account.rejected, account.left) == (account.stored + account.dropped, 0, 0)
    assert len(backend.points("run-1")) + len(backend.objects("run-1")) == account.stored
    rejections = backend.query("SELECT code, message FROM stepwell.rejections")
    assert {code for code, _ in rejections} == {"dropped"} == set(seen)
    assert len(rejections) == len(seen)
    texts = [message.split(" (")[0] for message in caplog.messages]
    assert texts[0].endswith("frames wait in memory until it is writable. the spool has reached its size limit")
    assert texts[1].split(": ")[1].startswith("the spool is not writable, and ")
    backend.stop()
