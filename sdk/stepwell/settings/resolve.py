"""Resolves `Settings` from the arguments of `init` and the environment. Nothing else in a training process reads
STEPWELL_*.

Arguments of `init` override the environment, which overrides the defaults. docs/configuration.md lists every variable,
and a test compares the two.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import string
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from stepwell.errors import SettingError, UsageError
from stepwell.settings.key_file import stored_key
from stepwell.settings.launcher import launch_id
from stepwell.settings.names import words_of
from stepwell.settings.settings import DEFAULT_URL, BlobsFull, ConsoleCapture, Mode, Settings, StepBack, WhenFull
from stepwell.settings.start import Start, parse_start
from stepwell.transport.endpoint import authorization, shown
from stepwell.values.convert import described
from stepwell.values.text import storable
from stepwell.wire import MAX_TAG

_ID_ALPHABET = string.digits + string.ascii_lowercase

#: Environment variable → attribute of `Settings`. Without STEPWELL_WRITER, `_RANK_VARIABLES` give the writer.
ENVIRONMENT = {
    "STEPWELL_URL": "url",
    "STEPWELL_DIR": "dir",
    "STEPWELL_MODE": "mode",
    "STEPWELL_PROJECT": "project",
    "STEPWELL_ENTITY": "entity",
    "STEPWELL_RUN_ID": "run_id",
    "STEPWELL_NAME": "name",
    "STEPWELL_WRITER": "writer",
    "STEPWELL_RESUME": "resume",
    "STEPWELL_STEP_BACK": "step_back",
    "STEPWELL_SPOOL_FULL": "spool_full",
    "STEPWELL_BLOBS_FULL": "blobs_full",
    "STEPWELL_SILENT": "silent",
    "STEPWELL_NOTES": "notes",
    "STEPWELL_TAGS": "tags",
    "STEPWELL_RUN_GROUP": "group",
    "STEPWELL_JOB_TYPE": "job_type",
    "STEPWELL_CONSOLE": "console",
    "STEPWELL_SYSTEM_METRICS_S": "system_metrics_s",
    "STEPWELL_METADATA": "metadata",
    "STEPWELL_SAVE_CODE": "save_code",
    "STEPWELL_API_KEY": "api_key",
    "STEPWELL_CA_FILE": "ca_file",
}
#: W&B's variables, each of which counts if Stepwell's own is not set. Those for W&B's server and key do not count.
FALLBACKS = {
    "WANDB_DIR": "dir",
    "WANDB_MODE": "mode",
    "WANDB_PROJECT": "project",
    "WANDB_ENTITY": "entity",
    "WANDB_RUN_ID": "run_id",
    "WANDB_NAME": "name",
    "WANDB_RESUME": "resume",
    "WANDB_SILENT": "silent",
    "WANDB_NOTES": "notes",
    "WANDB_TAGS": "tags",
    "WANDB_RUN_GROUP": "group",
    "WANDB_JOB_TYPE": "job_type",
    "WANDB_CONSOLE": "console",
    "WANDB_SAVE_CODE": "save_code",
}
#: W&B's ways to watch the console; Stepwell has one.
_CONSOLES_OF_WANDB = ("auto", "redirect", "wrap_raw", "wrap_emu")
_RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
_LOCAL_RANK_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")


def resolve(
    environment: Mapping[str, str] = os.environ, *, nth: Callable[[str], str] = str, **arguments: Any
) -> Settings:
    """The settings from arguments (None: not given) and environment.

    Args:
        environment: the environment variables.
        nth: converts the run id of a job to that of the run which begins now: a process that calls `init` again begins
            another run. Not called when the program gives the id, or when the environment gives that of a run to be
            resumed.

    Raises:
        SettingError: a value is invalid, or more than one of resume, resume_from and fork_from is given.
        UsageError: an entity, project, run id or writer is empty, too long, or has characters that are not allowed
            (the rule of W&B's client).
    """
    values: dict[str, Any] = {}
    for variable, attribute in [*FALLBACKS.items(), *ENVIRONMENT.items()]:
        if environment.get(variable):
            values[attribute] = environment[variable]
            if variable == "WANDB_DIR":  # W&B creates a directory of its own in there, too
                values[attribute] = os.path.join(environment[variable], ".stepwell")
    if isinstance(values.get("tags"), str):
        values["tags"] = [tag.strip() for tag in values["tags"].split(",") if tag.strip()]
    values |= {name: value for name, value in arguments.items() if value is not None}
    own_writer = "writer" in values or any(environment.get(name) for name in _RANK_VARIABLES)
    values.setdefault("writer", _first(environment, _RANK_VARIABLES))
    values.setdefault("local_rank", _first(environment, _LOCAL_RANK_VARIABLES))
    values["tags"] = checked_tags(values.get("tags"))
    values["writer"] = str(values["writer"])
    values["dir"] = _absolute(values.get("dir", ".stepwell"))
    resume, resume_from, fork_from = (values.pop(name, None) for name in ("resume", "resume_from", "fork_from"))
    start = values["start"] = parse_start(resume, resume_from, fork_from, values.get("run_id"), values["dir"])
    values["run_id"] = start.run_id or values.get("run_id")
    if values["run_id"] is None and (job := launch_id(environment)) is not None:
        values["run_id"] = nth(job)
    elif values["run_id"] is not None and arguments.get("run_id") is None and not start.needs_answer:
        values["run_id"] = nth(values["run_id"])
    made_up = values["run_id"] is None
    if made_up:
        values["run_id"] = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
        if start == Start(resume="allow"):  # set by Lightning: the id is new, so the server need not be asked
            values["start"] = Start()
    for name, default in (("silent", False), ("metadata", True), ("save_code", False)):
        values[name] = str(values.get(name, default)).lower() in ("1", "true", "yes", "on")
    console = values.get("console", "wrap")
    values["console"] = "wrap" if console in _CONSOLES_OF_WANDB else console
    values["system_metrics_s"] = _seconds("system_metrics_s", values.get("system_metrics_s", 15.0))
    url = str(values.get("url", DEFAULT_URL)).rstrip("/")
    given = authorization(url, values.pop("api_key", None))
    if given is None and values.get("mode") != "disabled" and (stored := stored_key(url, environment)):
        given = authorization(url, stored)
    values["authorization"] = given
    values["url"] = shown(url)
    if values.get("ca_file") is not None:
        values["ca_file"] = Path(values["ca_file"]).expanduser()
    mode = values.get("mode", "online")
    if mode == "run":  # W&B's older names
        mode = values["mode"] = "online"
    if mode == "dryrun":
        mode = values["mode"] = "offline"
    if mode == "shared":  # several processes of one run, which any run may have; each is a writer of its own
        mode = values["mode"] = "online"
        if not own_writer:
            values["writer"] = secrets.token_hex(4)
    if mode not in get_args(Mode):
        raise SettingError(f"mode must be online, offline or disabled, not {mode!r}", hint="mode=… or STEPWELL_MODE")
    if made_up and mode != "disabled":
        values.setdefault("name", words_of(values["run_id"]))
    for name, words in (
        *(("step_back", get_args(StepBack)), ("spool_full", get_args(WhenFull))),
        *(("blobs_full", get_args(BlobsFull)), ("console", get_args(ConsoleCapture))),
    ):
        if values.get(name, words[0]) not in words:
            raise SettingError(
                f"{name} must be one of {', '.join(words)}, not {values[name]!r}",
                hint=f"set it in init() or in STEPWELL_{name.upper()}",
            )
    _check_name("project", values.get("project", "uncategorized"), forbidden="/\\#?%:", longest=128)
    _check_name("entity", values.get("entity", "default"), forbidden="/\\#?%:", longest=128)
    _check_name("run id", values["run_id"], forbidden=":;,#?/'\\", longest=128)
    _check_name("writer", values["writer"], forbidden="/\\", longest=128)
    known = {item.name for item in dataclasses.fields(Settings)}
    if unknown := sorted(set(values) - known):
        raise SettingError(f"unknown setting {unknown[0]!r}", hint=f"the settings are {', '.join(sorted(known))}")
    settings = Settings(**values)
    _ = settings.endpoint  # an invalid URL is refused now, and not by an I/O thread later
    return settings


def _absolute(path: str | os.PathLike[str]) -> Path:
    """`path` with `~` expanded, and independent of later changes of the working directory."""
    expanded = os.path.expanduser(path)
    with contextlib.suppress(FileNotFoundError):  # the working directory itself is gone
        return Path(os.path.abspath(expanded))
    return Path(expanded)


def _check_name(what: str, value: object, *, forbidden: str, longest: int) -> None:
    if (
        not isinstance(value, str)
        or not value
        or value != value.strip()
        or len(value) > longest
        or not value.isprintable()
        or any(char in value for char in forbidden)
    ):
        raise UsageError(
            f"invalid {what} {str(value)[:80]!r}",
            hint=f"1 to {longest} printable characters, no leading or trailing blanks, none of {forbidden}",
        )


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # a TypeError is caught, too
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise SettingError(
            f"{name} must be a number of seconds, 0 or more",
            detail=repr(value)[:80],
            hint=f"set it in init() or in STEPWELL_{name.upper()}",
        )
    return seconds


def _first(environment: Mapping[str, str], variables: Iterable[str]) -> str:
    return next((environment[name] for name in variables if environment.get(name)), "0")


def checked_tags(tags: str | Iterable[str] | None) -> tuple[str, ...]:
    """The distinct tags in `tags`. A single string is one tag.

    Raises:
        SettingError: (a ValueError) a tag is not a string, is empty or longer than 64 characters.
    """
    if tags is None:
        return ()
    out = dict.fromkeys([tags] if isinstance(tags, str) else tags)
    for tag in out:
        if not isinstance(tag, str) or not 0 < len(tag) <= MAX_TAG:
            raise SettingError(f"a tag must have 1 to {MAX_TAG} characters", detail=described(tag))
    return tuple(dict.fromkeys(map(storable, out)))
