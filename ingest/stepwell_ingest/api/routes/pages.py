"""The web pages, and the routes for load balancers, scrapers and people."""

from __future__ import annotations

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api import status
from stepwell_ingest.api.pages import asset, document
from stepwell_ingest.api.query import Parameter
from stepwell_ingest.api.route import Handler, Route

_BYTES = "application/octet-stream"
_HTML = ("text/html",)
#: Addresses of pages. All return the same document, whose code tells them apart (workspace/src/model/place.ts).
PAGES = (
    "/",
    "/{entity}/{project}",
    "/{entity}/{project}/runs",
    "/{entity}/{project}/compare",
    "/{entity}/{project}/sql",
    "/{entity}/{project}/runs/{run}",
    "/{entity}/{project}/runs/{run}/{tab}",
)


def operating() -> tuple[Route, ...]:
    """The pages and their files, the state of the worker, health and metrics."""
    sizes = Parameter("sizes", "include the largest runs and projects, whatever the value", "flag")
    return (
        *(page(path, Right.PUBLIC, document, "A web page.", answers=_HTML, errors=(503,)) for path in PAGES),
        page("/assets/{file}", Right.PUBLIC, asset, "A file of the web pages.", answers=(_BYTES,), errors=(404,)),
        page("/v1/status", Right.ADMIN, status.status, "The state of this worker.", sizes),
        page("/healthz", Right.PUBLIC, status.healthz, "Liveness: 200 while the process answers."),
        page(
            "/readyz",
            Right.PUBLIC,
            status.readyz,
            "Readiness: 200 while frames are accepted.",
            errors=(503,),
        ),
        page("/metrics", Right.PUBLIC, status.metrics, "Counters for Prometheus.", answers=("text/plain",)),
    )


def page(
    path: str,
    right: Right,
    handler: Handler,
    about: str,
    *parameters: Parameter,
    answers: tuple[str, ...] = ("application/json",),
    errors: tuple[int, ...] = (),
) -> Route:
    """A route for load balancers, scrapers and people: it answers HEAD, and ignores unknown parameters."""
    return Route(
        "GET",
        path,
        right,
        handler,
        about,
        parameters,
        ignores_unknown=True,
        also_head=True,
        answers=answers,
        errors=errors,
    )
