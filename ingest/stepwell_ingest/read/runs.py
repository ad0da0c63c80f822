"""Reads runs: one by its names, or a list of those that match a filter, in order, page by page.

Receives names, a filter that `filters` has compiled and a cursor; returns rows as dicts that are ready for JSON. A
cursor is a position (the last row's sort value and id), so a page neither repeats nor skips a run that existed
throughout.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from stepwell.errors import NotFoundError, UsageError
from stepwell_ingest.access.rights import SERVER, Scope
from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.cursor import encode_cursor
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.fields import unknown_fields
from stepwell_ingest.read.filters import Condition, Order
from stepwell_ingest.read.near import near
from stepwell_ingest.read.shown import shown, shown_bytes
from stepwell_ingest.read.standing import Standing

#: Columns of the query `runs` that answers include unchanged.
_SHOWN = (
    *("state", "created_at", "finished_at", "heartbeat_at", "exit_code", "last_step", "points", "objects", "rejected"),
    *("writers", "parent", "fork_step", "duration_s", "slot", "started_at", "archived_at"),
)
_SMALL = ("entity", "project", "run", "run_id", *_SHOWN, "has_objects")
#: Config, metadata and these texts may be large, so they are one bounded value: three lines, each with one JSON object,
#: which contains no line breaks.
_TEXTS = {"display_name": "display_name", "notes": "notes", "group": "run_group", "job_type": "job_type"} | {
    name: name for name in ("tags", "host", "username")
}
_VALUE = (
    # A run without a writer has neither config nor metadata, and `concat_ws` leaves NULLs out.
    "concat_ws(E'\\n', coalesce(r.config::text, '{}'), coalesce(r.metadata::text, '{}'), jsonb_build_object("
    + ", ".join(f"'{name}', r.{column}" for name, column in _TEXTS.items())
    + ")::text) AS value"
)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run, as stored in Postgres.

    Attributes:
        run_id: its number in SQL.
        end_step: the step below which all its steps lie.
        points: an upper bound of the number of points in its history: superseded points and all points of its ancestors
            are included.
        may_have_objects: False: it certainly has no objects.
        shown: the fields that answers show, ready for JSON, without config, metadata and the names in `_TEXTS`.
    """

    run_id: int
    end_step: int
    points: int
    may_have_objects: bool
    shown: dict[str, Any]


async def find_run(database: Database, entity: str, project: str, run: str, scope: Scope = SERVER) -> RunRow:
    """Finds a run by its names.

    Args:
        run: the run's id, or its display name if no run has that id and exactly one run has that name.
        scope: where the reader may read; the hint lists nothing else.

    Raises:
        NotFoundError: there is no such run; the hint lists what exists.
    """
    async with database.snapshot() as connection:
        sql = f"SELECT {', '.join(_SMALL)} FROM ({_base(database)}) r WHERE run = $3"
        row = await connection.fetchrow(sql, entity, project, run)
        if row is None:
            named = [found["run"] for found in await connection.fetch(database.sql["run_named"], entity, project, run)]
            if len(named) > 1:
                raise NotFoundError(
                    f"several runs of {entity}/{project} have the name {run!r}", hint=f"use an id, as in {named[0]!r}"
                )
            row = await connection.fetchrow(sql, entity, project, named[0]) if named else None
        if row is not None:
            found = _run_row(row)
            if row["parent"] is None:
                return found
            return replace(found, points=await connection.fetchval(database.sql["points"], found.run_id))
        nearby = await connection.fetch(database.sql["nearby"], entity, project, run, scope.entity, scope.project)
    raise NotFoundError(f"there is no run {run!r} in {entity}/{project}", hint=_instead(nearby, entity, project, scope))


async def describe_run(database: Database, run: RunRow) -> dict[str, Any]:
    """All that answers show of a run, ready for JSON.

    Raises:
        NotFoundError: the run was deleted meanwhile.
    """
    sql = f"SELECT {', '.join(_SMALL)}, {_VALUE} FROM ({_base(database)}) r WHERE r.run_id = $3"
    names = (run.shown["entity"], run.shown["project"], run.run_id)
    async with database.snapshot() as connection:
        found = await fetch_bounded(connection, sql, _SMALL, *names, room=database.limits.answer_bytes)
    if not found.rows:
        raise NotFoundError("the run has been deleted")
    row, value = found.rows[0]
    return {**_run_row(row).shown, **_described(row["run"], value)}


