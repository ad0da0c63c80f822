"""Programs with third-party code in separate processes, with Stepwell instead of wandb.

train   runs one against `stepwell up`, without network for the libraries; returns what readers see of its run, and the
        truth: what the program itself wrote into truth.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fixtures.commands import Server
from fixtures.seen import Seen

PATIENCE_S = 240.0
#: The settings of all programs.
STAND_IN = "import stepwell\nstepwell.install_as_wandb()\n"


class Trained(NamedTuple):
    seen: Seen
    truth: Any
    done: subprocess.CompletedProcess[str]


Train = Callable[..., Trained]


@pytest.fixture
def train(server: Server, command_environment: dict[str, str], tmp_path: Path) -> Train:
    def run(program: str, *, fails: bool = False, **environment: str) -> Trained:
        (tmp_path / "train.py").write_text(STAND_IN + textwrap.dedent(program))
        run_id = f"trained-{tmp_path.name}"
        ours = {
            "STEPWELL_URL": server.url,
            "STEPWELL_RUN_ID": run_id,
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "hf"),
            "KERAS_HOME": str(tmp_path / "keras"),
            "KERAS_BACKEND": "torch",
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=tmp_path,
            env=command_environment | ours | environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        truth = tmp_path / "truth.json"
        return Trained(
            Seen(server.dsn, server.url, run_id), json.loads(truth.read_text()) if truth.exists() else None, done
        )

    return run
