"""Groups the runs that match a filter: the number of runs in each group, and the means of numeric fields.

Receives a condition that `filters` has compiled and names of fields; returns groups that are ready for JSON. Each group
includes a filter, with which `runs` lists the runs of the group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from stepwell_ingest.read.bounded import fetch_bounded
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.fields import unknown_fields
from stepwell_ingest.read.filters import Condition, Order, parse_order

#: Larger numbers are left out of means, because float8 has no room for the sums of their squares.
_MOST = "1e150"


async def group_runs(
    database: Database,
    entity: str,
    project: str,
    where: Condition,
    by: Sequence[str],
    means: Sequence[str],
    order: Order,
    limit: int,
) -> dict[str, Any]:
    """Returns {"groups": […], "total": the number of groups, "runs": the number of runs that match the filter}.

    If fields of the filter, of `by` or of `means` gave nothing, "unknown" names those that no run of the project has,
    each with similar ones.

    A group is {"by": its values, "runs": how many it has, "filters": the filter of its runs as JSON, "means": {field:
    {"mean", "deviation", "runs"}}}; a field without a number in any run of the group is left out.

    Args:
        where: the compiled filter.
        by: the fields by which runs are grouped. A run without the field belongs to the group of null.
        means: fields whose means are returned: for each group, over the runs in which the field is a finite number.
        order: by one of `by`, by "created_at" (of the newest run), or by the mean of another field.
        limit: the most groups.
    """
    arguments = [entity, project, *where.arguments]
    condition = where.sql_from(3)
    sorted_by = order.name.lstrip("+-")
    values = [_value(name, arguments) for name in (*by, *means, sorted_by)]
    columns = ", ".join(f"({sql}) AS v{i}" for i, sql in enumerate(values))
    runs = database.sql["runs"].removesuffix(";")
    keys = [f"v{i}" for i in range(len(by))]
    aggregates = [_mean(f"v{len(by) + i}", f"m{i}") for i in range(len(means))]
    if sorted_by in ("created_at", "createdAt"):
        first = "max(run_id)"
    elif sorted_by in by:
        first = keys[list(by).index(sorted_by)]
    else:
        first = _number("avg", f"v{len(values) - 1}")
    direction = "DESC" if order.descending else "ASC"
    sql = (
        f"WITH fits AS MATERIALIZED (SELECT r.run_id, {columns} FROM ({runs}) r WHERE {condition}) "
        f"SELECT {', '.join(['count(*) AS runs', *aggregates])}, count(*) OVER () AS total, "
        f"sum(count(*)) OVER () AS all_runs, jsonb_build_array({', '.join(keys)})::text AS value "
        f"FROM fits GROUP BY {', '.join(keys)} "
        f"ORDER BY {first} {direction} NULLS LAST, {', '.join(f'{key} ASC NULLS LAST' for key in keys)} LIMIT {limit}"
    )
    names = ["runs", "total", "all_runs", *(f"m{i}_{part}" for i in range(len(means)) for part in ("mean", "dev", "n"))]
    async with database.costly_snapshot() if where.costly else database.snapshot() as connection:
        found = await fetch_bounded(connection, sql, names, *arguments, room=database.limits.answer_bytes)
        groups = [_group(row, value or "[]", by, means) for row, value in found.rows]
        suspects = [name for i, name in enumerate(by) if all(group["by"][i] is None for group in groups)]
        suspects += [name for name in means if not any(name in group["means"] for group in groups)]
        suspects += [] if groups else where.fields
        unknown = await unknown_fields(connection, database, entity, project, suspects)
    first_row = found.rows[0].columns if found.rows else {"total": 0, "all_runs": 0}
    answer = {"groups": groups, "total": first_row["total"], "runs": int(first_row["all_runs"])}
    return answer | ({"unknown": unknown} if unknown else {})


def _value(name: str, arguments: list[Any]) -> str:
    """The SQL of a field as jsonb; NULL: the run lacks it. Adds its arguments."""
    field = parse_order(name)
    sql = field.sql.replace("$$", f"${len(arguments) + 1}")
    arguments += field.arguments
    return f"nullif(to_jsonb(({sql})::{field.type}), 'null')"


def _number(function: str, column: str) -> str:
    # As numeric, which neither rounds nor overflows on the way.
    number = (
        f"CASE WHEN jsonb_typeof({column}) = 'number' AND abs({column}::numeric) < {_MOST} THEN {column}::numeric END"
    )
    return f"{function}({number})"


def _mean(column: str, name: str) -> str:
    return (
        f"{_number('avg', column)}::float8 AS {name}_mean, {_number('stddev_samp', column)}::float8 AS {name}_dev, "
        f"{_number('count', column)} AS {name}_n"
    )


def _group(row: Mapping[str, Any], value: str, by: Sequence[str], means: Sequence[str]) -> dict[str, Any]:
    values = orjson.loads(value)
    conditions = [{name: {"$eq": one}} for name, one in zip(by, values, strict=False)]
    return {
        "by": values,
        "runs": row["runs"],
        "filters": json.dumps({"$and": conditions}),
        "means": {
            name: {"mean": row[f"m{i}_mean"], "deviation": row[f"m{i}_dev"], "runs": row[f"m{i}_n"]}
            for i, name in enumerate(means)
            if row[f"m{i}_n"]
        },
    }
