"""The demo with few steps: it ends, its counts agree, and it leaves nothing behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from fixtures.commands import Run

pytestmark = [pytest.mark.db, pytest.mark.slow]


def test_demo(stepwell_command: Run, data_place: Path) -> None:
    done = stepwell_command("demo", "--steps", "66", environment={"TMPDIR": str(data_place)}, timeout_s=120)
    assert done.returncode == 0, done.stdout + done.stderr
    # 18 metrics per step, and 2 more at every eleventh step and the last one.
    counted = 66 * 18 + 2 * (6 + 1)
    for rank in range(4):
        assert re.search(rf"^ +{rank} +{counted:,} +{counted:,} +20  equal$", done.stdout, re.MULTILINE)
    assert re.search(rf"^ +all +{4 * counted:,} +{4 * counted:,} +equal$", done.stdout, re.MULTILINE)
    assert re.search(r"^ +3  ( *\d\.\d{4}){4}$", done.stdout, re.MULTILINE)
    assert "PASSED" in done.stdout
    assert list(data_place.iterdir()) == []
    assert not [
        process for process in psutil.process_iter(["cmdline"]) if str(data_place) in str(process.info["cmdline"])
    ]


def test_missing_scikit_learn(stepwell_command: Run, tmp_path: Path) -> None:
    # A finder that hides sklearn, as in an installation without the extra.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, package=None: None if name == 'sklearn' else find(name, package)\n"
    )
    done = stepwell_command("demo", environment={"PYTHONPATH": str(tmp_path)}, cwd=Path(__file__).parents[2] / "sdk")
    assert done.returncode == 1
    assert done.stderr == (
        "stepwell: the demo needs scikit-learn, which is not installed\n  Hint: pip install 'stepwell[demo]'\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_no_process_survives_the_demo(
    command_environment: dict[str, str], data_place: Path, number: signal.Signals
) -> None:
    # under nohup, a child would inherit ignored SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        _survives_nothing(command_environment, data_place, number)
    finally:
        signal.signal(signal.SIGHUP, before)


def _survives_nothing(command_environment: dict[str, str], data_place: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "stepwell", "demo", "--steps", "100000"]
    environment = command_environment | {"TMPDIR": str(data_place)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as demo:
        deadline = time.monotonic() + 60
        while len(family := psutil.Process(demo.pid).children(recursive=True)) < 1 + 4 + 5:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        demo.send_signal(number)
        assert demo.wait(30) == (-number if number == signal.SIGKILL else 130)
    assert psutil.wait_procs(family, timeout=15)[1] == []
    if number != signal.SIGKILL:
        assert list(data_place.iterdir()) == []


def test_kept_demo_runs_until_stopped(command_environment: dict[str, str], data_place: Path) -> None:
    command = [sys.executable, "-m", "stepwell", "demo", "--keep", "--steps", "22"]
    environment = command_environment | {"TMPDIR": str(data_place)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        page = next(
            line.removeprefix("The run's page: ").strip() for line in demo.stdout if line.startswith("The run's page: ")
        )
        assert next(demo.stdout) == "The server runs until Ctrl-C.\n"
        with urllib.request.urlopen(page) as answer:
            assert answer.headers["Content-Type"].startswith("text/html")
        demo.send_signal(signal.SIGTERM)  # background jobs of a shell may ignore SIGINT
        assert demo.wait(60) == 0
    assert list(data_place.iterdir()) == []
