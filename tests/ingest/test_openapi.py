"""The OpenAPI document is valid, and describes exactly the routes that there are and what they take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openapi_spec_validator import validate

from fixtures.ingest import start_worker
from fixtures.reads import RUN, ask
from stepwell_ingest.api.app import create_app
from stepwell_ingest.api.description import Operation
from stepwell_ingest.api.openapi import OTHER
from stepwell_ingest.api.read_routes import read_routes
from stepwell_ingest.api.workspace_routes import workspace_routes
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

READS = [operation for operation, _ in (*read_routes(Reads()), *workspace_routes(Reads()))]


@pytest.fixture
async def worker(postgres_dsn: str) -> AsyncIterator[Worker]:
    async with start_worker(postgres_dsn) as worker:
        yield worker


@pytest.fixture
async def document(worker: Worker) -> Any:
    status, document = await ask(worker, "/v1/openapi.json")
    assert status == 200
    return document


async def test_it_is_valid(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


async def test_it_describes_every_route_and_no_other(document: Any) -> None:
    app = create_app(Worker(Config("postgresql://nobody")))
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.method != "HEAD"
        and not route.handler.__qualname__.startswith("Pages.")  # these are for people
    }
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert described == routes


async def test_parameters_are_described_as_they_are_checked(document: Any) -> None:
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


@pytest.mark.parametrize(
    "operation",
    [operation for operation in READS if operation.method == "GET"],
    ids=lambda operation: operation.path.removeprefix("/v1/").replace("/", "-"),
)
async def test_every_error_that_is_described_has_the_described_form(worker: Worker, operation: Operation) -> None:
    path = operation.path.replace("/v1/runs/{entity}/{project}/{run}", RUN)
    status, answer = await ask(worker, path, colour="red")
    assert status == 400
    assert 400 in operation.errors
    assert answer["error"].keys() >= {"code", "retryable", "message", "hint"}


def test_every_operation_says_what_it_is_for() -> None:
    for operation in (*READS, *OTHER):
        assert operation.about.endswith(".")
        assert all(parameter.about for parameter in operation.parameters)
