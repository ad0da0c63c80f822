"""The handlers that change a run from outside (names, config, summary, archived) or delete it. `routes` lists them."""

from __future__ import annotations

from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell.errors import DataError, NotFoundError, UsageError
from stepwell.wire import MAX_DEPTH, MAX_TAG, holds_nul, is_too_deep
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import named_run
from stepwell_ingest.api.replies import answer_json
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import describe_run

_TEXTS = ("name", "notes", "group", "job_type")
_OBJECTS = ("config", "summary")


class Edits(Protocol):
    """Changes runs, layouts and saved views in the database."""

    async def change(
        self, run_id: int, meta: str | None, config: str | None, summary: str | None, archived: bool | None
    ) -> bool: ...
    async def delete(self, run_id: int, path: str, actor: str) -> int: ...
    async def put_layout(self, entity: str, project: str, layout: str, version: int) -> int | None: ...
    async def put_view(self, entity: str, project: str, view: tuple[str, str, str, str | None], most: int) -> bool: ...
    async def delete_view(self, entity: str, project: str, name: str) -> bool: ...


class EditServices(Protocol):
    """The services that edits need."""

    @property
    def edits(self) -> Edits: ...
    @property
    def reads(self) -> Database: ...


async def patch_run(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Changes the fields that the JSON body names, and answers with the changed run.

    Raises:
        DataError: a field is unknown or has an invalid value.
        NotFoundError: there is no such run.
    """
    changes = _changes(await request.read())
    row = await named_run(request, services.reads)
    archived = changes.pop("archived", None)
    meta = {field: value for field, value in changes.items() if field not in _OBJECTS}
    texts = [orjson.dumps(part).decode() if part else None for part in (meta, *map(changes.get, _OBJECTS))]
    if not await services.edits.change(row.run_id, texts[0], texts[1], texts[2], archived):
        raise NotFoundError("the run was deleted during the request")
    row = await named_run(request, services.reads)
    return await answer_json(request, services.reads, lambda: describe_run(services.reads, row))


async def delete_run(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Deletes the run: no reader sees it any more, and the next sweep removes its rows.

    Raises:
        NotFoundError: there is no such run.
        UsageError: a fork shows points of this run.
    """
    row = await named_run(request, services.reads)
    path = "/".join(row.shown[name] for name in ("entity", "project", "id"))
    actor = request[PRINCIPAL].actor
    return json_response({"deleted": await services.edits.delete(row.run_id, path, actor)})


def _changes(raw: bytes) -> dict[str, Any]:
    try:
        changes = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError("the body is not JSON", detail=str(error)) from error
    if not isinstance(changes, dict) or not changes:
        raise DataError("the body must be an object with the fields to change", hint='{"tags": ["baseline"]}')
    if is_too_deep(raw, changes):
        raise DataError("the body is nested too deeply", detail=f"the limit is {MAX_DEPTH} levels")
    if holds_nul(orjson.dumps(changes)):
        raise DataError("the body contains a NUL character, which Postgres cannot store")
    for field, value in changes.items():
        if field in _TEXTS:
            fits = value is None or isinstance(value, str)
        elif field in _OBJECTS:
            fits = isinstance(value, dict)
        elif field == "tags":
            fits = isinstance(value, list) and all(isinstance(tag, str) and 0 < len(tag) <= MAX_TAG for tag in value)
        elif field == "archived":
            fits = isinstance(value, bool)
        else:
            known = (*_TEXTS, "tags", *_OBJECTS, "archived")
            raise UsageError(
                f"a run has no field {field[:80]!r} that can be changed", hint=f"the fields are {', '.join(known)}"
            )
        if not fits:
            raise DataError(f"{field!r} cannot be {str(value)[:80]}", hint=_HINTS[field])
    return changes


_HINTS = {
    **dict.fromkeys(_TEXTS, "a text, or null"),
    **dict.fromkeys(_OBJECTS, "an object with the keys to change"),
    "archived": "true, or false",
    "tags": f"a list of texts of 1 to {MAX_TAG} characters",
}