async def list_runs(
    database: Database,
    entity: str,
    project: str,
    where: Condition,
    order: Order,
    limit: int,
    cursor: str | None,
    summary_keys: Sequence[str] = (),
    scope: Scope = SERVER,
) -> dict[str, Any]:
    """Returns a page of runs: {"runs": […], "next": cursor or None, "total": the number of runs that match the filter}.

    If no run matches the filter, or none has a value to order by, "unknown" names the config and summary fields that no
    run of the project has, each with similar ones.

    Args:
        where, order: the compiled filter and order.
        limit: the most runs.
        cursor: "next" of the previous page; None: the first page.
        summary_keys: the keys whose values "summary" of each run includes, if the run has them.
        scope: where the reader may read; the hint of an error lists nothing else.

    Raises:
        NotFoundError: there is no such project.
        UsageError: the cursor is invalid, or belongs to another order.
    """
    arguments = [entity, project, *where.arguments]
    key = order.sql.replace("$$", f"${len(arguments) + 1}")
    arguments += order.arguments
    # The page is chosen before the other columns are read, so config and tags are computed only for its runs. For each
    # run, the filter and the sort key are evaluated once, for both the page and the total.
    fits = f"SELECT r.run_id, ({key})::{order.type} AS sort_key FROM ({_base(database)}) r WHERE {where.sql_from(3)}"
    fitting = len(arguments)
    behind = _behind(cursor, order, arguments)
    direction = "DESC" if order.descending else "ASC"
    in_order = f"ORDER BY sort_key {direction} NULLS LAST, run_id {direction}"
    page = f"SELECT f.run_id AS on_page, f.sort_key FROM fits f {behind} {in_order} LIMIT {limit + 1}"
    sql = (
        f"WITH fits AS MATERIALIZED ({fits}) "
        f"SELECT {', '.join(f'r.{name}' for name in _SMALL)}, r.sort_key, r.total, {_VALUE} FROM ("
        f"SELECT r.*, p.sort_key, (SELECT count(*) FROM fits) AS total "
        f"FROM ({page}) p JOIN ({_base(database)}) r ON r.run_id = p.on_page {in_order} OFFSET 0) r"
    )
    room = database.limits.answer_bytes
    async with database.costly_snapshot() if where.costly else database.snapshot() as connection:
        found = await fetch_bounded(connection, sql, (*_SMALL, "sort_key", "total"), *arguments, room=room)
        if found.rows:
            total = found.rows[0].columns["total"]
        else:  # no run matches, or the cursor lies after the last one
            total = await connection.fetchval(f"SELECT count(*) FROM ({fits}) f", *arguments[:fitting])
        if not total and not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM stepwell.run r WHERE r.entity = $1 AND r.project = $2)", entity, project
        ):
            nearby = await connection.fetch(database.sql["nearby"], entity, project, "", scope.entity, scope.project)
            raise NotFoundError(
                f"there is no project {project!r} of {entity!r}", hint=_instead(nearby, entity, project, scope)
            )
        on_page = found.rows[:limit]
        values: dict[int, dict[str, Any]] = {row["run_id"]: {} for row, _ in on_page}
        if summary_keys:
            query, arguments = database.sql["summaries"], [list(values), list(summary_keys)]
            summaries = await fetch_bounded(connection, query, ("run_id", "key"), *arguments, room=room)
            for row, value in summaries.rows:
                values[row["run_id"]][row["key"]] = shown(value or "null")
            if summaries.more:  # the last runs of the page may lack some
                on_page = on_page[: max(1, [row["run_id"] for row, _ in on_page].index(row["run_id"]))]
        suspects = [] if total else list(where.fields)
        if cursor is None and found.rows and found.rows[0].columns["sort_key"] is None:  # NULLS LAST: no run has it
            suspects.append(order.name.lstrip("+-"))
        unknown = await unknown_fields(connection, database, entity, project, suspects)
    left_out = found.more or len(found.rows) > len(on_page)
    more = _cursor(on_page[-1].columns, order) if left_out else None
    runs = [
        {**_run_row(row).shown, **_described(row["run"], value)}
        | ({"summary": values[row["run_id"]]} if summary_keys else {})
        for row, value in on_page
    ]
    return {"runs": runs, "next": more, "total": total} | ({"unknown": unknown} if unknown else {})


async def metric_names(standing: Standing) -> dict[str, Any]:
    """Returns {"metrics": sorted names, "sections": the first segment of a/b/c → the number of its metrics, "objects":
    keys}."""
    async with standing.snapshot() as connection:
        names = [row["name"] for row in await connection.fetch(standing.sql["metrics"], standing.run_id)]
    sections: dict[str, int] = {}
    for name in names:
        section = name.partition("/")[0] if "/" in name else ""
        sections[section] = sections.get(section, 0) + 1
    return {"metrics": names, "sections": sections}


