"""The handlers of what people arrange on the pages of a project: the layout of its charts, and saved views.

The pages define what a layout contains (`workspace/src/model/layout.ts`), and check the layouts that they read; the
server only limits size and depth. `routes` lists the handlers.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from stepwell.errors import DataError, NotFoundError
from stepwell.wire import MAX_DEPTH, holds_nul, is_too_deep
from stepwell_ingest.api.edits import EditServices
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import ReadServices
from stepwell_ingest.api.replies import answer_json
from stepwell_ingest.read.layouts import LayoutChangedError, read_layout

_PAGES = ("workspace", "runs", "compare")
_MAX_LAYOUT_BYTES = 256 * 1024
_MAX_QUERY = 8_000
_MAX_NAME = 80
_MAX_VIEWS = 200


async def layout(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    entity, project = query["path"]
    return await answer_json(request, services.reads, lambda: read_layout(services.reads, entity, project))


async def put_layout(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Replaces the layout of the project, and answers with its new version.

    Raises:
        DataError: the body is not {"layout": an object, "version": the version that it replaces}.
        LayoutChangedError: the layout has another version by now.
        NotFoundError: there is no such project.
    """
    entity, project = query["path"]
    body = _body(await request.read(), '{"layout": {…}, "version": 0}')
    version = body.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or not 0 <= version < 2**63:
        raise DataError(
            "'version' must be the version of the layout that is replaced",
            hint="it is 0 if the project has no layout yet",
        )
    text = _layout(body.get("layout"))
    if text is None:
        raise DataError("'layout' must be an object", hint="{} stands for the default layout of the pages")
    made = await services.edits.put_layout(entity, project, text, version)
    if made is None:
        now = await read_layout(services.reads, entity, project)
        if now["version"] == version:
            raise _no_project(entity, project)
        raise LayoutChangedError(
            "somebody else has changed the layout",
            detail=f"its version is {now['version']} and no longer {version}",
            hint="read the layout again, and apply the change to it",
        )
    return json_response({"version": made})


async def put_view(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Saves a view under its name, and answers with all views.

    Raises:
        DataError: the body is not {"name", "page", "query", "layout"}, or the project has too many views.
        NotFoundError: there is no such project.
    """
    entity, project = query["path"]
    body = _body(await request.read(), '{"name": "losses", "page": "workspace", "query": "?q=loss", "layout": null}')
    name, page, address = (body.get(key) for key in ("name", "page", "query"))
    if not isinstance(name, str) or not 0 < len(name.strip()) <= _MAX_NAME:
        raise DataError(f"'name' must be a text of 1 to {_MAX_NAME} characters")
    if page not in _PAGES:
        raise DataError(f"'page' cannot be {str(page)[:40]!r}", hint=f"the pages are {', '.join(_PAGES)}")
    if not isinstance(address, str) or len(address) > _MAX_QUERY or not (address == "" or address.startswith("?")):
        raise DataError(
            f"'query' must be the query part of a URL, of at most {_MAX_QUERY} characters",
            hint='"", or a text that begins with "?"',
        )
    view = (name.strip(), page, address, _layout(body.get("layout")))
    if not await services.edits.put_view(entity, project, view, _MAX_VIEWS):
        found = await read_layout(services.reads, entity, project)
        if len(found["views"]) < _MAX_VIEWS:
            raise _no_project(entity, project)
        raise DataError(f"a project has at most {_MAX_VIEWS} saved views", hint="remove one that nobody needs")
    return json_response(await read_layout(services.reads, entity, project))


async def delete_view(services: EditServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Removes a saved view, and answers with the views that remain.

    Raises:
        NotFoundError: there is no view of this name.
    """
    entity, project = query["path"]
    if not await services.edits.delete_view(entity, project, query["name"]):
        raise NotFoundError(f"there is no view {query['name'][:80]!r}", hint="somebody may have removed it")
    return json_response(await read_layout(services.reads, entity, project))


def _body(raw: bytes, example: str) -> dict[str, Any]:
    if len(raw) > _MAX_LAYOUT_BYTES:
        raise DataError("the body is too large", detail=f"{len(raw)} bytes; the limit is {_MAX_LAYOUT_BYTES}")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DataError("the body is not JSON", detail=str(error)) from error
    if not isinstance(body, dict):
        raise DataError("the body must be an object", hint=example)
    if is_too_deep(raw, body):
        raise DataError("the body is nested too deeply", detail=f"the limit is {MAX_DEPTH} levels")
    if holds_nul(orjson.dumps(body)):
        raise DataError("the body contains a NUL character, which Postgres cannot store")
    return body


def _layout(value: Any) -> str | None:
    if value is not None and not isinstance(value, dict):
        raise DataError("'layout' must be an object, or null")
    return None if value is None else orjson.dumps(value).decode()


def _no_project(entity: str, project: str) -> NotFoundError:
    return NotFoundError(f"there is no project {project!r} of {entity!r}", hint="a project begins with its first run")
