"""Reads the projects of the server, the runs of a project by id, and the metrics of some runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stepwell_ingest.access.rights import SERVER, Scope
from stepwell_ingest.read.database import Database

_MAX_PROJECTS = 10_000


async def list_projects(database: Database, scope: Scope = SERVER) -> dict[str, Any]:
    """Returns {"projects": [{"entity", "project", "runs", "running", "newest_run_at"}, …]} of a scope, the newest run's
    project first."""
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["projects"], _MAX_PROJECTS, scope.entity, scope.project)
    return {"projects": [{key: _plain(value) for key, value in row.items()} for row in rows]}


async def run_ids(database: Database, entity: str, project: str, names: Sequence[str]) -> dict[str, int]:
    """The `run_id` of the runs with these ids (`names`), in their order; an id that no run has is left out."""
    async with database.snapshot() as connection:
        rows = await connection.fetch(database.sql["named_runs"], entity, project, list(names))
    found = {row["name"]: row["run_id"] for row in rows}
    return {name: found[name] for name in names if name in found}


async def metrics_of_runs(
    database: Database, entity: str, project: str, names: Sequence[str], newest: int
) -> dict[str, Any]:
    """Returns {"runs": ids, "metrics": [{"name", "runs": [indexes of "runs"], "hidden", "x"}, …]}.

    "hidden" and "x", the metric of the x-axis, are present only if `define_metric` has set them.

    Args:
        names: ids of runs; empty: the newest runs.
        newest: the number of newest runs.
    """
    async with database.snapshot() as connection:
        if names:
            rows = await connection.fetch(database.sql["named_runs"], entity, project, list(names))
        else:
            rows = await connection.fetch(database.sql["newest_runs"], entity, project, newest)
        ids = [row["run_id"] for row in rows]
        found = await connection.fetch(database.sql["metrics_of_runs"], ids)
        definitions = await connection.fetch(database.sql["definitions_of_runs"], ids)
    index = {run_id: number for number, run_id in enumerate(ids)}
    axes = _Axes([(row["name"], row["is_glob"], row["step_metric"]) for row in definitions if row["step_metric"]])
    hidden = _Names([(row["name"], row["is_glob"]) for row in definitions if row["hidden"]])
    metrics = [
        {
            "name": row["name"],
            "runs": sorted(index[run_id] for run_id in row["run_ids"]),
            **({"hidden": True} if row["name"] in hidden else {}),
            **({"x": x} if (x := axes.of(row["name"])) else {}),
        }
        for row in found
    ]
    return {"runs": [row["name"] for row in rows], "metrics": metrics}


class _Names:
    """Splits definitions into names and globs, which end in a star."""

    def __init__(self, given: Sequence[tuple[str, bool]]) -> None:
        self._names = {name for name, is_glob in given if not is_glob}
        self._starts = tuple(name.removesuffix("*") for name, is_glob in given if is_glob)

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.startswith(self._starts)


class _Axes:
    """The x-axes that definitions set. A name takes precedence over globs, and a longer glob over a shorter one."""

    def __init__(self, given: Sequence[tuple[str, bool, str]]) -> None:
        self._names = {name: x for name, is_glob, x in given if not is_glob}
        globs = {name.removesuffix("*"): x for name, is_glob, x in given if is_glob}
        self._globs = sorted(globs.items(), key=lambda item: -len(item[0]))

    def of(self, name: str) -> str | None:
        """The x-axis of a metric; None: its steps."""
        x = self._names.get(name) or next((x for start, x in self._globs if name.startswith(start)), None)
        return None if x == name else x


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
