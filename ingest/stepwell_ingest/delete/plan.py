"""Plans a deletion: which runs it removes, how much data, and which months drop whole. Only reads.

Runs before `remover`. Receives the names or the age that a user gave; returns a `Deletion` to show and to carry out.
Promises that a plan never takes points from a remaining fork, and that an ambiguous name is an error, not a guess.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from stepwell.errors import SettingError, UsageError
from stepwell_ingest.read.near import near
from stepwell_schema import queries

_AGE = re.compile(r"(\d+)([dw])")


@dataclass(frozen=True, slots=True)
class Target:
    """A run to delete.

    Attributes:
        run_id, path: its number, and entity/project/id.
        state, created_at, points, objects: as in the view `runs`.
        size_bytes: its estimated size on disk (see `run_sizes_v1`).
    """

    run_id: int
    path: str
    state: str
    created_at: datetime.datetime
    points: int
    objects: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """The plan of a deletion.

    Attributes:
        targets: the runs to delete, oldest first.
        months: the months that drop whole, as YYYY-MM.
        kept_running: the number of runs that are old enough but are kept, because they are running.
        kept_for_forks: the number of runs that are old enough but are kept, because remaining forks show their points.
        files, file_bytes: number and size of files that only these runs name. They are removed later
            (`stepwell_ingest.blobs.collector`).
    """

    targets: Sequence[Target]
    months: Sequence[str]
    kept_running: int = 0
    kept_for_forks: int = 0
    files: int = 0
    file_bytes: int = 0


def parse_age(text: str) -> datetime.timedelta:
    """Parses an age in days or weeks, such as 90d or 12w.

    Raises:
        SettingError: anything else.
    """
    match = _AGE.fullmatch(text.strip())
    days = int(match[1]) * (7 if match[2] == "w" else 1) if match else 0
    if not 0 < days <= 36_500:
        raise SettingError(f"{text!r} is not an age", hint="use days or weeks, as in 90d or 12w")
    return datetime.timedelta(days=days)


async def plan_runs(connection: asyncpg.Connection, names: Sequence[str]) -> Deletion:
    """Plans the deletion of these runs, whatever their state.

    Args:
        names: each is id, project/id or entity/project/id; a display name may replace the id, if no run has that id.

    Raises:
        UsageError: a name matches no run, or several; or a fork that is not to be deleted shows points of one of these
            runs.
    """
    sql = queries("delete")
    targets: dict[int, Target] = {}
    for name in names:
        rows = await connection.fetch(sql["run_by_path"], name)
        rows = rows or await connection.fetch(sql["run_by_display_name"], name)
        if not rows:
            alike = near(name, [row["name"] for row in await connection.fetch(sql["names_of_runs"])])
            raise UsageError(
                f"there is no run {name}",
                detail=f"similar names: {', '.join(alike)}" if alike else None,
                hint="`stepwell sql 'SELECT entity, project, run, display_name FROM runs'` lists all runs",
            )
        if len(rows) > 1:
            raise UsageError(
                f"{name} matches {len(rows)} runs",
                detail="\n".join(row["path"] for row in rows[:20]),
                hint="name it as entity/project/run",
            )
        targets[rows[0]["run_id"]] = _target(rows[0])
    await check_forks(connection, {run_id: target.path for run_id, target in targets.items()})
    return await _planned(connection, list(targets.values()))


async def check_forks(connection: asyncpg.Connection, paths: Mapping[int, str]) -> None:
    """Checks that no remaining fork shows points of these runs.

    Args:
        paths: the paths of the runs by run_id, for the message.

    Raises:
        UsageError: forks that are not among these runs show points of them.
    """
    forks = await connection.fetch(queries("delete")["forks_that_stay"], list(paths))
    if forks:
        shown = "\n".join(f"{row['fork']} is a fork of {paths[row['run_id']]}" for row in forks[:20])
        raise UsageError(
            "these runs cannot be deleted, because forks show their points",
            detail=shown + ("\n…" if len(forks) > 20 else ""),
            hint="delete the forks, too, by naming them all",
        )


async def plan_project(connection: asyncpg.Connection, project: str) -> Deletion:
    """Plans the deletion of all runs of a project, whatever their state.

    Args:
        project: entity/project, or only the project's name if a single entity has a project of that name.

    Raises:
        UsageError: there is no such project, or several entities have a project of that name.
    """
    targets = await _runs_of(connection, project, None)
    return await _planned(connection, targets)


async def plan_older(connection: asyncpg.Connection, age: datetime.timedelta, project: str | None) -> Deletion:
    """Plans the deletion of runs, of one project or all, that are older than `age` and not running.

    A run whose points a younger fork shows is kept.

    Raises:
        UsageError: as `plan_project`.
    """
    before = datetime.datetime.now(datetime.UTC) - age
    old = await _runs_of(connection, project, before)
    ended = [target for target in old if target.state != "running"]
    ids = [target.run_id for target in ended]
    shown = {row["run_id"] for row in await connection.fetch(queries("delete")["forks_that_stay"], ids)}
    targets = [target for target in ended if target.run_id not in shown]
    return await _planned(connection, targets, len(old) - len(ended), len(ended) - len(targets))


async def _runs_of(
    connection: asyncpg.Connection, project: str | None, before: datetime.datetime | None
) -> list[Target]:
    rows = await connection.fetch(queries("delete")["runs_of"], project, before)
    if project is not None:
        found = {row["path"].removesuffix(f"/{row['run']}") for row in rows}
        if not rows and before is None:
            raise UsageError(f"there is no project {project}", hint="name it as entity/project")
        if len(found) > 1:
            raise UsageError(
                f"{project} matches {len(found)} projects",
                detail="\n".join(sorted(found)[:20]),
                hint="name it as entity/project",
            )
    return [_target(row) for row in rows]


async def _planned(
    connection: asyncpg.Connection, targets: list[Target], kept_running: int = 0, kept_for_forks: int = 0
) -> Deletion:
    targets.sort(key=lambda target: target.run_id)
    ids = [target.run_id for target in targets]
    rows = await connection.fetch(queries("delete")["months_to_drop"], ids)
    files = await connection.fetchrow(queries("delete")["files_of_them"], ids)
    return Deletion(targets, [row["month"] for row in rows], kept_running, kept_for_forks, *files)


def _target(row: asyncpg.Record) -> Target:
    return Target(
        *(row["run_id"], row["path"], row["state"], row["created_at"], row["points"], row["objects"], row["bytes"])
    )
