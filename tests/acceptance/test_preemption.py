"""SIGTERM from a scheduler: logged values are delivered, and the process still ends by the signal."""

from __future__ import annotations

import signal
import subprocess
import threading
from pathlib import Path

import pytest

import stepwell
from fixtures.programs import PATIENCE_S, command, environment, script
from fixtures.server import Backend, free_port
from stepwell.spool import Spool

pytestmark = pytest.mark.db

TRAINING = """
    run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
    for _ in range(1000):
        run.log({"a": run.step})
    run.log({"a": -1}, step=5000)  # open
    print("logged", flush=True)
    """
WAIT = """
    import time
    while True:
        time.sleep(60)
    """


def terminated(code: str, *arguments: object, by_itself: bool = False) -> tuple[int, str]:
    """Sends SIGTERM once the program has printed a line; returns its exit status and output.

    Args:
        by_itself: whether the program sends the signal.
    """
    process = subprocess.Popen(
        command(code, *arguments),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE_S, process.kill)
    watchdog.start()
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "logged\n"
        if not by_itself:
            process.terminate()
        said = process.stdout.read() + process.stderr.read()
    watchdog.cancel()
    return process.returncode, said


def test_preempted_process_delivers_and_dies_by_signal(backend: Backend, tmp_path: Path) -> None:
    code, said = terminated(TRAINING + WAIT, backend.url, tmp_path)
    assert code == -signal.SIGTERM
    assert said.splitlines()[-1] == "stepwell: run run-1: 1,001 values logged = 1,001 stored"
    assert [step for _, _, step, _ in backend.points("run-1")] == [*range(1000), 5000]
    assert backend.query("SELECT state, exit_code FROM stepwell.runs") == [("failed", 128 + signal.SIGTERM)]
    assert Spool.discover(tmp_path) == []


def test_sigterm_inside_log_delivers(backend: Backend, tmp_path: Path) -> None:
    code, _ = terminated(TRAINING + "while True:\n        run.log({'a': 1, 'b': 2})\n", backend.url, tmp_path)
    assert code == -signal.SIGTERM
    steps = [step for _, metric, step, _ in backend.points("run-1") if metric == "a"]
    assert steps == [*range(1000), *range(5000, 5000 + len(steps) - 1000)]
    assert backend.query("SELECT state FROM stepwell.runs") == [("failed",)]
    assert Spool.discover(tmp_path) == []


def test_sigterm_waits_for_a_running_finish(backend: Backend, tmp_path: Path) -> None:
    code, said = terminated(
        TRAINING
        + """
    import threading, time, signal
    deliver = run._session.sender.finish
    def slow(exit_code):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        deliver(exit_code)
    run._session.sender.finish = slow
    run.finish()
    time.sleep(60)
    """,
        backend.url,
        tmp_path,
        by_itself=True,
    )
    assert code == -signal.SIGTERM
    assert said.splitlines()[-1] == "stepwell: run run-1: 1,001 values logged = 1,001 stored"
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]


def test_sigterm_without_a_server_keeps_the_spool(tmp_path: Path) -> None:
    quick = """
    import dataclasses, stepwell.runs.run as module
    from stepwell.settings import Timeouts
    made = module.Run.__init__
    def short(self, settings, *rest):
        made(self, dataclasses.replace(settings, timeouts=Timeouts(finish_idle_s=0.2)), *rest)
    module.Run.__init__ = short
    """
    code, said = terminated(quick + TRAINING + WAIT, f"http://127.0.0.1:{free_port()}", tmp_path)
    assert code == -signal.SIGTERM
    assert f"deliver them with: stepwell sync {tmp_path}" in said
    (directory,) = Spool.discover(tmp_path)
    spool = Spool.open(directory)
    assert spool.pending_frames >= 1
    spool.close()


def test_program_signal_handler_is_kept(backend: Backend, tmp_path: Path) -> None:
    own = """
    import signal
    def handler(number, frame):
        run.log({"a": -2})
        run.finish(7)
        sys.exit(7)
    signal.signal(signal.SIGTERM, handler)
    """
    code, _ = terminated(own + TRAINING + WAIT, backend.url, tmp_path)
    assert code == 7
    assert len(backend.points("run-1")) == 1001
    assert backend.query("SELECT state, exit_code FROM stepwell.runs") == [("failed", 7)]


def test_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    done = script(
        """
        import signal
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        run = stepwell.init("mnist", mode="offline", dir=sys.argv[1])
        os.kill(os.getpid(), signal.SIGTERM)
        run.log({"a": 1})
        print("still here")
        """,
        tmp_path,
    )
    assert done.stdout == "still here\n"


def test_terminated_child_does_not_end_the_run(backend: Backend, tmp_path: Path) -> None:
    script(
        """
        import signal, time
        run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
        run.log({"a": 1})
        for logs in (False, True):
            ready, wrote = os.pipe()
            child = os.fork()
            if not child:
                if logs:
                    run.log({"a": 2})
                os.write(wrote, b"x")
                time.sleep(60)
            os.read(ready, 1)
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
        run.log({"a": 3})
        run.finish()
        """,
        backend.url,
        tmp_path,
    )
    points = backend.points("run-1")
    assert [value for writer, _, _, value in points if writer == "0"] == [1.0, 3.0]
    assert [value for writer, _, _, value in points if writer != "0"] == [2.0]
    states = backend.query("SELECT name = '0', state FROM stepwell.writer ORDER BY 1")
    assert states == [(False, "failed"), (True, "finished")]


def test_run_starts_outside_the_main_thread(tmp_path: Path) -> None:
    script(
        """
        import threading
        def work():
            with stepwell.init("mnist", mode="offline", dir=sys.argv[1]) as run:
                run.log({"a": 1})
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """,
        tmp_path,
    )
    assert len(stepwell.spool.Spool.discover(tmp_path)) == 1
