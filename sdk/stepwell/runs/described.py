"""The part of a run that is what it says of itself to people: names, tags, alerts. `Run` builds on it.

In come attributes that are set and calls of `alert`; out go notes, by `_say`, which the run provides.
"""

from __future__ import annotations

import datetime
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from stepwell.errors import UsageError
from stepwell.notes.about import About, AlertLevel, checked_alert
from stepwell.settings import Settings


class Described(ABC):
    """A run's names. Setting one after the end of the run raises UsageError."""

    id: str
    entity: str
    project: str
    settings: Settings
    writer: str
    resumed: bool
    start_time: float
    _about: About

    def __setattr__(self, name: str, value: Any) -> None:
        """Only what a run has can be set, so that a slip of the pen (`run.note = …`) is not lost.

        Raises:
            AttributeError: it can only be read.
            UsageError: a run has no such thing.
        """
        if not name.startswith("_") and not hasattr(type(self), name):  # properties refuse by themselves
            if name in ("id", "entity", "project", "settings", "start_time", "config") and name in self.__dict__:
                raise AttributeError(f"{name!r} of a run can only be read")
            if name not in ("writer", "resumed", "config") and name not in Described.__annotations__:
                raise UsageError(f"a run has no {name!r} to set", hint="run.summary and run.config keep values")
        super().__setattr__(name, value)

    @abstractmethod
    def _say(self, kind: str, note: Mapping[str, Any], cannot: str) -> None:
        """Hands a note on, or raises UsageError: the run is finished, so `cannot`."""

    @property
    def path(self) -> str:
        """entity/project/id."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def url(self) -> str | None:
        """The page of the run; None when it is not online."""
        return f"{self.settings.url.rstrip('/')}/{self.entity}/{self.project}/runs/{self.id}" if self._online else None

    @property
    def project_url(self) -> str | None:
        """The page of its project; None when the run is not online."""
        return f"{self.settings.url.rstrip('/')}/{self.entity}/{self.project}" if self._online else None

    @property
    def dir(self) -> str:
        """A directory for files of the run, made when it is asked for."""
        directory = self.settings.dir.absolute() / "files" / self.id
        directory.mkdir(0o700, parents=True, exist_ok=True)
        return str(directory)

    @property
    def offline(self) -> bool:
        return self.settings.mode == "offline"

    @property
    def disabled(self) -> bool:
        return self.settings.mode == "disabled"

    def get_url(self) -> str | None:
        """The same as `url`."""
        return self.url

    def project_name(self) -> str:
        """The same as `project`."""
        return self.project

    def mark_preempting(self) -> None:
        """Says that this process is about to be taken off its machine.

        Raises:
            UsageError: the run is finished.
        """
        self._say("system", {"preempting": True}, "mark_preempting() cannot be called on it")

    @property
    def _online(self) -> bool:
        return self.settings.mode == "online"

    @property
    def name(self) -> str:
        """What pages show; the run's id when it has no name."""
        return self._about.name or self.id

    @name.setter
    def name(self, name: str | None) -> None:
        self._about.set_name(name)

    @property
    def notes(self) -> str | None:
        """A longer text about the run."""
        return self._about.notes

    @notes.setter
    def notes(self, notes: str | None) -> None:
        self._about.set_notes(notes)

    @property
    def tags(self) -> tuple[str, ...]:
        """1 to 64 characters each: `run.tags += ("baseline",)`."""
        return self._about.tags

    @tags.setter
    def tags(self, tags: str | Iterable[str] | None) -> None:
        self._about.set_tags(tags)

    @property
    def group(self) -> str:
        return self._about.group

    @property
    def job_type(self) -> str:
        return self._about.job_type

    def alert(
        self,
        title: str,
        text: str = "",
        level: AlertLevel | str | None = None,
        wait_duration: float | datetime.timedelta | None = None,
    ) -> None:
        """Says that something happened that people should hear of.

        Args:
            level: "INFO" (default), "WARN" or "ERROR".
            wait_duration: seconds within which the same title is not told twice; default 60.

        Raises:
            DataError: an unknown level, or a duration that is none.
            UsageError: the run is finished.
        """
        self._say("alert", checked_alert(title, text, level, wait_duration), "alert() cannot be called on it")

    def say(self, text: str) -> None:
        """One message to the person at the terminal."""
        if not self.settings.silent:
            sys.stderr.write(f"stepwell: {text}\n")
            sys.stderr.flush()

    def __repr__(self) -> str:
        return f"<stepwell.Run {self.path} writer {self.writer}>"
