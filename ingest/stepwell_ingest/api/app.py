"""The aiohttp application: registers the route table and wraps every handler in two middlewares.

The outer middleware turns errors into answers. The inner one refuses requests that a page of another site sent, finds
the route of a request, checks its query, identifies the caller, and checks that it has the right that the route needs.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

from stepwell.errors import Error
from stepwell_ingest.access.keyring import Keyring
from stepwell_ingest.access.rights import Authorize, Right, require
from stepwell_ingest.access.sign_ins import SignIns
from stepwell_ingest.api.access import PRINCIPAL, identify
from stepwell_ingest.api.errors import ErrorReply, error_response
from stepwell_ingest.api.heads import Connection
from stepwell_ingest.api.origin import Origins, keep_to_this_origin
from stepwell_ingest.api.query import Query, read_query
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes import routes
from stepwell_ingest.api.services import Services
from stepwell_ingest.metrics import Metrics

log = logging.getLogger(__name__)

_QUERY = web.RequestKey("query", dict)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(services: Services) -> web.Application:
    """The application that serves every route of `routes` from `services`."""
    table = routes(services.config.reads)
    app = web.Application(
        middlewares=[
            _errors(services.metrics),
            _access(table, services.keyring, services.sign_ins, services.authorize, Origins(services.config)),
        ],
        client_max_size=services.config.limits.message_bytes,
    )
    app.on_response_prepare.append(keep_to_this_origin)
    for route in table:
        for method in route.methods:
            app.router.add_route(method, _pattern(route.path), _bound(route, services))
    return app


def _pattern(path: str) -> str:
    """The path in aiohttp's notation. The path of a page begins with an entity, which is never `v1`: that is the
    API."""
    return path.replace("{entity}", "{entity:(?!v1/)[^{}/]+}") if path.startswith("/{entity}") else path


def _bound(route: Route, services: Services) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await route.handler(services, request, request[_QUERY])

    return handle


def _errors(metrics: Metrics) -> Middleware:
    """The outer middleware: answers with the error that a handler raised."""

    @web.middleware
    async def errors(request: web.Request, handler: _Handler) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.begin(request)
        try:
            return await handler(request)
        except ErrorReply as reply:
            error, fields = reply.error, reply.fields
        except Error as raised:
            error, fields = raised, {}
        except (ConnectionError, TimeoutError) as problem:
            # The client is gone or accepts no data, so no answer can be sent.
            log.debug("%s %s: %r", request.method, request.path, problem)
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        metrics.refused.labels(error.code).inc()
        return error_response(error, **fields)

    return errors


def _access(
    table: Iterable[Route], keyring: Keyring, sign_ins: SignIns, authorize: Authorize, origins: Origins
) -> Middleware:
    """The inner middleware: passes a request on when its origin and query are valid and its caller has the right."""
    known = {(method, route.path): route for route in table for method in route.methods}

    @web.middleware
    async def access(request: web.Request, handler: _Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = None if resource is None else known[request.method, resource.canonical]
        origins.check(request, public=route is not None and route.right is Right.PUBLIC)
        if route is None:
            return await handler(request)  # aiohttp's own answer: 404 or 405
        query: Query = read_query(request, route.parameters, ignore_unknown=route.ignores_unknown)
        principal = await identify(keyring, sign_ins, request, route.right)
        await require(authorize, principal, *route.project_of(request, query), route.right)
        request[_QUERY], request[PRINCIPAL] = query, principal
        with keyring.holding(principal, request.transport):
            return await handler(request)

    return access
