"""The names and labels of a run: name, notes, tags, group, job type; and its alerts.

Off the data path: initial values are sent in the attach message, later changes as notes (in the sense of
docs/glossary.md; the `notes` of a run are a text).
"""

from __future__ import annotations

import datetime
import enum
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stepwell.errors import DataError, SettingError
from stepwell.settings.resolve import checked_tags
from stepwell.values.convert import described
from stepwell.values.text import storable

log = logging.getLogger("stepwell")

_ALERT_WAIT_S = 60.0


class AlertLevel(enum.Enum):
    """The level of an alert."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class About:
    """The names of one run, as this process knows them.

    Args:
        name, notes, tags, group, job_type: the values given to `init`.
        say: sends a change as a note; raises an error if the run is finished.
    """

    def __init__(
        self,
        name: str | None,
        notes: str | None,
        tags: tuple[str, ...],
        group: str | None,
        job_type: str | None,
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        self._say = say
        self.name = _stored(name)
        self.notes = _stored(notes)
        self.tags = tags
        self.group = _stored(group) or ""
        self.job_type = _stored(job_type) or ""

    def as_info(self) -> dict[str, Any]:
        """The current names for an attach message, without missing ones."""
        now = {"display_name": self.name, "notes": self.notes, "tags": list(self.tags)}
        now |= {"group": self.group, "job_type": self.job_type}
        return {name: value for name, value in now.items() if value}

    def set_name(self, name: str | None) -> None:
        """Sets the display name; None removes it."""
        name = _text("name", name)
        self._say({"name": name})
        self.name = name

    def set_notes(self, notes: str | None) -> None:
        notes = _text("notes", notes)
        self._say({"notes": notes})
        self.notes = notes

    def set_tags(self, tags: str | Iterable[str] | None) -> None:
        """Sets the tags; invalid tags cause a warning and change nothing."""
        try:
            new = checked_tags(tags)
        except SettingError as error:
            log.warning("the tags were not changed: %s", error)
            return
        self._say({"tags": list(new)})
        self.tags = new

    def restore(self, known: Mapping[str, Any]) -> None:
        """Adopts the server's values of a resumed run, for names and labels that were not given."""
        self.name = self.name or known.get("name")
        self.notes = self.notes if self.notes is not None else known.get("notes")
        self.tags = self.tags or tuple(known.get("tags") or ())
        self.group = self.group or known.get("group") or ""
        self.job_type = self.job_type or known.get("job_type") or ""


def checked_alert(
    title: Any, text: Any, level: AlertLevel | str | None, wait_duration: float | datetime.timedelta | None
) -> dict[str, Any]:
    """The note of an alert.

    Raises:
        DataError: (a TypeError and a ValueError) an unknown level, or an invalid duration.
    """
    word = level.value if isinstance(level, AlertLevel) else level or AlertLevel.INFO.value
    if word not in [known.value for known in AlertLevel]:
        raise DataError("the level of an alert must be INFO, WARN or ERROR", detail=described(level))
    if wait_duration is None:
        wait_duration = _ALERT_WAIT_S
    if isinstance(wait_duration, datetime.timedelta):
        wait_duration = wait_duration.total_seconds()
    if isinstance(wait_duration, bool) or not isinstance(wait_duration, int | float) or not 0 <= wait_duration < 2**63:
        raise DataError(
            "wait_duration must be a timedelta or a number of seconds, 0 or more", detail=described(wait_duration)
        )
    return {"title": str(title), "text": str(text), "level": word, "wait_duration_s": float(wait_duration)}


def _text(what: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise DataError(f"the {what} of a run must be a string, not {type(value).__name__}", detail=described(value))
    return _stored(value)


def _stored(text: str | None) -> str | None:
    """The text in the form that the server stores, so that both sides show the same."""
    return storable(text) if isinstance(text, str) else text
