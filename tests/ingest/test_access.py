"""Every request checks the right that its route needs, in the project that it names; a refusal is a 403."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp
import pytest

from fixtures.ingest import Client, Session, post, start_worker
from stepwell_ingest.access.rights import LOCAL, Principal, Right, authorize
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes import routes
from stepwell_ingest.config import Reads
from stepwell_ingest.server import compose
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

ROUTES = [(method, route) for route in routes(Reads()) for method in route.methods]
Question = tuple[str | None, str | None, Right]


@dataclass
class Guard:
    """Records the requested rights, and grants `rights` in all projects but one."""

    rights: set[Right] = field(default_factory=lambda: set(Right))
    closed_project: str = ""
    asked: list[Question] = field(default_factory=list)

    async def __call__(self, principal: Principal, entity: str | None, project: str | None, right: Right) -> bool:
        assert principal == LOCAL
        self.asked.append((entity, project, right))
        return right in self.rights and project != self.closed_project


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Guard:
    guard = Guard()
    monkeypatch.setattr(compose, "authorize", guard)
    return guard


@pytest.fixture
async def guarded(guard: Guard, postgres_dsn: str) -> AsyncIterator[Worker]:
    async with start_worker(postgres_dsn) as worker:
        yield worker


async def send(worker: Worker, method: str, path: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession(worker.url) as http, http.request(method, path) as reply:
        return reply.status, await reply.read()


def place(route: Route) -> str:
    """A path of the route, with its required parameters and its project."""
    names = {"entity": "team", "project": "mnist", "run": "r", "sha256": "0" * 64, "tab": "charts", "file": "x.js"}
    samples = {"project": "team/mnist", "integer": "1"}
    wanted = [item for item in route.parameters if item.required or item.kind == "project"]
    required = {item.name: samples.get(item.kind, "x") for item in wanted}
    return f"{route.path.format(**names)}?{urlencode(required)}"


def names_project(route: Route) -> bool:
    return "{project}" in route.path or any(item.kind == "project" for item in route.parameters)


async def test_right_is_checked_before_the_handler(guarded: Worker, guard: Guard) -> None:
    guard.rights = {Right.PUBLIC}
    for method, route in ROUTES:
        guard.asked.clear()
        status, body = await send(guarded, method, place(route))
        named = ("team", "mnist") if names_project(route) else (None, None)
        assert guard.asked == [(*named, route.right)], route
        assert (status == 403) == (route.right is not Right.PUBLIC), route
        assert status != 403 or method == "HEAD" or b'"forbidden"' in body, route


async def test_attach_checks_its_project(guarded: Worker, guard: Guard) -> None:
    async with Client(guarded) as client:
        assert (await client.attach(Session()))["type"] == "attached"
    assert guard.asked == [(None, None, Right.WRITE), ("team", "mnist", Right.WRITE)]
    assert (await post(guarded, "/v1/attach", Session(project="other").attach()))[0] == 200
    assert guard.asked[2:] == [(None, None, Right.WRITE), ("team", "other", Right.WRITE)]


async def test_attach_to_a_forbidden_project_is_refused(guarded: Worker, guard: Guard) -> None:
    guard.closed_project = "secret"
    refusal = "permission to write denied"
    async with Client(guarded) as client:
        reply = await client.attach(Session(project="secret"))
        assert (reply["type"], reply["code"], reply["message"]) == ("error", "forbidden", refusal)
        assert reply["detail"] == "local asked for the right write in team/secret"
    async with Client(guarded) as client:
        assert (await client.attach(Session()))["type"] == "attached"
    status, reply, _ = await post(guarded, "/v1/attach", Session(project="secret").attach())
    assert (status, reply["error"]["message"], reply["error"]["retryable"]) == (403, refusal, False)


async def test_rights_of_local_user_and_stranger() -> None:
    for right in Right:
        assert await authorize(LOCAL, "team", "mnist", right)
        assert await authorize(Principal("stranger"), None, None, right) == (right is Right.PUBLIC)
