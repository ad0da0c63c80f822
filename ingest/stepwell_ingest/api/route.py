"""The description of one route: method, path, parameters, answers, the right that it needs, and its handler.

`routes` lists them all; `app` serves them and `openapi` describes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.query import Parameter, Query
from stepwell_ingest.api.services import Services

#: Answers one request. It may declare its first argument as a Protocol of the services that it needs.
Handler = Callable[[Services, web.Request, Query], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        method: GET, HEAD, POST, PUT, PATCH or DELETE.
        path: the path, with the names of its variable parts in braces.
        right: the right that the caller must have.
        handler: answers a request.
        about: one sentence for the OpenAPI document.
        parameters: the query parameters.
        ignores_unknown: whether it accepts unknown parameters, which probes and proxies add.
        also_head: whether HEAD is answered as GET is, without the body.
        answers: the content types of a successful answer.
        success: the status of a successful answer.
        errors: other statuses that it may answer with.
        body: the content type of the request's body; None: there is no body.
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
        """The methods for which the route is registered."""
        return (self.method, "HEAD") if self.also_head else (self.method,)

    @property
    def path_names(self) -> list[str]:
        """The names of the path's variable parts."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]

    def project_of(self, request: web.Request, query: Query) -> tuple[str | None, str | None]:
        """The entity and project that a request names in its path or query, or None and None."""
        for parameter in self.parameters:
            if parameter.kind == "project" and query[parameter.name] is not None:
                entity, project = query[parameter.name]
                return entity, project
        return request.match_info.get("entity"), request.match_info.get("project")
