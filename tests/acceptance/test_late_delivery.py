"""Spools of killed processes, delivered after another process has continued and ended the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest

from fixtures.commands import Run
from fixtures.server import Backend

pytestmark = pytest.mark.db

KILLED = """
import os, signal, stepwell
run = stepwell.init(id="r")
for step in range(70):
    run.log({"loss": float(step)})
run.flush()
print("stored", flush=True)
input()
if MORE:
    for step in range(MORE):
        run.log({"more": float(step)})
    run.flush(durable=False)
os.kill(os.getpid(), signal.SIGKILL)
"""
RESUMED = """
import stepwell
run = stepwell.init(id="r", resume="allow")
run.log({"loss": -1.0})
run.finish()
"""


def killed(environment: Mapping[str, str], directory: Path, backend: Backend, more: int = 0) -> None:
    """A run whose process was killed with `more` rows that the server does not have."""
    script = f"MORE = {more}\n" + KILLED
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=directory
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stored\n"
        if more:
            backend.stop()
        process.communicate(b"\n")
    assert process.returncode == -signal.SIGKILL
    if more:
        backend.start()


@pytest.fixture
def environment(command_environment: dict[str, str], backend: Backend) -> dict[str, str]:
    own = {"STEPWELL_URL": backend.url, "STEPWELL_SILENT": "1", "STEPWELL_SYSTEM_METRICS_S": "0"}
    return {**os.environ, **command_environment, **own, "STEPWELL_METADATA": "0", "STEPWELL_CONSOLE": "off"}


def states(backend: Backend) -> list[tuple[str, str, bool]]:
    return [
        (name, state, late)
        for name, state, late in backend.query("SELECT name, state, late FROM stepwell.writer ORDER BY writer_id")
    ]


def silence(backend: Backend) -> None:
    """Moves all heartbeats back by an hour, and lets the server notice."""
    backend.query("UPDATE stepwell.writer SET heartbeat_at = heartbeat_at - interval '1 h'")
    backend.query("SELECT stepwell.reap_v1('1 min')")


def resume(environment: Mapping[str, str], directory: Path) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(RESUMED)], env=environment, cwd=directory, check=True)


def test_fully_stored_spool_opens_no_writer(
    backend: Backend, environment: dict[str, str], stepwell_command: Run, tmp_path: Path
) -> None:
    killed(environment, tmp_path, backend)
    resume(environment, tmp_path)
    status = stepwell_command("status", "--url", backend.url, cwd=tmp_path)
    (line,) = [line for line in status.stdout.splitlines() if "default/uncategorized/r" in line]
    assert line.split()[3] == "0"
    assert line.endswith("nobody: `stepwell sync` removes it; the server has all of it")
    done = stepwell_command("sync", "--url", backend.url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "that the server already had" in done.stdout
    assert not (tmp_path / ".stepwell" / "r").exists()
    silence(backend)
    assert states(backend) == [("0", "finished", False)]
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]
    assert len(backend.points("r")) == 71


def test_late_rows_arrive_and_the_run_stays_finished(
    backend: Backend, environment: dict[str, str], stepwell_command: Run, tmp_path: Path
) -> None:
    killed(environment, tmp_path, backend, more=5)
    resume(environment, tmp_path)
    status = stepwell_command("status", "--url", backend.url, cwd=tmp_path)
    assert "nobody: `stepwell sync` delivers it" in status.stdout
    done = stepwell_command("sync", "--url", backend.url, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    silence(backend)
    (first, second) = states(backend)
    assert first == ("0", "finished", False)
    assert second[2]
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]
    assert [value for _, metric, _, value in backend.points("r") if metric == "more"] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_late_delivery_is_no_heartbeat(
    backend: Backend, environment: dict[str, str], stepwell_command: Run, tmp_path: Path
) -> None:
    killed(environment, tmp_path, backend, more=5)
    silence(backend)
    assert backend.query("SELECT state FROM stepwell.runs") == [("crashed",)]
    done = stepwell_command("sync", "--url", backend.url, cwd=tmp_path)
    assert done.returncode == 0
    assert backend.query("SELECT state FROM stepwell.runs") == [("crashed",)]
    assert states(backend) == [("0", "crashed", False)]
