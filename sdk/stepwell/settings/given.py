"""`stepwell.Settings`: settings for `init` in one object, with Stepwell's names or those of W&B's client.

Receives the value of `init(settings=…)`; returns arguments of `init`. Settings without a meaning in Stepwell cause a
warning and are ignored: scripts that were written for W&B set options of its internals.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from stepwell.errors import SettingError
from stepwell.values.convert import described

log = logging.getLogger("stepwell")

#: W&B's names of arguments that `init` names differently.
_RENAMED = {
    "run_id": "id",
    "run_name": "name",
    "run_notes": "notes",
    "run_tags": "tags",
    "run_group": "group",
    "run_job_type": "job_type",
    "root_dir": "dir",
    "x_label": "writer",
    "x_stats_sampling_interval": "system_metrics_s",
}
#: The arguments of `init` that Settings may hold.
KNOWN = frozenset(
    {
        *("project", "entity", "id", "name", "notes", "tags", "group", "job_type", "mode", "dir", "url", "writer"),
        *("resume", "resume_from", "fork_from", "step_back", "spool_full", "silent", "allow_val_change", "reinit"),
        *("blobs_full", "console", "system_metrics_s", "metadata", "save_code"),
    }
)


class GivenSettings:
    """Some settings by name: `Settings(mode="offline", silent=True)`. Only the given ones are attributes."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.__dict__.items())

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self)})"


def as_arguments(settings: GivenSettings | Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments of `init`; None means not given.

    Raises:
        SettingError: `settings` is neither Settings nor a dict.
    """
    if settings is None:
        return {}
    if not isinstance(settings, GivenSettings | Mapping):
        raise SettingError("settings must be stepwell.Settings or a dict", detail=described(settings))
    given = {
        _RENAMED.get(name, name): value
        for name, value in (settings.items() if isinstance(settings, Mapping) else settings)
        if value is not None
    }
    if given.pop("x_disable_stats", False):
        given["system_metrics_s"] = 0
    if given.pop("x_disable_meta", False):
        given["metadata"] = False
    if unknown := sorted(given.keys() - KNOWN):
        log.warning("settings without a meaning in Stepwell are ignored: %s", ", ".join(unknown))
    return {name: value for name, value in given.items() if name in KNOWN}
