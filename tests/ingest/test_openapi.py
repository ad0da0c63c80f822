"""The OpenAPI document is valid, and describes exactly the existing routes and their parameters."""

from __future__ import annotations

from typing import Any

import pytest
from openapi_spec_validator import validate

from fixtures.reads import RUN, ask
from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.app import create_app
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes import routes
from stepwell_ingest.config import Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

ROUTES = routes(Reads())
STRICT = [route for route in ROUTES if not route.ignores_unknown and route.method == "GET"]


@pytest.fixture
async def document(worker: Worker) -> Any:
    status, document = await ask(worker, "/v1/openapi.json")
    assert status == 200
    return document


async def test_document_is_valid(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


async def test_document_describes_every_route(worker: Worker, document: Any) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in create_app(worker.services).router.routes()
        if route.resource is not None
    }
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == served == {(method, route.path) for route in ROUTES for method in route.methods}


async def test_described_parameters_match_validation(document: Any) -> None:
    history = document["paths"]["/v1/runs/{entity}/{project}/{run}/history"]["get"]
    found = {item["name"]: item for item in history["parameters"]}
    assert [name for name, item in found.items() if item["in"] == "path"] == ["entity", "project", "run"]
    assert found["keys"]["schema"] == {"type": "array", "items": {"type": "string"}, "maxItems": Reads().keys}
    assert found["min_step"]["schema"] == {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0}
    assert found["times"]["schema"] == {"type": "string", "enum": ["true", "false"], "default": "false"}
    assert history["responses"]["200"]["content"].keys() == {
        "application/vnd.stepwell.columns",
        "application/json",
    }


async def test_every_operation_names_its_right(document: Any) -> None:
    paths = document["paths"]
    assert paths["/healthz"]["get"]["x-right"] == Right.PUBLIC
    assert paths["/v1/blobs/{sha256}"]["put"]["x-right"] == Right.WRITE
    for item in paths.values():
        for operation in item.values():
            assert ("403" in operation["responses"]) == (operation["x-right"] != Right.PUBLIC)


@pytest.mark.parametrize("route", STRICT, ids=lambda route: route.path.rpartition("/")[2])
async def test_unknown_parameter_gets_the_described_error(worker: Worker, route: Route) -> None:
    path = route.path.replace("/v1/runs/{entity}/{project}/{run}", RUN)
    status, answer = await ask(worker, path, colour="red")
    assert status == 400
    assert 400 in route.errors
    assert answer["error"].keys() >= {"code", "retryable", "message", "hint"}


def test_every_route_has_a_description() -> None:
    for route in ROUTES:
        assert route.about.endswith(".")
        assert all(parameter.about for parameter in route.parameters)
