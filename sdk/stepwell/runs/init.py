"""`init`: creates a run from arguments, settings objects and the environment, and makes it the current run."""

from __future__ import annotations

import copyreg
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from stepwell.errors import Error, RejectionError, SettingError
from stepwell.notes.config_sources import config_values, starting_config
from stepwell.runs.copies import reduced
from stepwell.runs.process import PROCESS
from stepwell.runs.run import Run
from stepwell.runs.session import Session
from stepwell.settings import resolve
from stepwell.settings.given import GivenSettings, as_arguments
from stepwell.settings.launcher import process_count
from stepwell.settings.names import words_of
from stepwell.spool.place import usable_directory

log = logging.getLogger("stepwell")

copyreg.pickle(Run, reduced)

_REINIT = ("default", "return_previous", "finish_previous", "create_new")
_MODE_VARIABLES = ("STEPWELL_MODE", "WANDB_MODE")
_STARTS = ("resume", "resume_from", "fork_from")
_SECRET = ("url", "api_key")  # they may hold credentials


def init(
    project: str | None = None,
    *,
    entity: str | None = None,
    dir: str | PathLike[str] | None = None,
    id: str | None = None,
    name: str | None = None,
    notes: str | None = None,
    tags: Sequence[str] | None = None,
    config: Mapping[str, Any] | str | PathLike[str] | Any | None = None,
    config_exclude_keys: Sequence[str] | None = None,
    config_include_keys: Sequence[str] | None = None,
    allow_val_change: bool | None = None,
    group: str | None = None,
    job_type: str | None = None,
    mode: str | None = None,
    force: bool | None = None,
    reinit: str | bool | None = None,
    resume: str | bool | None = None,
    resume_from: str | None = None,
    fork_from: str | None = None,
    save_code: bool | None = None,
    tensorboard: bool | None = None,
    sync_tensorboard: bool | None = None,
    monitor_gym: bool | None = None,
    settings: GivenSettings | Mapping[str, Any] | None = None,
    anonymous: str | None = None,
    url: str | None = None,
    writer: str | int | None = None,
    step_back: str | None = None,
    spool_full: str | None = None,
    blobs_full: str | None = None,
    on_rejection: Callable[[int, RejectionError], None] | None = None,
) -> Run:
    """Starts logging to a run. Returns at once, and an unreachable server is retried in the background; only resume,
    resume_from and fork_from wait for the server's answer.

    Args:
        project, entity: the project of the run and its entity; default "uncategorized" and "default".
        dir: the directory for spools; default `.stepwell` in the working directory. One that cannot be written, or that
            belongs to another user, is replaced by one in this user's state directory, with a warning.
        id: the run's id; processes with the same id log to the same run, each as a writer. Generated when not given;
            the ranks of one torchrun or srun use the same one.
        name: the display name, shown on pages.
        notes, tags, group, job_type: kept with the run. A tag has 1 to 64 characters.
        config: hyperparameters: a dict, an argparse.Namespace, absl flags, or the path of a YAML file. It takes
            precedence over `config-defaults.yaml` in the working directory.
        config_exclude_keys, config_include_keys: the keys of `config` to leave out, or to take; not both.
        allow_val_change: whether values of the config may be changed later; None: only in a notebook, whose cells may
            run again.
        mode: "online" (default), "offline" (only to disk; `stepwell sync` delivers later), "disabled" (nothing).
            "shared" means "online": any run may have several processes.
        reinit: what happens when a run is active. "return_previous" (or "default", False): it is returned;
            "finish_previous" (or True): it is finished first; "create_new": both continue, and `stepwell.run` stays
            the first.
        resume: what to do when the run exists. "allow": continue after its last step; "must": likewise, and it must
            exist; "never": it must not exist; "auto" (or True): resume the run that did not end cleanly in `dir`, if
            there is one. None: no check; logging a step again supersedes the points stored from that step on.
        resume_from: "<run id>?_step=N": continue that run after its step N; its later points are superseded.
        fork_from: "<run id>?_step=N": start a new run that shows the points of that run up to step N.
        settings: more of these arguments, in a dict or a `stepwell.Settings`; arguments win over them.
        url: the server; default http://127.0.0.1:8770.
        writer: the name of this process in the run; default from RANK, SLURM_PROCID or OMPI_COMM_WORLD_RANK, else 0.
        step_back: how to handle `log(step=…)` for a step that has passed: "warn", "raise" or "quarantine".
        spool_full: what to do when the spool is full: "keep" training, "drop_oldest", "block" or "raise".
        blobs_full: what to do when there is no room for a file: "drop" it (and log an error), "block" or "raise".
        on_rejection: called in the I/O thread with the seq and the error of each frame that the server refuses for
            good.
        save_code: whether to keep the program's main file with the run, as `code/<its name>`.
        sync_tensorboard, tensorboard: whether to log the output of TensorBoard's writers (of torch and tensorboardX),
            too: scalars, pictures, histograms and texts by their tags, with `global_step`.
        force, anonymous, monitor_gym: arguments of W&B's client without effect; a warning says so for `monitor_gym`.

    Most arguments have an environment variable, such as STEPWELL_PROJECT (docs/configuration.md).

    Raises:
        UsageError, SettingError: a name or a setting is invalid.
        UsageError: with `resume`, the run exists and must not, or does not exist and must.
        DataError: the config has no valid form.
        SpoolError: the spool cannot be created in `dir`.
        UnavailableError: the run must be resumed, rewound or forked, and the server does not answer.
    """
    without_effect = {
        "monitor_gym": monitor_gym,
    }
    for argument, value in without_effect.items():
        if value:
            log.warning(
                "init(%s=%r) has no effect in Stepwell, which logs only what is passed to log()", argument, value
            )
    arguments = as_arguments(settings)
    given = {
        "project": project,
        "entity": entity,
        "id": id,
        "name": name,
        "notes": notes,
        "tags": tags,
        "group": group,
        "job_type": job_type,
        "mode": mode,
        "dir": dir,
        "url": url,
        "writer": writer,
        "resume": resume,
        "resume_from": resume_from,
        "fork_from": fork_from,
        "step_back": step_back,
        "spool_full": spool_full,
        "blobs_full": blobs_full,
        "reinit": reinit,
        "allow_val_change": allow_val_change,
        "save_code": save_code,
    }
    arguments |= {key: value for key, value in given.items() if value is not None}
    allow = bool(arguments.pop("allow_val_change", _in_notebook()))
    how = _reinit(arguments.pop("reinit", None))
    arguments["run_id"] = arguments.pop("id", None)
    active = PROCESS.current
    parents = active if active is not None and active._life.inherited else None
    if parents is not None:  # the run of the parent process continues there
        active = None
    if active is not None and how in ("default", "return_previous"):
        active.say(f"run {active.id} is still active, so init() returned it; call finish() first for a new one")
        if ignored := without_effect_on(active, arguments, config):
            log.warning(
                "init() returned the active run %s, so these arguments have no effect: %s. A new run begins after "
                'finish(), or with reinit="finish_previous" or "create_new"',
                *(active.id, ", ".join(ignored)),
            )
        return active
    environment: Mapping[str, str] = os.environ
    recorder = PROCESS.recorder
    if recorder is not None:  # nothing leaves the process or stays on the disk
        arguments |= {"dir": recorder.directory, "silent": True}
        environment = {name: value for name, value in environment.items() if name not in _MODE_VARIABLES}
    resolved = resolve(environment, nth=PROCESS.nth_run_of, **arguments)
    if recorder is None and resolved.mode != "disabled":
        resolved = dataclasses.replace(resolved, dir=usable_directory(resolved.dir))
    if parents is not None and resolved.run_id == parents.id and "writer" not in arguments:
        resolved = dataclasses.replace(resolved, writer=f"{resolved.writer}-{os.getpid()}")  # differs from its parent's
    values = starting_config(config, config_include_keys, config_exclude_keys, Path.cwd())
    if active is not None and how == "finish_previous":
        active.finish()
    run = Run(resolved, values, on_rejection, allow, recorder.open_session if recorder else Session)
    run.open()
    replaced = PROCESS.adopt(run, current=how != "create_new")
    if replaced is not None and how == "finish_previous":
        replaced.finish()  # a run that another thread has started meanwhile
    if recorder is not None:
        recorder.started(run)
    if resolved.writer == "0" and resolved.mode != "disabled":
        where = f"to {run.url}" if resolved.mode == "online" else f"offline, into {run.spool_directory}"
        known_as = run.id if run.name == run.id else f"{run.name} ({run.id})"
        text = f"logging run {known_as} of {resolved.entity}/{resolved.project} {where}"
        text += f"; {run._continues}" if run._continues else ""
        count = process_count(environment)
        if count > 1 and run.name != words_of(run.id):  # a generated id belongs to this process only
            text += (
                f"\n  {count} processes log to this run, each as a writer of its own: see the column `writer` in SQL"
            )
        run.say(text)
    if recorder is None:
        run._life.observers.start(run._session)
    if sync_tensorboard or tensorboard:
        run._life.observers.sync_tensorboard(run.log)
    return run


def without_effect_on(run: Run, arguments: Mapping[str, Any], config: Any) -> list[str]:
    """The arguments of `init` that differ from the returned run, such as "project='other'" or "config 'lr'"."""
    try:
        asked = resolve({}, **arguments)
    except Error as error:
        return [error.message]
    ignored = []
    for name, value in arguments.items():
        attribute = "start" if name in _STARTS else name
        if value is not None and getattr(asked, attribute, None) != getattr(run.settings, attribute, None):
            shown = "" if name in _SECRET else f"={value!r:.80}"
            ignored.append(f"{'id' if name == 'run_id' else name}{shown}")
    values = config_values(config)
    return ignored + [f"config {key!r}" for key in values if key not in run.config or run.config[key] != values[key]]


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None  # IPython in a terminal has no kernel


def _reinit(given: str | bool | None) -> str:
    if given is None or given is False:
        return "default"
    if given is True:
        return "finish_previous"
    if given not in _REINIT:
        raise SettingError(f"reinit must be one of {', '.join(_REINIT)}", detail=repr(given)[:80])
    return str(given)
