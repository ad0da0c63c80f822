"""`stepwell delete`: the command, and its effect on training processes and spools."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fixtures.commands import Run, Server
from fixtures.server import Backend, StartRun
from stepwell.errors import RunDeletedError

pytestmark = pytest.mark.db

SCRIPT = """
    import os, stepwell
    with stepwell.init(project="p", id=os.environ["ID"], mode=os.environ.get("MODE", "online")) as run:
        for step in range(100):
            run.log({"loss": step / 8})
"""
SLOW_SCRIPT = """
    import pathlib, sys, time, stepwell
    run = stepwell.init(project="p", id="slow")
    step = 0
    while not pathlib.Path("stop").exists():
        run.log({"loss": step / 8})
        step += 1
        time.sleep(0.001)
    run.finish()
    account = run.account
    print(account.logged, account.stored, account.rejected, account.dropped, account.left)
    print(sorted(path.name for path in pathlib.Path(".stepwell").rglob("*.seg")))
"""

#: A program that dies with a frame in its spool that the server does not have.
KILLED = """
import os, subprocess, sys
code = '''
import os, signal, stepwell
from stepwell.delivery import outbox as _outbox
run = stepwell.init(project="p", id="late")
run.log({"loss": 1.0})
run.flush()
def fail(*_):
    raise OSError("from here on nothing leaves this host")
_outbox.Outbox.read = fail
run.log({"loss": 2.0})
run.flush(durable=False)
os.kill(os.getpid(), signal.SIGKILL)
'''
assert subprocess.run([sys.executable, "-c", code]).returncode == -9
"""


@pytest.fixture
def train(command_environment: dict[str, str], tmp_path: Path, server: Server) -> Callable[..., None]:
    def run(script: str = SCRIPT, **variables: str) -> None:
        environment = command_environment | {"STEPWELL_URL": server.url} | variables
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], env=environment, cwd=tmp_path, check=True, timeout=60
        )

    return run


@pytest.fixture
def delete(stepwell_command: Run, server: Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return stepwell_command("delete", *arguments, "--data", server.data, **more)

    return run


@pytest.fixture
def runs(stepwell_command: Run, server: Server) -> Callable[[], list[str]]:
    def ask() -> list[str]:
        query = "SELECT run FROM runs ORDER BY run"
        done = stepwell_command("sql", query, "--format", "csv", "--data", server.data)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1:]

    return ask


class TestCommand:
    def test_delete_shows_the_plan_and_deletes(self, train: Any, delete: Any, runs: Any) -> None:
        train(ID="keep")
        train(ID="gone")
        looked = delete("gone", "--dry-run")
        assert looked.returncode == 0, looked.stderr
        assert "1 run will be deleted for good:" in looked.stdout
        assert "default/p/gone" in looked.stdout
        assert "together 100 points, 0 objects, about " in looked.stdout
        assert {"gone", "keep"} <= set(runs())
        done = delete("p/gone", "--yes")
        assert done.returncode == 0, done.stderr
        assert "deleted 1 run; no reader sees them any more" in done.stdout
        assert "gone" not in runs()
        assert "keep" in runs()
        assert delete("--sweep").stdout == "removed 0 rows\n"

    def test_unambiguous_display_name_is_accepted(self, train: Any, delete: Any, runs: Any) -> None:
        for run_id, name in (("n1", "trial-0"), ("n2", "trial-1"), ("n3", "twin"), ("n4", "twin")):
            train(ID=run_id, STEPWELL_NAME=name)
        mistyped = delete("trail-0", "--yes")
        assert mistyped.returncode == 1
        assert "there is no run trail-0\n  similar names: trial-0" in mistyped.stderr
        ambiguous = delete("twin", "--yes")
        assert ambiguous.returncode == 1
        assert "twin matches 2 runs\n  default/p/n3\n  default/p/n4\n" in ambiguous.stderr
        done = delete("trial-0", "default/p/trial-1", "--yes")
        assert done.returncode == 0, done.stderr
        assert "default/p/n1" in done.stdout
        assert {"n3", "n4"} <= set(runs())
        assert not {"n1", "n2"} & set(runs())

    def test_no_terminal_deletes_nothing(self, train: Any, delete: Any, runs: Any) -> None:
        train(ID="asked")
        done = delete("asked", stdin="y\n")
        assert done.returncode == 1
        assert done.stderr == (
            "stepwell: there is no terminal to ask for confirmation, so nothing was deleted\n"
            "  Hint: use --yes, or --dry-run to see what would be deleted\n"
        )
        assert "asked" in runs()

    @pytest.mark.parametrize(("typed", "code", "said"), [("n", 1, "nothing was deleted"), ("y", 0, "deleted 1 run")])
    def test_terminal_asks_for_confirmation(
        self,
        train: Any,
        runs: Any,
        command_environment: dict[str, str],
        server: Server,
        typed: str,
        code: int,
        said: str,
    ) -> None:
        train(ID=f"typed-{typed}")
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "stepwell", "delete", f"typed-{typed}", "--data", str(server.data)]
        os.write(ours, f"{typed}\n".encode())
        done = subprocess.run(
            command, env=command_environment, stdin=theirs, capture_output=True, text=True, timeout=60
        )
        os.close(ours)
        os.close(theirs)
        assert (done.returncode, done.stderr) == (code, "")
        assert "Delete this run, for good? [y/N] " in done.stdout
        assert said in done.stdout
        assert (f"typed-{typed}" in runs()) == (typed == "n")

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ([], "no runs to delete were named\n"),
            (["run", "--project", "p"], "runs, --project with --older-than, and --sweep are mutually exclusive\n"),
            (["--older-than", "90"], "'90' is not an age\n"),
            (["--older-than", "0d"], "'0d' is not an age\n"),
            (["--older-than", "9999999d"], "'9999999d' is not an age\n"),
            (["nope"], "there is no run nope\n"),
            (["--project", "x/y"], "there is no project x/y\n"),
        ],
    )
    def test_invalid_arguments_are_explained(self, delete: Any, arguments: list[str], error: str) -> None:
        done = delete(*arguments, "--yes")
        assert done.returncode == 1
        assert done.stderr.startswith(f"stepwell: {error}")
        assert "  Hint: " in done.stderr
        assert "Traceback" not in done.stderr

    def test_nothing_to_delete_is_no_error(self, delete: Any) -> None:
        done = delete("--older-than", "52w", "--yes")
        assert (done.returncode, done.stdout) == (0, "nothing to delete\n")

    def test_deletes_a_project(self, train: Any, delete: Any, runs: Any) -> None:
        train(SCRIPT.replace('project="p"', 'project="q"'), ID="q1")
        train(SCRIPT.replace('project="p"', 'project="q"'), ID="q2")
        done = delete("--project", "default/q", "--yes")
        assert "2 runs will be deleted for good:" in done.stdout
        assert not {"q1", "q2"} & set(runs())


def test_process_of_a_deleted_run_keeps_training(
    train: Any, delete: Any, runs: Any, command_environment: dict[str, str], tmp_path: Path, server: Server
) -> None:
    environment = command_environment | {"STEPWELL_URL": server.url}
    command = [sys.executable, "-c", textwrap.dedent(SLOW_SCRIPT)]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 30
        while "slow" not in runs():
            assert time.monotonic() < deadline
        done = delete("slow", "--yes")
        assert done.returncode == 0, done.stderr
        assert "1 of them is running: its processes get an error" in done.stdout
        time.sleep(0.5)  # it continues to log
        (tmp_path / "stop").touch()
        out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    logged, stored, rejected, dropped, left = map(int, out.splitlines()[0].split())
    assert logged == stored + rejected
    assert (dropped, left) == (0, 0)
    assert rejected > 0
    assert out.splitlines()[1] == "[]"
    assert (
        "values that this process logs from now on are not stored, and count as rejected. run default/p/slow was"
        in errors
    )
    assert f"{rejected:,} rejected (run default/p/slow was deleted on " in errors
    assert "slow" not in runs()


class TestRun:
    def test_flush_reports_the_delete(
        self, backend: Backend, start_run: StartRun, caplog: pytest.LogCaptureFixture
    ) -> None:
        run = start_run(backend.url)
        run.log({"loss": 0.0})
        run.flush()
        assert run.durable_step == 0
        backend.query("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run")
        with caplog.at_level(logging.ERROR):
            run.log({"loss": 1.0})
            with pytest.raises(RunDeletedError, match="run default/uncategorized/run-1 was deleted on 2"):
                run.flush()
            for step in range(2, 50):
                run.log({"loss": float(step)})
            assert run.flush(durable=False)
        assert len([record for record in caplog.records if "was deleted" in record.getMessage()]) == 1
        run.finish()
        account = run.account
        assert (account.logged, account.stored, account.rejected, account.left) == (50, 1, 49, 0)
        assert run.durable_step == 0
        assert run.stats is not None
        assert run.stats.values_rejected == 49
        assert not Path(str(run.spool_directory)).exists()
        assert backend.points("run-1") == []

    def test_new_process_creates_a_new_run(self, backend: Backend, start_run: StartRun) -> None:
        first = start_run(backend.url)
        first.log({"loss": 0.0})
        first.finish()
        backend.query("SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run")
        again = start_run(backend.url)
        again.log({"loss": 5.0})
        again.finish()
        assert backend.points("run-1") == [("0", "loss", 0, 5.0)]


class TestSync:
    def test_spool_of_a_deleted_run_can_be_discarded(
        self, delete: Any, runs: Any, stepwell_command: Run, tmp_path: Path, server: Server, train: Any
    ) -> None:
        """A process is killed with frames in its spool; after its run is deleted, the spool is synced."""
        train(KILLED)
        assert delete("late", "--yes").returncode == 0
        done = stepwell_command("sync", tmp_path / ".stepwell", "--url", server.url)
        assert done.returncode == 1
        assert ", because: run default/p/late was deleted on 2" in done.stdout
        assert "stepwell sync --discard" in done.stdout
        assert "late" not in runs()
        done = stepwell_command("sync", tmp_path / ".stepwell", "--url", server.url, "--discard")
        assert done.returncode == 0, done.stdout
        assert ", because: run default/p/late was deleted on 2" in done.stdout
        assert "0 delivered" in done.stdout
        assert "1 discarded" in done.stdout
        assert list(tmp_path.rglob("*.seg")) == []
        assert "late" not in runs()

    def test_discard_keeps_other_spools(
        self, runs: Any, stepwell_command: Run, tmp_path: Path, server: Server, train: Any
    ) -> None:
        train(ID="offline", MODE="offline")
        done = stepwell_command(
            "sync", tmp_path / ".stepwell", "--url", "http://127.0.0.1:9", "--timeout", "0.2", "--discard"
        )
        assert done.returncode == 1
        assert len(list(tmp_path.rglob("*.seg"))) == 1
        done = stepwell_command("sync", tmp_path / ".stepwell", "--url", server.url, "--discard")
        assert done.returncode == 0
        assert "offline" in runs()


class TestStatus:
    def test_sizes_are_reported(self, train: Any, delete: Any, stepwell_command: Run, server: Server) -> None:
        train(ID="sized")
        done = stepwell_command("status", "--sizes", "--url", server.url)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        (history,) = [line for line in lines if line.startswith("history ")]
        assert " MB on disk, " in history
        assert " points" in history
        assert any(line.endswith(" of 6 hot slots in use") and " not sealed yet" in line for line in lines)
        runs = lines.index("runs    the largest, with the disk space that they take (estimated):")
        projects = lines.index("projects the largest, with the disk space that they take (estimated):")
        assert any(line.split()[:2] == ["default/p/sized", "100"] for line in lines[runs:projects])
        assert any(line.split()[0] == "default/p" for line in lines[projects:])

    def test_output_without_sizes_is_short(self, stepwell_command: Run, server: Server) -> None:
        done = stepwell_command("status", "--url", server.url)
        assert "history " in done.stdout
        assert "the largest" not in done.stdout
