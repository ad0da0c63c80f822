"""A process that starts with the id of an existing run, while its trainer runs or after it has ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.programs import PATIENCE_S, environment
from fixtures.server import Backend

pytestmark = pytest.mark.db

TRAINER = """
import sys, stepwell
run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
for step in range(100):
    run.log({"loss": step})
assert run.flush()
print("logged", flush=True)
sys.stdin.readline()
run.log({"loss": 100})
assert run.flush()
"""
EVALUATOR = """
import sys, stepwell
run = stepwell.init("mnist", id="run-1", url=sys.argv[1], dir=sys.argv[2])
run.log({"eval/accuracy": 0.9}, step=0)
run.finish()
"""


class Program:
    """A running program."""

    def __init__(self, path: Path, backend: Backend, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(path), backend.url, str(path.parent / "spool"), *more],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def logged(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "logged\n"

    def end(self) -> str:
        """Lets the program continue; returns its output."""
        _, said = self.process.communicate("\n", timeout=PATIENCE_S)
        assert self.process.returncode == 0, said
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def trainer(backend: Backend, tmp_path: Path) -> Iterator[Program]:
    (tmp_path / "train.py").write_text(TRAINER)
    (tmp_path / "eval.py").write_text(EVALUATOR)
    program = Program(tmp_path / "train.py", backend)
    program.logged()
    yield program
    if program.process.poll() is None:
        program.kill()


def until_left(backend: Backend) -> None:
    """Waits until the server has noticed that the connection of writer 0 has ended."""
    for _ in range(1000):
        if backend.query("SELECT left_at IS NOT NULL FROM stepwell.writer WHERE name = '0'") == [(True,)]:
            return
    raise AssertionError("the server has not seen it")


def test_evaluator_next_to_a_trainer_hides_nothing(backend: Backend, tmp_path: Path, trainer: Program) -> None:
    said = Program(tmp_path / "eval.py", backend).end()
    assert "another program is logging as writer 0 of run run-1, so this program logs as writer 0+" in said
    trainer.end()
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded") == [(0,)]
    points = backend.points("run-1")
    assert [point for point in points if point[0] == "0"] == [("0", "loss", step, float(step)) for step in range(101)]
    assert [point[1:] for point in points if point[0] != "0"] == [("eval/accuracy", 0, 0.9)]


def test_same_program_takes_over_with_a_warning(backend: Backend, tmp_path: Path, trainer: Program) -> None:
    again = Program(tmp_path / "train.py", backend)
    again.logged()
    said = again.end()
    assert "run run-1 exists, and writer 0 has logged up to step 99" in said
    assert "CAUTION: a process logged as this writer" in said
    assert "init(resume='allow')" in said
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded") == [(100,)]
    assert backend.query("SELECT name FROM stepwell.writer") == [("0",)]


def test_other_program_takes_over_from_a_killed_one(backend: Backend, tmp_path: Path, trainer: Program) -> None:
    trainer.kill()
    until_left(backend)
    said = Program(tmp_path / "eval.py", backend).end()
    assert "run run-1 exists, and writer 0 has logged up to step 99" in said
    assert backend.query("SELECT name FROM stepwell.writer") == [("0",)]
    assert backend.points("run-1") == [("0", "eval/accuracy", 0, 0.9)]


def test_resuming_process_gets_no_warning(backend: Backend, tmp_path: Path, trainer: Program) -> None:
    trainer.process.send_signal(signal.SIGTERM)
    trainer.process.communicate()
    (tmp_path / "resume.py").write_text(EVALUATOR.replace('id="run-1"', 'id="run-1", resume="allow"'))
    said = Program(tmp_path / "resume.py", backend).end()
    assert "replaces those points" not in said
    assert "runs/run-1; it continues at step 100" in said
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded") == [(0,)]


@pytest.mark.parametrize(
    ("how", "text", "step"),
    [
        ('resume_from="run-1?_step=49"', "it was rewound to step 49 and continues at step 50", 50),
        ('resume_from="run-1?_step=5000"', "it has no step 5000 to rewind to, so it continues at step 100", 100),
        ('id="fork", fork_from="run-1?_step=9"', "a fork of run run-1 at step 9; it continues at step 10", 10),
    ],
)
def test_init_prints_the_resume_step(
    backend: Backend, tmp_path: Path, trainer: Program, how: str, text: str, step: int
) -> None:
    trainer.process.send_signal(signal.SIGTERM)
    trainer.process.communicate()
    (tmp_path / "next.py").write_text(
        f"import sys, stepwell\nrun = stepwell.init('mnist', url=sys.argv[1], dir=sys.argv[2], {how})\n"
        f"assert run.step == {step}, run.step\nrun.log({{'loss': -1}})\n"
    )
    assert text in Program(tmp_path / "next.py", backend).end()
