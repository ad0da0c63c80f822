"""Where a run starts: at step 0, after its last step, at an earlier step, or as the fork of another run.

Off the data path: the arguments of `init` become a `Start`, which is sent in the attach message; the server decides
(functions/140_attach.sql) and answers with the step to continue from. The terms are those of W&B's client.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stepwell.errors import SettingError

_RESUME = ("allow", "must", "never", "auto")
_AT_STEP = re.compile(r"(?P<run>[^?]+)\?_step=(?P<step>\d{1,18})")
_REMEMBERED = "resume.json"


@dataclass(frozen=True, slots=True)
class Start:
    """How a run starts.

    Attributes:
        resume: "allow", "must", "never" or None (no check: logging a step again supersedes the points stored from that
            step on).
        rewind_to: the last earlier step that stays visible; None: no rewind.
        fork_run, fork_step: the parent, and the last of its steps that the new run shows.
        run_id: the run id that the start implies, if any.
        automatic: whether the id is remembered for the next start in the same directory.
    """

    resume: str | None = None
    rewind_to: int | None = None
    fork_run: str | None = None
    fork_step: int | None = None
    run_id: str | None = None
    automatic: bool = False

    @property
    def needs_answer(self) -> bool:
        """Whether the server determines the first step."""
        return self.resume is not None or self.rewind_to is not None or self.fork_run is not None

    def as_message(self) -> dict[str, Any]:
        """The fields for the attach message."""
        fields = {
            "resume": self.resume,
            "rewind_to": self.rewind_to,
            "fork_run": self.fork_run,
            "fork_step": self.fork_step,
        }
        return {name: value for name, value in fields.items() if value is not None}


def parse_start(
    resume: str | bool | None, resume_from: str | None, fork_from: str | None, run_id: str | None, directory: Path
) -> Start:
    """The start from the arguments of `init`.

    Args:
        resume: None, "allow", "must", "never", "auto"; True means "auto", False means None.
        resume_from: "<run id>?_step=N": rewind that run to step N.
        fork_from: "<run id>?_step=N": start a new run with the points of that run up to step N.
        run_id: the given id, if any.
        directory: the directory in which "auto" remembers the run.

    Raises:
        SettingError: mutually exclusive arguments are given, or one is malformed.
    """
    given = [
        name for name, value in (("resume", resume), ("resume_from", resume_from), ("fork_from", fork_from)) if value
    ]
    if len(given) > 1:
        raise SettingError(f"{' and '.join(given)} are mutually exclusive", hint="give one of them")
    if resume_from:
        run, step = _at_step("resume_from", resume_from)
        if run_id not in (None, run):
            raise SettingError("resume_from and id name different runs", detail=f"{run!r} and {run_id!r}")
        return Start(rewind_to=step, run_id=run)
    if fork_from:
        run, step = _at_step("fork_from", fork_from)
        if run_id == run:
            raise SettingError("a fork needs an id of its own", detail=repr(run_id), hint="use resume_from to rewind")
        return Start(fork_run=run, fork_step=step)
    if not resume:
        return Start()
    word = "auto" if resume is True else str(resume).lower()
    if word not in _RESUME:
        raise SettingError(f"resume must be one of {', '.join(_RESUME)}", detail=repr(resume))
    if word == "auto":
        return Start(resume="allow", run_id=run_id or _remembered(directory), automatic=True)
    return Start(resume=word)


def remember(directory: Path, run_id: str) -> None:
    """Remembers the run for the next start with resume="auto" in this directory."""
    directory.mkdir(0o700, parents=True, exist_ok=True)
    temporary = directory / f"{_REMEMBERED}.{os.getpid()}"
    temporary.write_bytes(orjson.dumps({"run_id": run_id}))
    os.replace(temporary, directory / _REMEMBERED)


def forget(directory: Path, run_id: str) -> None:
    """Forgets a run that has ended cleanly, so that the next start with resume="auto" begins a new run."""
    if _remembered(directory) == run_id:
        with contextlib.suppress(OSError):
            (directory / _REMEMBERED).unlink()


def _remembered(directory: Path) -> str | None:
    try:
        run_id = orjson.loads((directory / _REMEMBERED).read_bytes())["run_id"]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return run_id if isinstance(run_id, str) else None


def _at_step(name: str, text: str) -> tuple[str, int]:
    match = _AT_STEP.fullmatch(text)
    if match is None:
        raise SettingError(f"{name} must look like '<run id>?_step=<number>'", detail=repr(text)[:120])
    return match["run"], int(match["step"])
