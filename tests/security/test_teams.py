"""What the key of one team can do to another team: nothing, whatever names, sessions and hashes it knows or guesses."""

from __future__ import annotations

import secrets
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import pytest

from fixtures.access import MakeKey, send
from fixtures.ingest import Client, Session, stored_steps
from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes import routes
from stepwell_ingest.config import Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SECRET = "victim-only"
ROUTES = [(method, route) for route in routes(Reads()) for method in route.methods]


@pytest.fixture
async def victim(guarded: Worker, keys: MakeKey) -> Session:
    """A writer of another team that has stored three steps, and is still there."""
    session = Session(entity="victim", project=SECRET, run="run-1")
    async with Client(guarded, await keys("victim")) as client:
        assert (await client.attach(session))["type"] == "attached"
        assert (await client.exchange(session.frame(3)))["stored"] == 1
    return session


def path_of(route: Route) -> str:
    """The path of a route for the victim's run, with its required parameters."""
    names = {"entity": "victim", "project": SECRET, "run": "run-1", "sha256": "0" * 64, "tab": "charts", "file": "x.js"}
    samples = {"project": f"victim/{SECRET}", "integer": "1", "texts": "run-1"}
    given = {item.name: samples.get(item.kind, "x") for item in route.parameters if item.required}
    return f"{route.path.format(**{name: quote(value) for name, value in names.items()})}?{urlencode(given)}"


def body_of(route: Route) -> Any:
    return {} if route.body == "application/json" else b"x" if route.body else None


def names_project(route: Route) -> bool:
    return "{project}" in route.path or any(item.kind == "project" and item.required for item in route.parameters)


@pytest.mark.parametrize("role", [None, "reader", "writer", "admin"])
async def test_no_route_answers_a_stranger(guarded: Worker, victim: Session, keys: MakeKey, role: str | None) -> None:
    """Without a key, every route but the public ones is closed; with the key of another team, those of the project."""
    key = None if role is None else await keys("attacker", role)
    answered = {}
    for method, route in ROUTES:
        if route.right is Right.PUBLIC:
            continue
        fields = {"Content-Type": "application/octet-stream"} if route.body else {}
        status, answer, _ = await send(guarded, method, path_of(route), key, body_of(route), **fields)
        shut = {401} if key is None else {403} if names_project(route) else None
        if (shut is not None and status not in shut) or SECRET in str(answer).replace(path_of(route), "").replace(
            f"victim/{SECRET}", ""
        ):
            answered[method, route.path] = status, answer
    assert answered == {}


