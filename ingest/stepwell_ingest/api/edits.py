"""The handlers that change a run from outside: names, config and summary, and its end. `routes` lists them.

Rare, so each opens a connection of its own, apart from those of frames and reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
import orjson
from aiohttp import web

from stepwell.errors import DataError, NotFoundError, UsageError
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import named_run
from stepwell_ingest.config import Config
from stepwell_ingest.db.connect import maintenance_connection
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.delete.plan import check_forks
from stepwell_ingest.delete.remover import remove
from stepwell_ingest.read.database import Database
from stepwell_schema import queries

_TEXTS = ("name", "notes", "group", "job_type")
_OBJECTS = ("config", "summary")
_MAX_TAG = 64


class EditServices(Protocol):
    """What edits use of the server."""

    @property
    def config(self) -> Config: ...
    @property
    def reads(self) -> Database: ...


async def patch_run(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Changes what the JSON body names; answers with the run as it is then.

    Raises:
        DataError: a field is unknown or has a value that it cannot have.
        NotFoundError: there is no such run.
    """
    changes = _changes(await request.read())
    row = await named_run(request, services.reads)
    meta = {field: value for field, value in changes.items() if field not in _OBJECTS}
    arguments = [orjson.dumps(part).decode() if part else None for part in (meta, *map(changes.get, _OBJECTS))]
    async with _connection(services.config, "edit") as connection:
        if not await connection.fetchval(queries("write")["edit_run"], row.run_id, *arguments):
            raise NotFoundError("the run was deleted meanwhile")
    return json_response((await named_run(request, services.reads)).shown)


async def delete_run(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Deletes the run for every reader; its rows go with the next sweep.

    Raises:
        NotFoundError: there is no such run.
        UsageError: forks show its points.
    """
    row = await named_run(request, services.reads)
    async with _connection(services.config, "delete") as connection:
        await check_forks(
            connection, {row.run_id: "/".join((row.shown["entity"], row.shown["project"], row.shown["id"]))}
        )
        removed = await remove(connection, [row.run_id])
    return json_response({"deleted": removed})


@asynccontextmanager
async def _connection(config: Config, purpose: str) -> AsyncIterator[asyncpg.Connection]:
    with postgres_errors(purpose):
        connection = await maintenance_connection(
            config.dsn, purpose, config.timeouts.connect_s, config.timeouts.statement_s
        )
        try:
            yield connection
        finally:
            await connection.close(timeout=config.timeouts.connect_s)


def _changes(raw: bytes) -> dict[str, Any]:
    try:
        changes = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError("the body is not JSON", detail=str(error)) from error
    if not isinstance(changes, dict) or not changes:
        raise DataError("the body must be an object with what to change", hint='{"tags": ["baseline"]}')
    if b"\\u0000" in orjson.dumps(changes):
        raise DataError("Postgres cannot store NUL characters")
    for field, value in changes.items():
        if field in _TEXTS:
            fits = value is None or isinstance(value, str)
        elif field in _OBJECTS:
            fits = isinstance(value, dict)
        elif field == "tags":
            fits = isinstance(value, list) and all(isinstance(tag, str) and 0 < len(tag) <= _MAX_TAG for tag in value)
        else:
            known = (*_TEXTS, "tags", *_OBJECTS)
            raise UsageError(f"a run has no {field[:80]!r} to change", hint=f"known are {', '.join(known)}")
        if not fits:
            raise DataError(f"{field!r} cannot be {str(value)[:80]}", hint=_HINTS[field])
    return changes


_HINTS = {
    **dict.fromkeys(_TEXTS, "a text, or null"),
    **dict.fromkeys(_OBJECTS, "an object with the keys that change"),
    "tags": f"a list of texts of 1 to {_MAX_TAG} characters",
}
