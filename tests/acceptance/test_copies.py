"""Copied or pickled runs, configs and summaries, as for a spawned child, a checkpoint or an averaged model."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.programs import PATIENCE_S, environment
from fixtures.server import Backend
from stepwell.errors import UsageError

CONFIG = {"lr": 0.1, "nested": {"layers": [1, 2]}}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[stepwell.Run]:
    with stepwell.init("mnist", id="run-1", mode="offline", dir=tmp_path, config=CONFIG) as run:
        run.log({"loss": 0.5, "text": "x"})
        run.summary["best"] = {"score": 3}
        yield run


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickled])
def test_copied_config_is_independent(run: stepwell.Run, make: Any) -> None:
    copied = make(run.config)
    assert (type(copied), dict(copied), copied.lr, copied["nested"]) == (
        type(run.config),
        CONFIG,
        0.1,
        CONFIG["nested"],
    )
    copied.update({"lr": 0.2, "new": 1}, allow_val_change=True)
    assert (copied.lr, dict(run.config)) == (0.2, CONFIG)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickled])
def test_copied_summary_is_independent(run: stepwell.Run, make: Any) -> None:
    copied = make(run.summary)
    assert copied.as_dict() == run.summary.as_dict()
    assert (copied.loss, copied["best"]["score"]) == (0.5, 3)
    copied["loss"] = 0.1
    assert (copied["loss"], run.summary["loss"]) == (0.1, 0.5)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, pickled])
def test_copy_of_a_run_is_the_run(run: stepwell.Run, make: Any) -> None:
    assert make(run) is run


def test_copy_of_a_finished_run_is_finished(run: stepwell.Run) -> None:
    run.finish()
    copied = pickled(run)
    assert (copied.id, copied.step, dict(copied.config)) == ("run-1", 1, CONFIG)
    with pytest.raises(UsageError, match="run run-1 is finished, so log"):
        copied.log({"a": 1})


def test_copy_of_a_disabled_run_is_disabled() -> None:
    with stepwell.init(mode="disabled") as run:
        copied = pickled(run)
        copied.log({"a": 1})
        assert (copied.disabled, copied.id) == (True, run.id)


@pytest.mark.db
@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_spawned_child_with_the_run_is_a_separate_writer(backend: Backend, tmp_path: Path, method: str) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import multiprocessing, sys, stepwell\n"
        "def work(run, number):\n"
        "    assert run.config['lr'] == 0.1\n"
        "    for _ in range(3):\n"
        "        run.log({'child': number})\n"
        "if __name__ == '__main__':\n"
        "    run = stepwell.init('mnist', id='run-1', url=sys.argv[1], dir=sys.argv[2], config={'lr': 0.1})\n"
        "    run.log({'parent': 1})\n"
        "    context = multiprocessing.get_context(sys.argv[3])\n"
        "    children = [context.Process(target=work, args=(run, number)) for number in range(2)]\n"
        "    for child in children: child.start()\n"
        "    for child in children: child.join()\n"
        "    run.log({'parent': 2})\n"
        "    print([child.exitcode for child in children], *sorted(f'0-{child.pid}' for child in children))\n"
    )
    done = subprocess.run(
        [sys.executable, str(program), backend.url, str(tmp_path / "spool"), method],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    ).stdout
    codes, writers = done[:6], done[6:].split()
    assert codes == "[0, 0]"
    points = backend.points("run-1")
    assert [point[1:] for point in points if point[0] == "0"] == [("parent", 0, 1.0), ("parent", 1, 2.0)]
    assert sorted({point[0] for point in points}) == ["0", *writers]
    assert sorted(point[1:] for point in points if point[0] != "0") == [
        ("child", step, number) for step in (1, 2, 3) for number in (0.0, 1.0)
    ]
    assert backend.query("SELECT state FROM stepwell.runs") == [("finished",)]
