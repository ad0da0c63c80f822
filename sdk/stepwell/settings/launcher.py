"""Derives one run id for all ranks of a launch by torchrun or srun, if no id was given.

Sits beside `resolve`. Receives the environment that the launcher has set; returns an id that all ranks of one launch
compute independently, that a restart of the same job computes again, and that no other launch computes:

- Slurm numbers each job, and each step (each call of srun) within the job. A requeued job keeps these numbers.
- torchrun gives its workers a name (`--rdzv-id`), but scripts often fix it, so it does not tell two starts apart. The
  directory of torchrun's agent does: each node's agent creates one for its workers, and keeps it over restarts.
  On several nodes, the directories differ, so the ranks agree on an id through the store of torch.distributed.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("stepwell")

_STORE_S = 20.0
_KEY = "stepwell/start"
_REMEMBERED = "stepwell-start"


def launch_id(environment: Mapping[str, str]) -> str | None:
    """The run id of this launch; None: the process was started alone, or its ranks cannot agree."""
    name = environment.get("TORCHELASTIC_RUN_ID")
    if name and _several(environment.get("WORLD_SIZE")):
        start = _slurm_step(environment) or _start_of_agent(environment)
        if start is not None:
            return f"{'torchrun' if name == 'none' else name}-{_digest(start)}"
        if name == "none":
            return None
        log.warning(
            "the ranks of this launch could not agree on a run of their own, so they log to run %s. Another launch "
            "with this --rdzv-id would log to it, too; give each launch its own id: init(id=…) or STEPWELL_RUN_ID",
            name,
        )
        return name
    step = _slurm_step(environment)
    if step is not None and _several(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS")):
        return f"slurm-{step}"
    return None


def process_count(environment: Mapping[str, str]) -> int:
    """The number of processes of this launch; 1 if the environment does not say."""
    names = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
    found = next((environment[name] for name in names if environment.get(name, "").isdecimal()), "1")
    return int(found)


def _slurm_step(environment: Mapping[str, str]) -> str | None:
    """The number of the job in its first step, job.step in later ones; None outside of srun, where each program of a
    batch script logs to a run of its own."""
    job, step = environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID") or environment.get("SLURM_STEPID")
    if not job or not step:
        return None
    return job if step == "0" else f"{job}.{step}"


def _start_of_agent(environment: Mapping[str, str]) -> str | None:
    """A text that all ranks of this start of torchrun share, even after the agent has restarted them."""
    agent = _directory_of_agent(environment)
    if environment.get("GROUP_WORLD_SIZE", "1") == "1" or (
        environment.get("LOCAL_WORLD_SIZE") == environment.get("WORLD_SIZE")
    ):
        return str(agent) if agent is not None else _parent()
    return _agreed(environment, agent)


def _directory_of_agent(environment: Mapping[str, str]) -> Path | None:
    """The agent's own directory, from the path `<directory>/attempt_<restart>/<local rank>/error.json`."""
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    parents = Path(path).parents if path else ()
    return parents[2] if len(parents) > 3 and parents[1].name.startswith("attempt_") else None


def _parent() -> str | None:
    """A text that identifies the parent process, and no later process with the same pid."""
    with contextlib.suppress(OSError, IndexError):
        started = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.getppid()}:{started}"
    return None


def _agreed(environment: Mapping[str, str], agent: Path | None) -> str | None:
    """The text on which the ranks of several nodes agree: the first proposal in the store that their agents share.

    A restart may come with a new store, so each node proposes what it agreed on before.
    """
    remembered = agent / _REMEMBERED if agent is not None else None
    proposal = os.urandom(8).hex()
    if remembered is not None:
        with contextlib.suppress(OSError):
            proposal = remembered.read_text() or proposal
    try:
        store = importlib.import_module("torch.distributed").TCPStore(
            environment["MASTER_ADDR"],
            int(environment["MASTER_PORT"]),
            is_master=False,
            timeout=datetime.timedelta(seconds=_STORE_S),
        )
        agreed = bytes(store.compare_set(_KEY, "", proposal)).decode()
    except Exception as error:  # noqa: BLE001 - whatever torch raises, the run must begin
        log.debug("the ranks cannot agree on a common id: %s", error)
        return None
    if remembered is not None:
        with contextlib.suppress(OSError):
            remembered.write_text(agreed)
    return agreed


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _several(count: str | None) -> bool:
    return count is not None and count.isdecimal() and int(count) > 1
