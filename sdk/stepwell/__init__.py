"""Stepwell in a training process: `init`, `log`, `finish`, and what they return and raise.

    import stepwell                      # or: import stepwell as wandb

    with stepwell.init(project="mnist", config={"lr": 3e-4}) as run:
        for batch in batches:
            run.log({"train/loss": loss, "train/accuracy": accuracy})

The way of the data: log() → stage → frame → spool → stream → server → Postgres. docs/architecture.md draws it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from stepwell._config import Config, ConfigError
from stepwell._flush import Flush
from stepwell._process import PROCESS
from stepwell._run import Run
from stepwell._sender import Account, Stats
from stepwell._settings import Settings, resolve
from stepwell.errors import DataError, Error, RejectionError, ServerError, SpoolError, UsageError

if TYPE_CHECKING:
    from stepwell.api import Api

__version__ = "0.1.0"

__all__ = [
    "Account",
    "Api",
    "Config",
    "ConfigError",
    "DataError",
    "Error",
    "Flush",
    "RejectionError",
    "Run",
    "ServerError",
    "Settings",
    "SpoolError",
    "Stats",
    "UsageError",
    "finish",
    "flush",
    "init",
    "log",
]


def init(
    project: str | None = None,
    *,
    entity: str | None = None,
    id: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    dir: str | PathLike[str] | None = None,
    url: str | None = None,
    writer: str | int | None = None,
    resume: str | bool | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    step_back: str | None = None,
    spool_full: str | None = None,
    on_rejection: Callable[[int, RejectionError], None] | None = None,
) -> Run:
    """Starts logging to a run. Returns at once: a server that is away is tried in the background.

    Args:
        project, entity: where the run belongs; default "uncategorized" and "default".
        id: the run's id; processes with the same id log to the same run, each as a writer. Made up when not given.
        name: what pages show.
        config: hyperparameters; see `Config`.
        notes, tags, group, job_type: kept with the run.
        mode: "online" (default), "offline" (only to disk; `stepwell sync` delivers later), "disabled" (nothing).
        dir: where spools are; default `.stepwell` in the working directory.
        url: the server; default http://127.0.0.1:8770.
        writer: which process of the run this is; default from RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK, else 0.
        resume: what to do when the run is there already. "allow": go on behind its last step; "must": likewise, and
            it must be there; "never": it must not be; "auto" (or True): the run that did not end cleanly in `dir`, if
            there is one. None: no check; a step that is logged again supersedes what was logged there before.
        resume_from: "<run id>?_step=N": go on behind step N; what was logged above it is superseded.
        fork_from: "<run id>?_step=N": a new run that shows the points of that one up to step N.
        step_back: what becomes of a `log(step=…)` for a step that has passed: "warn", "raise" or "quarantine".
        spool_full: what happens when the spool takes no more: "keep" training, "drop_oldest", "block" or "raise".
        on_rejection: called with (seq, error) when the server refuses a frame for good, in the I/O thread.

    Each has an environment variable, STEPWELL_PROJECT and so on (docs/configuration.md).

    Raises:
        UsageError, SettingError: a name or a setting that cannot be used.
        DataError: a config that is not JSON.
        SpoolError: the spool cannot be made in `dir`.
        UnavailableError: the run must be resumed, rewound or forked, and the server does not answer.
    """
    active = PROCESS.current
    if active is not None:
        active.say(f"run {active.id} is still active, so init() returned it; call finish() first for a new one")
        return active
    settings = resolve(
        entity=entity,
        project=project,
        run_id=id,
        name=name,
        mode=mode,
        dir=dir,
        url=url,
        writer=writer,
        resume=resume,
        resume_from=resume_from,
        fork_from=fork_from,
        step_back=step_back,
        spool_full=spool_full,
    )
    info = {"notes": notes, "tags": list(tags) if tags else None, "group": group, "job_type": job_type}
    run = Run(settings, config or {}, {key: value for key, value in info.items() if value is not None}, on_rejection)
    PROCESS.adopt(run)
    if settings.writer == "0" and settings.mode != "disabled":
        where = f"to {settings.url}" if settings.mode == "online" else f"offline, into {run.spool_directory}"
        run.say(f"logging {where} as run {run.id} of {settings.entity}/{settings.project}")
    return run


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None) -> None:
    """`Run.log` of the current run.

    Raises:
        Error: there is none.
    """
    PROCESS.require("stepwell.log()").log(data, step, commit)


def flush(timeout_s: float | None = None, *, durable: bool = True) -> Flush:
    """`Run.flush` of the current run.

    Raises:
        Error: there is none.
    """
    return PROCESS.require("stepwell.flush()").flush(timeout_s, durable=durable)


def finish(exit_code: int | None = None) -> None:
    """`Run.finish` of the current run; without one, nothing."""
    if PROCESS.current is not None:
        PROCESS.current.finish(exit_code)


def __getattr__(name: str) -> Any:
    if name == "Api":  # reading back; a training process does not need it
        from stepwell.api import Api

        return Api
    if name == "run":  # the current run, None when there is none
        return PROCESS.current
    if name == "config":
        return PROCESS.require("stepwell.config").config
    raise AttributeError(f"module 'stepwell' has no attribute {name!r}")
