"""What one route is: its place, what it takes and answers, the right that it needs, and its handler.

`routes` lists them all; `app` serves them and `openapi` describes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from stepwell_ingest.api.access import Right
from stepwell_ingest.api.query import Parameter, Query
from stepwell_ingest.api.services import Services

#: Answers one request. It may declare its first argument as a Protocol of the services that it uses.
Handler = Callable[[Services, web.Request, Query], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: GET, HEAD, POST, PUT, PATCH or DELETE.
        path: with the names of its variable parts in braces.
        right: what the caller must be allowed to do.
        handler: answers a request.
        about: one sentence for the OpenAPI document.
        parameters: of the query.
        ignores_unknown: accepts parameters that it does not know, as probes and proxies add them.
        also_head: HEAD is answered as GET is, without the body.
        answers: content types of a success.
        success: status of a success.
        errors: other statuses that it may have.
        body: the content type of the request's body; None: it has none.
    """

    method: str
    path: str
    right: Right
    handler: Handler
    about: str
    parameters: tuple[Parameter, ...] = ()
    ignores_unknown: bool = False
    also_head: bool = False
    answers: tuple[str, ...] = ("application/json",)
    success: int = 200
    errors: tuple[int, ...] = ()
    body: str | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that it is registered for."""
        return (self.method, "HEAD") if self.also_head else (self.method,)

    @property
    def path_names(self) -> list[str]:
        """The names in braces."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def project_of(self, request: web.Request, query: Query) -> tuple[str | None, str | None]:
        """Entity and project that a request names in its path or query; None and None where it names none."""
        for parameter in self.parameters:
            if parameter.kind == "project":
                entity, project = query[parameter.name]
                return entity, project
        return request.match_info.get("entity"), request.match_info.get("project")
