"""What people arrange on the pages: layouts and saved views of a project, and runs that are archived."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from fixtures.ingest import Session
from fixtures.reads import RUN, ask, store
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

PATH = "team/mnist"


async def send(worker: Worker, method: str, route: str, body: Any = None, **query: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(worker.url) as http, http.request(method, route, json=body, params=query) as reply:
        return reply.status, await reply.json()


async def put(worker: Worker, layout: Any, version: Any, path: str = PATH) -> tuple[int, Any]:
    return await send(worker, "PUT", "/v1/layout", {"layout": layout, "version": version}, path=path)


async def save(worker: Worker, path: str = PATH, **view: Any) -> tuple[int, Any]:
    view = {"name": "losses", "page": "workspace", "query": "?q=loss", "layout": None} | view
    return await send(worker, "PUT", "/v1/views", view, path=path)


async def test_layout_is_stored_by_version(any_worker: Worker) -> None:
    await store(any_worker, Session())
    assert await ask(any_worker, "/v1/layout", path=PATH) == (200, {"layout": None, "version": 0, "views": []})
    first = {"panels": {"train/loss": {"wide": 2}}}
    assert await put(any_worker, first, 0) == (200, {"version": 1})
    assert await put(any_worker, {}, 1) == (200, {"version": 2})
    status, answer = await put(any_worker, first, 1)
    assert (status, answer["error"]["code"]) == (409, "layout_changed")
    assert answer["error"]["detail"] == "its version is 2 and no longer 1"
    assert (await ask(any_worker, "/v1/layout", path=PATH))[1]["layout"] == {}


async def test_views_are_saved_replaced_and_removed(any_worker: Worker) -> None:
    await store(any_worker, Session())
    assert (await save(any_worker))[0] == 200
    assert (await save(any_worker, name="a ü", page="runs", query=""))[0] == 200
    status, answer = await save(any_worker, query="?q=acc", layout={"order": {}})
    assert (status, answer["views"]) == (
        200,
        [
            {"name": "a ü", "page": "runs", "query": "", "layout": None},
            {"name": "losses", "page": "workspace", "query": "?q=acc", "layout": {"order": {}}},
        ],
    )
    status, answer = await send(any_worker, "DELETE", "/v1/views", path=PATH, name="a ü")
    assert (status, [view["name"] for view in answer["views"]]) == (200, ["losses"])
    assert (await send(any_worker, "DELETE", "/v1/views", path=PATH, name="a ü"))[0] == 404


async def test_a_project_has_at_most_200_views(worker: Worker) -> None:
    await store(worker, Session())
    for number in range(200):
        assert (await save(worker, name=f"view {number}"))[0] == 200
    status, answer = await save(worker)
    assert (status, answer["error"]["message"]) == (400, "a project has at most 200 saved views")
    assert (await save(worker, name="view 7", query="?q=acc"))[0] == 200


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"name": " "}, "'name' must be a text of 1 to 80 characters"),
        ({"name": "n" * 81}, "'name' must be a text of 1 to 80 characters"),
        ({"name": "a\0b"}, "the body contains a NUL character, which Postgres cannot store"),
        ({"page": "sql"}, "'page' cannot be 'sql'"),
        ({"query": "/elsewhere"}, "'query' must be the query part of a URL, of at most 8000 characters"),
        ({"layout": []}, "'layout' must be an object, or null"),
    ],
)
async def test_invalid_view_is_refused(worker: Worker, view: dict[str, Any], message: str) -> None:
    await store(worker, Session())
    status, answer = await save(worker, **view)
    assert (status, answer["error"]["message"]) == (400, message)


@pytest.mark.parametrize(
    ("layout", "version", "message"),
    [
        (None, 0, "'layout' must be an object"),
        ({}, -1, "'version' must be the version of the layout that is replaced"),
        ({}, True, "'version' must be the version of the layout that is replaced"),
        ({"a": "x" * 300_000}, 0, "the body is too large"),
    ],
)
async def test_invalid_layout_is_refused(worker: Worker, layout: Any, version: Any, message: str) -> None:
    await store(worker, Session())
    status, answer = await put(worker, layout, version)
    assert (status, answer["error"]["message"]) == (400, message)


async def test_unknown_project_stores_nothing(worker: Worker) -> None:
    assert (await put(worker, {}, 0))[0] == 404
    assert (await save(worker))[0] == 404


async def test_archived_run_is_left_out_by_a_filter_and_comes_back(any_worker: Worker) -> None:
    for run in ("run-1", "run-2"):
        await store(any_worker, Session(run=run))
    usual = '{"archived_at": {"$exists": false}}'
    status, run = await send(any_worker, "PATCH", RUN, {"archived": True, "tags": ["old"]})
    assert (status, run["tags"]) == (200, ["old"])
    assert run["archived_at"] is not None
    again = (await send(any_worker, "PATCH", RUN, {"archived": True}))[1]
    assert again["archived_at"] == run["archived_at"]
    names = [item["id"] for item in (await ask(any_worker, "/v1/runs", path=PATH, filters=usual))[1]["runs"]]
    assert names == ["run-2"]
    groups = (await ask(any_worker, "/v1/groups", path=PATH, filters=usual, by="state"))[1]
    assert groups["runs"] == 1
    assert (await send(any_worker, "PATCH", RUN, {"archived": False}))[1]["archived_at"] is None
    assert (await ask(any_worker, "/v1/runs", path=PATH, filters=usual))[1]["total"] == 2
    status, answer = await send(any_worker, "PATCH", RUN, {"archived": "yes"})
    assert (status, answer["error"]["hint"]) == (400, "true, or false")
