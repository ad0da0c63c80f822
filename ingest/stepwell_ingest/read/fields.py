"""Explains why a list of runs is empty or not in order: names fields that no run of the project has, and similar ones.

Stands beside `runs` and `groups`, which call it after a query that found nothing. Receives the config and summary
fields that the query names; returns those that no run has. Also finds the metrics that no run of a chart has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import asyncpg

from stepwell_ingest.read.database import Database
from stepwell_ingest.read.filters import compile_filter, is_key
from stepwell_ingest.read.near import near

_PATIENCE_MS = 2_000
_MAX_NAMES = 20_000


async def unknown_fields(
    connection: asyncpg.Connection, database: Database, entity: str, project: str, names: Iterable[str]
) -> dict[str, list[str]]:
    """The fields "config.<key>" and "summary_metrics.<key>" that no run of a project has, each with similar ones.

    The result is empty if Postgres does not find them in time.

    Args:
        connection: a connection in a transaction that reads nothing afterwards.
        names: the names of fields, as in filters; fields of other kinds are ignored.
    """
    found: dict[str, list[str]] = {}
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = {_PATIENCE_MS}")
            for name in dict.fromkeys(filter(is_key, names)):
                there = compile_filter({name: {"$exists": True}})
                some = f"SELECT EXISTS (SELECT FROM ({_runs(database)}) r WHERE {there.sql_from(3)})"
                if await connection.fetchval(some, entity, project, *there.arguments):
                    continue
                place, _, key = name.partition(".")
                query = database.sql["config_keys" if place == "config" else "metrics_of_project"]
                rows = await connection.fetch(query, entity, project, _MAX_NAMES)
                alike = near(key.removesuffix(".value"), [row["name"] for row in rows])
                found[name] = [f"{place}.{other}" for other in alike]
    except asyncpg.QueryCanceledError:
        return {}
    return found


async def unknown_metrics(database: Database, run_ids: Sequence[int], keys: Iterable[str]) -> dict[str, list[str]]:
    """The metrics among `keys` that none of these runs has, each with similar names."""
    async with database.snapshot() as connection:
        known = [row["name"] for row in await connection.fetch(database.sql["metrics_of_runs"], list(run_ids))]
    there = set(known)
    return {key: near(key, known) for key in keys if key not in there}


def _runs(database: Database) -> str:
    return database.sql["runs"].removesuffix(";")
