"""The part of a run that is what it says of itself to people: names, tags, alerts. `Run` builds on it.

In come attributes that are set and calls of `alert`; out go notes, by `_say`, which the run provides.
"""

from __future__ import annotations

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from stepwell._about import About, AlertLevel, checked_alert


class Described(ABC):
    """A run's names. Setting one after the end of the run raises UsageError."""

    id: str
    _about: About

    @abstractmethod
    def _say(self, kind: str, note: Mapping[str, Any], cannot: str) -> None:
        """Hands a note on, or raises UsageError: the run is finished, so `cannot`."""

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