async def test_key_without_the_right_is_refused(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    """The reader of a project may neither write nor delete, and a writer not delete, nor see the server or use SQL."""
    allowed = {
        "reader": {Right.READ},
        "writer": {Right.READ, Right.WRITE},
        "admin": {Right.READ, Right.WRITE, Right.ADMIN},
    }
    for role, rights in allowed.items():
        key = await keys(f"victim/{SECRET}", role)
        for method, route in ROUTES:
            if method == "DELETE" and Right.ADMIN in rights:
                continue  # it would delete the run
            may = route.right in (*rights, Right.PUBLIC) and (names_project(route) or route.right is not Right.ADMIN)
            fields = {"Content-Type": "application/octet-stream"} if route.body else {}
            if may and route.path.endswith("/live"):
                continue  # it answers for as long as the client listens
            status, _, _ = await send(guarded, method, path_of(route), key, body_of(route), **fields)
            assert (status == 403) == (not may), (role, method, route.path, status)


async def test_attach_to_another_teams_project_is_refused(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    key = await keys("attacker")
    theirs = Session(entity="victim", project=SECRET, run="run-1", id=victim.id)
    ways: list[dict[str, Any]] = [{}, {"resume": "must"}, {"rewind_to": 0}, {"late": True}]
    for more in ways:
        for session in (theirs, Session(entity="victim", project=SECRET, run="run-1")):
            async with Client(guarded, key) as client:
                assert (await client.attach(session, **more))["code"] == "forbidden"
            status, answer, _ = await send(guarded, "POST", "/v1/attach", key, session.attach(**more))
            assert (status, answer["error"]["code"]) == (403, "forbidden")


async def test_known_session_is_no_key(guarded: Worker, victim: Session, keys: MakeKey, pg: asyncpg.Connection) -> None:
    """A session that leaked is of no use with the key of another team: the frames are refused as those of nobody."""
    key, bytes_type = await keys("attacker"), "application/octet-stream"
    frame = victim.frame()
    nobody = Session(id=secrets.token_bytes(16), seq=victim.seq - 1).frame()
    told = []
    for given in (frame, nobody):
        status, answer, _ = await send(guarded, "POST", "/v1/frames", key, given, Content_Type=bytes_type)
        error = answer["error"]
        told.append((status, error["code"], error["message"], answer["writers"]))
    assert told == [(404, "unknown_writer", "no writer has this session", [])] * 2
    asked = {"sessions": [victim.id.hex()]}
    assert (await send(guarded, "POST", "/v1/sessions", key, asked))[1] == {"sessions": {}}
    mine = Session(entity="attacker", id=victim.id)
    async with Client(guarded, key) as client:
        assert (await client.attach(mine))["code"] == "wrong_run"
    own = Session(entity="attacker", run="run-2")
    async with Client(guarded, key) as client:
        assert (await client.attach(own))["type"] == "attached"
        assert (await client.exchange(frame))["code"] == "wrong_run"
    # the victim goes on as if nothing had happened
    theirs = await keys("victim")
    status, answer, _ = await send(guarded, "POST", "/v1/frames", theirs, frame, Content_Type=bytes_type)
    assert (status, answer["writers"][0]["stored"]) == (200, 1)
    assert (await send(guarded, "POST", "/v1/sessions", theirs, asked))[1]["sessions"].keys() == {victim.id.hex()}
    assert await stored_steps(pg) == [0, 1, 2, 3]
    assert await pg.fetchval("SELECT count(*) FROM stepwell.run WHERE entity = 'attacker' AND name = 'run-1'") == 0


async def test_session_of_a_deleted_run_tells_nothing(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    admin, key = await keys("victim", "admin"), await keys("attacker")
    assert (await send(guarded, "DELETE", f"/v1/runs/victim/{SECRET}/run-1", admin))[0] == 200
    status, answer, _ = await send(
        guarded, "POST", "/v1/frames", key, victim.frame(), Content_Type="application/octet-stream"
    )
    assert (status, answer["error"]["code"]) == (404, "unknown_writer")
    for more in ({}, {"resume": "allow"}):
        again = Session(entity="attacker", id=victim.id).attach(**more)
        status, answer, _ = await send(guarded, "POST", "/v1/attach", key, again)
        assert answer["error"]["code"] == "wrong_run"
        assert SECRET not in str(answer)
    assert (await send(guarded, "POST", "/v1/attach", admin, victim.attach()))[1]["error"]["code"] == "run_deleted"


async def test_deletion_is_in_the_audit_log(
    guarded: Worker, victim: Session, keys: MakeKey, pg: asyncpg.Connection
) -> None:
    admin, run = await keys("victim", "admin", name="boss"), f"/v1/runs/victim/{SECRET}/run-1"
    assert (await send(guarded, "DELETE", run, await keys("victim")))[0] == 403
    assert (await send(guarded, "DELETE", run, admin))[0] == 200
    rows = await pg.fetch("SELECT actor, detail->>'run' AS run FROM stepwell.audit WHERE action = 'delete run'")
    assert [tuple(row) for row in rows] == [(f"key 'boss' ({admin[4:16]})", "run-1")]


async def test_fork_reads_its_own_project_only(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    fork = Session(entity="attacker", project=SECRET, run="fork")
    more = {"fork_run": "run-1", "fork_step": 1}
    _, answer, _ = await send(guarded, "POST", "/v1/attach", await keys("attacker"), fork.attach(**more))
    assert answer["error"]["message"] == "the run to fork does not exist"


async def test_lists_and_hints_name_only_what_the_key_may_read(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    own = Session(entity="attacker", project="mine", run="own-run")
    beside = Session(entity="attacker", project="other", run="own-run")
    team = await keys("attacker")
    for session in (own, beside):
        assert (await send(guarded, "POST", "/v1/attach", team, session.attach()))[0] == 200
    one = await keys("attacker/mine", "reader")

    async def projects(key: str) -> list[str]:
        listed = (await send(guarded, "GET", "/v1/projects", key))[1]["projects"]
        return sorted(f"{item['entity']}/{item['project']}" for item in listed)

    assert await projects(await keys(None, "reader")) == ["attacker/mine", "attacker/other", f"victim/{SECRET}"]
    assert await projects(team) == ["attacker/mine", "attacker/other"]
    assert await projects(one) == ["attacker/mine"]
    hints = {
        f"/v1/runs/attacker/mine/{'x'}": "runs of attacker/mine include own-run",
        "/v1/runs/attacker/nothing/x": "projects of 'attacker' include mine, other",
        "/v1/runs?path=attacker/nothing": "projects of 'attacker' include mine, other",
    }
    for path, hint in hints.items():
        status, answer, _ = await send(guarded, "GET", path, team)
        assert (status, answer["error"]["hint"]) == (404, hint)
    status, answer, _ = await send(guarded, "GET", "/v1/runs?path=nobody/x", await keys("nobody"))
    assert (status, answer["error"]["hint"]) == (404, "no run was ever logged to nobody")
    listening = f"/v1/live?path=nobody/x&runs={quote('x')}"
    assert SECRET not in str((await send(guarded, "GET", listening, await keys("nobody")))[1])


async def test_existing_and_absent_projects_are_refused_alike(guarded: Worker, victim: Session, keys: MakeKey) -> None:
    key = await keys("attacker")
    told = {}
    for project in (SECRET, "absent"):
        for path in (f"/v1/runs/victim/{project}/run-1", f"/v1/runs?path=victim/{project}"):
            status, answer, _ = await send(guarded, "GET", path, key)
            told.setdefault(project, []).append((status, str(answer).replace(project, "…")))
    assert told[SECRET] == told["absent"]
