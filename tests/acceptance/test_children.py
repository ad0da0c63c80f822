"""Processes that a training program starts: children that call `init` themselves, and end without `finish`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fixtures.programs import PATIENCE_S, environment, script
from fixtures.server import Backend
from stepwell.cli import main

pytestmark = pytest.mark.db

#: Each child starts a run and does not finish it; `argv` contains the start method, the server and a directory.
CHILDREN = """
import multiprocessing, sys, stepwell

def work(number, fails):
    stepwell.init("mnist", id=f"child-{number}", url=sys.argv[2], dir=sys.argv[3], config={"number": number})
    for step in range(10):
        stepwell.log({"child": number})
    if fails:
        raise ValueError("no data")

if __name__ == "__main__":
    if sys.argv[4:]:
        stepwell.init("mnist", id="parent", url=sys.argv[2], dir=sys.argv[3]).log({"parent": 1})
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(number, number == 2)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])
"""


@pytest.mark.parametrize("parent", [(), ("with a run",)], ids=["parent without a run", "parent with a run"])
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_children_without_finish_deliver_their_runs(
    backend: Backend, tmp_path: Path, method: str, parent: tuple[str, ...]
) -> None:
    (tmp_path / "train.py").write_text(CHILDREN)
    command = [sys.executable, str(tmp_path / "train.py"), method, backend.url, str(tmp_path / "spool"), *parent]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert done.stdout == "[0, 0, 1]\n"
    runs = backend.query("SELECT run, state, exit_code, config FROM stepwell.runs WHERE run <> 'parent' ORDER BY run")
    assert runs == [
        ("child-0", "finished", 0, {"number": 0}),
        ("child-1", "finished", 0, {"number": 1}),
        ("child-2", "failed", 1, {"number": 2}),
    ]
    for number in range(3):
        points = [("0", "child", step, float(number)) for step in range(10)]
        assert backend.points(f"child-{number}") == points
    assert backend.points("parent") == ([("0", "parent", 0, 1.0)] if parent else [])
    assert list((tmp_path / "spool").iterdir()) == []


def test_forked_child_without_its_directory_logs_elsewhere(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        import shutil
        os.environ["XDG_STATE_HOME"] = sys.argv[3]
        run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
        run.log({"a": 1})
        assert run.flush()
        shutil.rmtree(sys.argv[2])
        open(sys.argv[2], "w").close()
        child = os.fork()
        run.log({"a": 2})
        run.finish()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print(child)
        """,
        *(backend.url, tmp_path / "spool", tmp_path / "state"),
    )
    child = f"0-{done.stdout.strip()}"
    assert backend.points("run-1") == [("0", "a", 0, 1.0), ("0", "a", 1, 2.0), (child, "a", 1, 2.0)]
    assert f"so this run is kept in {tmp_path / 'state' / 'stepwell'}" in done.stderr


def test_forked_child_that_reopens_the_run_is_a_separate_writer(backend: Backend, tmp_path: Path) -> None:
    done = script(
        """
        run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
        for step in range(5):
            run.log({"a": 1})
        assert run.flush()
        child = os.fork()
        if not child:
            with stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2]) as again:
                assert again is not run and stepwell.run is again
                again.log({"a": 2})
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        run.log({"a": 3})
        run.finish()
        print(child)
        """,
        *(backend.url, tmp_path),
    )
    child = f"0-{done.stdout.strip()}"
    assert backend.points("run-1") == [
        *(("0", "a", step, 1.0) for step in range(5)),
        ("0", "a", 5, 3.0),
        (child, "a", 0, 2.0),
    ]
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded") == [(0,)]


def test_sync_creates_a_run_that_died_before_its_first_frame(
    backend: Backend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(
        """
        stepwell.init("mnist", id="run-1", mode="offline", dir=sys.argv[1], name="first", config={"lr": 0.1})
        os._exit(1)
        """,
        tmp_path,
        check=False,
    )
    assert main(["sync", str(tmp_path), "--url", backend.url]) == 0
    assert "run run-1, writer 0: 0 values" in capsys.readouterr().out
    assert backend.query("SELECT run, display_name, config FROM stepwell.runs") == [("run-1", "first", {"lr": 0.1})]
    assert list(tmp_path.iterdir()) == []
