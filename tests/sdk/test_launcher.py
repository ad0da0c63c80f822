"""The run of a launch: all ranks find the same one, a restart finds it again, and another launch does not."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import stepwell
from fixtures.programs import PATIENCE_S, environment
from stepwell.settings import resolve
from stepwell.settings.launcher import launch_id

AGENT = "/tmp/torchelastic_abc/none_xyz"


def worker(rank: int = 0, restart: int = 0, agent: str = AGENT, **more: str) -> dict[str, str]:
    """The environment that torchrun gives a worker."""
    return {
        "TORCHELASTIC_RUN_ID": "none",
        "TORCHELASTIC_RESTART_COUNT": str(restart),
        "TORCHELASTIC_ERROR_FILE": f"{agent}/attempt_{restart}/{rank}/error.json",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        **more,
    }


def task(rank: int = 0, job: str = "99", step: str = "0") -> dict[str, str]:
    """The environment that srun gives a task."""
    return {"SLURM_JOB_ID": job, "SLURM_STEP_ID": step, "SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "4"}


@pytest.mark.parametrize("name", ["none", "exp-1"])
def test_torchrun_ranks_share_a_run_across_restarts(name: str) -> None:
    ids = {launch_id(worker(rank, restart, TORCHELASTIC_RUN_ID=name)) for rank in range(4) for restart in range(3)}
    (first,) = ids
    assert first is not None
    assert first.startswith("torchrun-" if name == "none" else "exp-1-")
    assert launch_id(worker(agent="/tmp/torchelastic_def/none_uvw", TORCHELASTIC_RUN_ID=name)) not in ids


def test_torchrun_without_agent_directory() -> None:
    program = "import os, sys; from stepwell.settings.launcher import launch_id; print(launch_id(dict(os.environ)))"
    outer = (
        "import subprocess, sys\n"
        "print(*(subprocess.run([sys.executable, '-c', sys.argv[1]], capture_output=True, text=True).stdout.strip()"
        " for _ in range(2)))"
    )
    given = worker()
    del given["TORCHELASTIC_ERROR_FILE"]
    starts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", outer, program],
            env={**environment(), **given},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        first, second = done.stdout.split()
        assert first == second != "None"
        starts.append(first)
    assert starts[0] != starts[1]


class Store:
    """A stand-in for torch's store, which the agents of several nodes share."""

    values: dict[str, str]

    def __init__(self, host: str, port: int, is_master: bool, timeout: Any) -> None:
        assert (host, port, is_master) == ("node-0", 29400, False)

    def compare_set(self, key: str, expected: str, value: str) -> bytes:
        assert expected == ""
        return self.values.setdefault(key, value).encode()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> type[Store]:
    kind = type("Store", (Store,), {"values": {}})
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    distributed = types.ModuleType("torch.distributed")
    monkeypatch.setattr(distributed, "TCPStore", kind, raising=False)
    monkeypatch.setitem(sys.modules, "torch.distributed", distributed)
    return kind


def on_node(node: int, root: Path, restart: int = 0) -> dict[str, str]:
    agent = root / f"agent-{node}"
    agent.mkdir(exist_ok=True)
    nodes = {"GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "exp-1"}
    return worker(0, restart, str(agent), MASTER_ADDR="node-0", MASTER_PORT="29400", **nodes)


def test_nodes_agree_through_the_torch_store(store: type[Store], tmp_path: Path) -> None:
    (first,) = {launch_id(on_node(node, tmp_path)) for node in (0, 1)}
    assert first is not None
    assert first.startswith("exp-1-")
    store.values = {}
    assert {launch_id(on_node(node, tmp_path, restart=1)) for node in (1, 0)} == {first}
    store.values = {}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert {launch_id(on_node(node, elsewhere)) for node in (0, 1)} != {first}


def test_nodes_without_a_store_get_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", None)
    assert launch_id(on_node(0, tmp_path)) == "exp-1"
    assert "give each launch its own id" in caplog.text
    assert launch_id({**on_node(0, tmp_path), "TORCHELASTIC_RUN_ID": "none"}) is None


def test_slurm_step_distinguishes_launches() -> None:
    nodes = {"GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "8", "TORCHELASTIC_RUN_ID": "exp-1"}
    ids = {
        launch_id({**worker(agent=f"/tmp/{node}/x", **nodes), **task(job=job, step=step)})
        for node in range(2)
        for job, step in (("99", "0"), ("99", "1"), ("100", "0"))
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("given", "run_id"),
    [
        (task(), "slurm-99"),
        (task(3), "slurm-99"),
        (task(step="2"), "slurm-99.2"),
        ({**task(), "SLURM_RESTART_COUNT": "1"}, "slurm-99"),
        ({**task(), "STEPWELL_RUN_ID": "mine"}, "mine"),
    ],
)
def test_srun_ranks_share_a_run(given: dict[str, str], run_id: str) -> None:
    assert resolve(given).run_id == run_id


@pytest.mark.parametrize(
    "given",
    [
        {"SLURM_JOB_ID": "99", "SLURM_NTASKS": "8"},  # a batch script, which may start several programs in sequence
        {**task(), "SLURM_STEP_NUM_TASKS": "1"},
        {**task(), "SLURM_STEP_NUM_TASKS": "many"},
        worker(WORLD_SIZE="1"),
        worker(WORLD_SIZE="many"),
    ],
)
def test_single_process_has_its_own_run(given: dict[str, str]) -> None:
    assert resolve(given).run_id != resolve(given).run_id


@pytest.mark.parametrize("given", [worker(), task(), {"STEPWELL_RUN_ID": "job-7"}])
def test_each_init_of_a_launch_is_a_run(given: dict[str, str], tmp_path: Path) -> None:
    folds = (
        "import stepwell\n"
        "for fold in range(3):\n"
        "    with stepwell.init('kfold', mode='offline', dir='.') as run:\n"
        "        run.log({'fold': fold})\n"
        "        print(run.id)\n"
    )

    def rank(number: int) -> list[str]:
        env = {**environment(), **given, "RANK": str(number), "SLURM_PROCID": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", folds], cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout.split()

    ranks = [rank(0), rank(1)]
    assert len(set(ranks[0])) == 3
    assert ranks[0] == ranks[1] == rank(0)
    assert ranks[0][1:] == [f"{ranks[0][0]}-2", f"{ranks[0][0]}-3"]


def test_given_ids_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("STEPWELL_RUN_ID", "SLURM_", "TORCHELASTIC_")):
            monkeypatch.delenv(name)
    for _ in range(2):
        with stepwell.init(id="mine", mode="offline", dir=tmp_path) as run:
            assert run.id == "mine"
    monkeypatch.setenv("STEPWELL_RUN_ID", "job-8")
    for _ in range(2):
        with stepwell.init(mode="offline", dir=tmp_path, resume="allow") as run:
            assert run.id == "job-8"
