"""A program's own signal handler calls `finish` or `flush` at any point in `log()`: nothing hangs or is lost."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

import pytest

from fixtures.interrupts import interrupted_at
from fixtures.programs import script
from fixtures.server import Backend, StartRun
from stepwell.errors import UsageError
from stepwell.runs.run import Run
from stepwell.spool import Spool

pytestmark = pytest.mark.db

PROGRAM = """
import signal
run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
returned = 0

def handler(number, frame):
    %s

signal.signal(signal.SIGUSR1, handler)
add = run._stage._plans.find
def interrupted(*arguments):  # the lock of the stage is held here
    if returned == 100:
        os.kill(os.getpid(), signal.SIGUSR1)
    return add(*arguments)
run._stage._plans.find = interrupted
try:
    while returned < 103:
        run.log({"a": returned, f"key-{returned}": 1})
        returned += 1
except stepwell.UsageError:
    pass
"""


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        ("run.finish()", 0),
        ("run.finish(); sys.exit(3)", 3),
        ("run.finish(); raise KeyboardInterrupt", -signal.SIGINT),
        ("stepwell.finish(5); run.finish()", 0),
    ],
)
def test_handler_inside_log_may_finish(backend: Backend, tmp_path: Path, handler: str, code: int) -> None:
    done = script(PROGRAM % handler, backend.url, tmp_path, check=False)
    assert done.returncode == code, done.stderr
    steps = [step for _, metric, step, _ in backend.points("run-1") if metric == "a"]
    assert steps in (list(range(100)), list(range(101)))
    assert backend.query("SELECT state, exit_code FROM stepwell.runs") == (
        [("failed", 5)] if "5" in handler else [("finished", 0)]
    )
    assert Spool.discover(tmp_path) == []


@pytest.mark.parametrize("call", [{"a": 1.0}, {"a": 1.0, "t": "x"}, {"a": 1.0, "new": 2.0}])
def test_finish_returns_at_any_point_of_log(backend: Backend, start_run: StartRun, call: dict[str, object]) -> None:
    for point in range(1, 200, 13):
        run = start_run(backend.url, run_id=f"run-{point}")
        run.log({"a": 0.0})
        returned: list[None] = []

        def log(run: Run = run, returned: list[None] = returned) -> None:
            with contextlib.suppress(UsageError):  # finished before the call had its row
                returned.append(run.log(call))

        came = interrupted_at(point, log, run.finish, "/stepwell/stage/")
        run.finish()
        if came:
            with pytest.raises(UsageError, match="is finished"):
                run.log({"a": 2.0})
        steps = [step for _, metric, step, _ in backend.points(f"run-{point}") if metric == "a"]
        assert steps == ([0, 1] if returned else [0])
        if not came:
            assert point > 10
            return


def test_flush_inside_log_does_not_wait(backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url)
    flushed: list[bool] = []
    for point in range(1, 200, 13):
        came = interrupted_at(
            point, lambda: run.log({"a": 1.0, "t": "x"}), lambda: flushed.append(bool(run.flush())), "/stepwell/stage/"
        )
        if not came:
            break
    assert False in flushed
    assert run.flush(30)
    assert len(backend.points("run-1")) == run.step
