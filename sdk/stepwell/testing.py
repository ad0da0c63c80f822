"""Support for tests of programs that log: captures what they log, without a server, a network or files.

    def test_training_logs_a_loss_that_falls():
        with stepwell.testing.capture() as logged:
            train(epochs=3)                      # calls stepwell.init, log, finish
        assert [row["loss"] for row in logged.history] == sorted(…, reverse=True)

Values, keys, steps and media go through the same code as in production, so invalid ones fail here, too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepwell.errors import UsageError
from stepwell.runs.captured import CapturedSession
from stepwell.runs.process import PROCESS
from stepwell.runs.run import Run

__all__ = ["Capture", "CapturedMedia", "CapturedRun", "capture"]


@dataclass(frozen=True, slots=True)
class CapturedMedia:
    """A media object as it was logged.

    Attributes:
        key: the key under which it was logged.
        step: its step.
        value: the JSON that SQL shows for it, decoded.
        files: the contents of its files, by their path in the run.
    """

    key: str
    step: int
    value: Any
    files: dict[str, bytes]


class CapturedRun:
    """The data that one run has logged so far, without the open step."""

    def __init__(self, run: Run, session: CapturedSession) -> None:
        self.run = run
        self._session = session

    @property
    def history(self) -> list[dict[str, Any]]:
        """A dict for each closed step, in order: `_step` and the logged values by key. Keys of nested dicts are dot
        paths; numbers are floats; objects and media are their decoded JSON."""
        self._session.collect()
        rows = {step: dict(row) for step, row in self._session.rows.items()}
        for kind, _, value in self._session.notes:
            if kind == "object":
                step = value["step"]
                rows.setdefault(step, {"_step": step})[value["key"]] = value["value"]
        return [rows[step] for step in sorted(rows)]

    @property
    def summary(self) -> dict[str, Any]:
        """`run.summary`: one value for each key, as `define_metric` asks, and values that were set."""
        self._session.collect()
        return self.run.summary.as_dict()

    @property
    def config(self) -> dict[str, Any]:
        """`run.config`."""
        return self.run.config.as_dict()

    @property
    def media(self) -> list[CapturedMedia]:
        """Media objects, in the order in which they were logged."""
        return [
            CapturedMedia(value["key"], value["step"], value["value"], dict(self._files_of(value["value"])))
            for value in self._said("object")
        ]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """Each alert as a dict: title, text, level and wait_duration_s."""
        return self._said("alert")

    @property
    def files(self) -> dict[str, bytes]:
        """The files of `run.save`: the last content of each file, by name."""
        return {value["name"]: self._session.contents[value["sha256"]] for value in self._said("file")}

    def _said(self, kind: str) -> list[dict[str, Any]]:
        self._session.collect()
        return [value for known, _, value in self._session.notes if known == kind]

    def _files_of(self, value: Any) -> Iterator[tuple[str, bytes]]:
        if isinstance(value, dict):
            if value.get("sha256") in self._session.contents and isinstance(value.get("path"), str):
                yield value["path"], self._session.contents[value["sha256"]]
            value = list(value.values())
        if isinstance(value, list):
            for item in value:
                yield from self._files_of(item)


class Capture:
    """The result of `capture`. `history`, `summary`, `config`, `media`, `alerts` and `files` are those of the newest
    run.

    Attributes:
        runs: all runs that were started inside, in order.
    """

    def __init__(self) -> None:
        self.runs: list[CapturedRun] = []
        self.directory = Path(".stepwell")
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._outside: Run | None = None

    def __enter__(self) -> Self:
        if PROCESS.recorder is not None:
            raise UsageError("capture() is active already", hint="use the object that the outer capture() returned")
        self._temporary = tempfile.TemporaryDirectory(prefix="stepwell-")
        self.directory = Path(self._temporary.name)
        self._outside = PROCESS.swap_current(None)
        PROCESS.recorder = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        PROCESS.recorder = None
        for captured in self.runs:
            captured.run.finish(0 if error is None else 1)
        PROCESS.swap_current(self._outside)
        if self._temporary is not None:
            self._temporary.cleanup()

    #: The session of captured runs, in place of one with a spool and a server.
    open_session = CapturedSession

    def started(self, run: Run) -> None:
        """Called by `init`. A disabled run logs nothing here, either."""
        if isinstance(run._session, CapturedSession):
            self.runs.append(CapturedRun(run, run._session))

    @property
    def history(self) -> list[dict[str, Any]]:
        return self._newest.history

    @property
    def summary(self) -> dict[str, Any]:
        return self._newest.summary

    @property
    def config(self) -> dict[str, Any]:
        return self._newest.config

    @property
    def media(self) -> list[CapturedMedia]:
        return self._newest.media

    @property
    def alerts(self) -> list[dict[str, Any]]:
        return self._newest.alerts

    @property
    def files(self) -> dict[str, bytes]:
        return self._newest.files

    @property
    def _newest(self) -> CapturedRun:
        if not self.runs:
            raise UsageError("no run was started inside capture(), so there is nothing to read")
        return self.runs[-1]


def capture() -> Capture:
    """Until the `with` block ends, runs that `stepwell.init` starts are kept in memory.

    STEPWELL_MODE and WANDB_MODE are ignored inside the block; `init(mode="disabled")` is not. Runs that are left open
    are finished at the end of the block, and a run that was current before it becomes current again. Captures do not
    nest, and there is one for the process, as there is one current run. A forked child captures for itself.

    Returns:
        The logged data, readable inside the block and after it.

    Raises:
        UsageError: (when it is entered) another capture is active.
    """
    return Capture()
