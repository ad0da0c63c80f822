"""Seams of the server that belong to one module: connections to Postgres, and the registration of routes."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes import PAGES, routes
from stepwell_ingest.config import Reads

SERVER = Path(__file__).parents[2] / "ingest" / "stepwell_ingest"
OPENS_POSTGRES = {"connect", "create_pool", "Connection", "Pool"}
REGISTERS_A_ROUTE = {
    *("add_route", "add_routes", "add_get", "add_post", "add_put", "add_patch", "add_head", "add_delete", "add_view"),
    *("add_resource", "add_static", "add_options", "register_resource", "RouteTableDef"),
}


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """The object and name of every call `object.name(…)` in a file; the object is "" for `name(…)`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                yield ast.unparse(node.func.value), node.func.attr
            elif isinstance(node.func, ast.Name):
                yield "", node.func.id


def files_that(condition: Callable[[Path], bool]) -> set[str]:
    return {path.relative_to(SERVER).as_posix() for path in SERVER.rglob("*.py") if condition(path)}


def opens_postgres(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    by_name = any(isinstance(node, ast.ImportFrom) and node.module == "asyncpg" for node in ast.walk(tree))
    return by_name or any(owner == "asyncpg" and name in OPENS_POSTGRES for owner, name in calls(path))


def test_only_one_module_opens_postgres() -> None:
    assert files_that(opens_postgres) == {"db/connect.py"}


def test_only_the_route_table_registers_routes() -> None:
    """`api/app.py` registers what `api/routes` lists, in one call; no other file registers or lists any."""
    registrations = [
        (path.relative_to(SERVER).as_posix(), name)
        for path in SERVER.rglob("*.py")
        for _, name in calls(path)
        if name in REGISTERS_A_ROUTE
    ]
    assert registrations == [("api/app.py", "add_route")]
    assert files_that(lambda path: ("", "Route") in calls(path)) == {
        f"api/routes/{name}.py" for name in ("writing", "reading", "pages")
    }


@pytest.mark.parametrize("route", routes(Reads()), ids=lambda route: f"{route.method} {route.path}")
def test_every_route_names_its_right(route: Route) -> None:
    assert isinstance(route.right, Right)
    # Pages are the same document for everybody; their data comes from routes with rights. Signing in needs none yet.
    open_to_all = {"/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/assets/{file}", *PAGES}
    signs = route.path == "/v1/sign-in" and route.method in ("POST", "DELETE")
    assert (route.right is Right.PUBLIC) == (route.path in open_to_all or signs)


def test_no_routes_overlap() -> None:
    places = [(method, route.path) for route in routes(Reads()) for method in route.methods]
    assert len(places) == len(set(places))