async def unknown_keys(standing: Standing, keys: Iterable[str]) -> dict[str, list[str]]:
    """The keys among `keys` that the run has never logged, each with similar names."""
    async with standing.snapshot() as connection:
        metrics = [row["name"] for row in await connection.fetch(standing.sql["metrics"], standing.run_id)]
        objects = [row["key"] for row in await connection.fetch(standing.sql["object_keys"], standing.run_id)]
    known = {*metrics, *objects}
    return {key: near(key, known) for key in keys if key not in known}


async def summary(standing: Standing, room: int, after: str | None = None) -> tuple[list[bytes], str | None]:
    """The last value of each key as members of a JSON object; numbers that JSON does not have are strings ("NaN").

    Args:
        room: the bytes of values that may be held.
        after: the key after which to begin; None: begin with the first.

    Returns:
        The members, and the key after which to continue; None: these are the last.
    """
    async with standing.snapshot() as connection:
        if after is None:
            found = await fetch_bounded(connection, standing.sql["summary"], ("key",), standing.run_id, room=room)
        else:  # a condition on the key, so that values of earlier pages are not made again
            query, arguments = standing.sql["summary_after"], (standing.run_id, after)
            found = await fetch_bounded(connection, query, ("key",), *arguments, room=room)
    # Values are JSON already, and may have integers that Python's floats would round: they are joined, not parsed.
    members = [orjson.dumps(row["key"]) + b":" + shown_bytes(value or "null") for row, value in found.rows]
    return members, found.rows[-1].columns["key"] if found.more else None


def _base(database: Database) -> str:
    return database.sql["runs"].removesuffix(";")


def _run_row(row: Mapping[str, Any]) -> RunRow:
    attributes = {
        "entity": row["entity"],
        "project": row["project"],
        "id": row["run"],
        **{name: _plain(row[name]) for name in _SHOWN},
    }
    may = bool(row["has_objects"]) or row["parent"] is not None
    return RunRow(
        row["run_id"], (-1 if row["last_step"] is None else row["last_step"]) + 1, row["points"] or 0, may, attributes
    )


def _described(run: str, value: str | None) -> dict[str, Any]:
    """The config, metadata and names of a run, from the column that `_VALUE` makes."""
    lines = (value or "").split("\n")
    if len(lines) != 3:  # the value was too large, and a text that says so replaces it
        nothing = {name: None for name in _TEXTS} | {"display_name": run, "tags": []}
        return {**nothing, "config": {"_not_shown": shown(value or "null")}, "metadata": {}}
    config, metadata, texts = lines
    return {**orjson.loads(texts), "config": shown(config), "metadata": shown(metadata)}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _behind(cursor: str | None, order: Order, arguments: list[Any]) -> str:
    """The condition that a row comes after the cursor; adds its arguments."""
    if cursor is None:
        return ""
    try:
        by, value, run_id = orjson.loads(base64.urlsafe_b64decode(cursor))
        if by != order.name or not isinstance(run_id, int) or not isinstance(value, str | None):
            raise ValueError(by)
    except (ValueError, TypeError) as error:
        raise UsageError("this cursor belongs to another list", hint="start again without a cursor") from error
    sign = "<" if order.descending else ">"
    arguments += [value, run_id]
    # As text, which Postgres casts, so that a cursor need not know the type of its sort value.
    last, id_ = f"${len(arguments) - 1}::text::{order.type}", f"${len(arguments)}"
    if value is None:
        return f"WHERE sort_key IS NULL AND run_id {sign} {id_} AND {last} IS NULL"
    return f"WHERE sort_key {sign} {last} OR sort_key IS NULL OR (sort_key = {last} AND run_id {sign} {id_})"


def _cursor(row: Mapping[str, Any], order: Order) -> str:
    value = row["sort_key"]
    if isinstance(value, datetime):
        value = value.isoformat()
    elif value is not None:
        value = repr(value) if isinstance(value, float) else str(value)
    return encode_cursor([order.name, value, row["run_id"]])


def _instead(nearby: list[asyncpg.Record], entity: str, project: str, scope: Scope) -> str:
    by_kind: dict[str, list[str]] = {"run": [], "project": [], "entity": []}
    for row in nearby:
        by_kind[row["kind"]].append(row["name"])
    if by_kind["run"]:
        return f"runs of {entity}/{project} include {', '.join(by_kind['run'])}"
    if by_kind["project"]:
        return f"projects of {entity!r} include {', '.join(by_kind['project'])}"
    if by_kind["entity"]:
        return f"entities of this server include {', '.join(by_kind['entity'])}"
    return f"no run was ever logged to {'this server' if scope == SERVER else scope}"
