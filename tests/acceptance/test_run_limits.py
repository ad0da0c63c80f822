"""`stepwell up --points-per-run`: the messages to a training process and its user when the run is full."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.commands import Run, Server

pytestmark = pytest.mark.db

UNTIL_FULL = """
    import time, stepwell
    run = stepwell.init(project="p", id="full")
    while run.stats.frames_rejected < 3:
        run.log({"loss": 1.0})
        run.flush()
        time.sleep(0.02)
    run.finish()
    account = run.account
    print(account.logged, account.stored, account.rejected, account.left)
"""


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.slow
def test_full_run_gives_one_warning(
    command_environment: dict[str, str],
    start_server: Callable[..., Server],
    stepwell_command: Run,
    data_place: Path,
    tmp_path: Path,
    workers: str,
) -> None:
    server = start_server(data_place / "data", "--points-per-run", "3", "--bytes-per-run", "1GB", "--workers", workers)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(UNTIL_FULL)],
        env=command_environment | {"STEPWELL_URL": server.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    logged, stored, rejected, left = map(int, done.stdout.split())
    assert (logged, left) == (stored + rejected, 0)
    assert stored >= 3
    assert done.stderr.count("the run has reached the server's limit of points") == 1
    assert "--points-per-run" in done.stderr
    asked = stepwell_command(
        *("sql", "SELECT count(*) FROM rejections WHERE code = 'run_full'", "--format", "csv", "--data", server.data)
    )
    assert asked.stdout.split()[1] == str(rejected)


@pytest.mark.parametrize("size", ["0", "-1", "5XB", "much"])
def test_invalid_size_is_an_error(stepwell_command: Run, size: str) -> None:
    done = stepwell_command("up", f"--bytes-per-run={size}")
    assert done.returncode == 2
    assert "a size must be a number of bytes, or a number with kB, MB, GB or TB" in done.stderr
