"""The sealing process of `stepwell up`: it seals, is restarted when it is killed, and never outlives its server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fixtures.commands import START_S, Run, Server

pytestmark = [pytest.mark.db, pytest.mark.slow]


def await_true(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sealers(server: Server) -> list[psutil.Process]:
    try:
        children = psutil.Process(server.process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in children if "stepwell_ingest.server.sealer_process" in " ".join(command_of(child))]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


@pytest.fixture
def running(start_server: Callable[..., Server], data_place: Path) -> Iterator[tuple[Server, psutil.Process]]:
    """A server, and its sealer."""
    server = start_server(data_place / "data")
    await_true(lambda: sealers(server))
    family = psutil.Process(server.process.pid).children(recursive=True)
    yield server, sealers(server)[0]
    if server.process.poll() is None:
        server.end()
    # The Postgres of a killed server stops by itself; this test does not wait for it.
    for process in family:
        if process.is_running() and "postgres" in process.name():
            process.terminate()
    psutil.wait_procs(family, timeout=30)


def test_logged_points_are_sealed(
    running: tuple[Server, psutil.Process], stepwell_command: Run, command_environment: dict[str, str], tmp_path: Path
) -> None:
    server, _ = running
    code = (
        "import os, stepwell\nrun = stepwell.init(id='r', url=os.environ['URL'])\n"
        "for step in range(3000):\n    run.log({'a': step, 'b': 0.1 * step})\nrun.finish()"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        env=command_environment | {"URL": server.url},
        cwd=tmp_path,
        check=True,
        timeout=60,
    )

    def ask(query: str) -> str:
        return stepwell_command("sql", query, "--format", "csv", "--data", server.data).stdout.split()[-1]

    await_true(lambda: ask("SELECT sum(sealed_points) FROM ledger") == "6000")
    assert ask("SELECT count(DISTINCT step) * 1000 + count(DISTINCT metric) FROM history") == "3000002"
    assert ask("SELECT sum(value) = 2999 * 1500 FROM history WHERE metric = 'a'") == "true"


def test_killed_sealer_is_restarted(running: tuple[Server, psutil.Process]) -> None:
    server, sealer = running
    sealer.kill()
    await_true(lambda: [child for child in sealers(server) if child.pid != sealer.pid])
    assert "sealer " in server.output
    # It may have been killed before it reported that it works.
    assert "starting another one" in server.output or "the sealer could not be started" in server.output
    assert server.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_sealer_ends_with_its_server(running: tuple[Server, psutil.Process], number: signal.Signals) -> None:
    server, sealer = running
    family = psutil.Process(server.process.pid).children(recursive=True)
    assert server.end(number) == 0
    assert not sealer.is_running()
    assert not [child for child in family if child.is_running()]


def test_sealer_ends_when_its_server_is_killed(running: tuple[Server, psutil.Process]) -> None:
    server, sealer = running
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(30)
    await_true(lambda: not sealer.is_running() or sealer.status() == psutil.STATUS_ZOMBIE)


def test_no_seal_option(start_server: Callable[..., Server], data_place: Path) -> None:
    server = start_server(data_place / "data", "--no-seal", "--workers", "2")
    await_true(lambda: len(psutil.Process(server.process.pid).children()) >= 3)  # Postgres and two workers
    assert sealers(server) == []
    assert server.end() == 0
