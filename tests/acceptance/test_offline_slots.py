"""A job that runs offline in several time slots, each from a checkpoint; all are synced later, in any order."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from fixtures.programs import script
from fixtures.server import Backend
from stepwell.cli import main

pytestmark = pytest.mark.db

#: The first and last step of each slot; each slot logs its own number.
SLOTS = [(0, 100), (80, 200), (150, 210)]


@pytest.fixture
def slots(tmp_path: Path) -> list[Path]:
    """The spools of the slots, one directory each, as if each ran on a separate node."""
    roots = []
    for number, (first, end) in enumerate(SLOTS):
        roots.append(tmp_path / f"node-{number}")
        script(
            """
            import time
            number, first, end = map(int, sys.argv[2:])
            config = {"slot": number, f"only-{number}": True}
            place = {"mode": "offline", "dir": sys.argv[1]}
            run = stepwell.init("mnist", id="job-7", config=config, name=f"slot {number}", **place)
            for step in range(first, end):
                run.log({"loss": number}, step=step)
            run.log({}, step=end)
            if number < 2:
                run.flush()
                os._exit(9)  # its time is up
            """,
            *(roots[-1], number, first, end),
            check=False,
        )
    return roots


EXPECTED = {
    **dict.fromkeys(range(80), 0.0),
    **dict.fromkeys(range(80, 150), 1.0),
    **dict.fromkeys(range(150, 210), 2.0),
}


def assert_one_curve(backend: Backend) -> None:
    assert backend.query("SELECT name FROM stepwell.writer") == [("0",)]
    points = [(step, value) for _, _, step, value in backend.points("job-7")]
    assert len(points) == len(dict(points)) == 210
    assert dict(points) == EXPECTED
    assert backend.query("SELECT count(*) FROM stepwell.history_superseded") == [(70,)]
    ((config, name),) = backend.query("SELECT config, display_name FROM stepwell.runs")
    assert config == {"slot": 2, "only-0": True, "only-1": True, "only-2": True}
    assert name == "slot 2"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_slots_synced_in_any_order_are_one_curve(backend: Backend, slots: list[Path], order: tuple[int, ...]) -> None:
    for number in order:
        assert main(["sync", str(slots[number]), "--url", backend.url]) == 0
    assert_one_curve(backend)


def test_slots_in_one_directory_are_one_curve(backend: Backend, slots: list[Path], tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    for root in slots:
        shutil.copytree(root, shared, dirs_exist_ok=True)
    kept = tmp_path / "kept"
    shutil.copytree(shared, kept)
    assert main(["sync", str(shared), "--url", backend.url]) == 0
    assert_one_curve(backend)
    assert main(["sync", str(kept), "--url", backend.url]) == 0
    points = [(step, value) for writer, _, step, value in backend.points("job-7") if writer == "0"]
    assert dict(points) == EXPECTED
