"""Routes and the one middleware: every `Error` that reaches it becomes its answer. Nothing else."""

from __future__ import annotations

import socket as socket_module
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

from stepwell import wire
from stepwell.errors import Error, OverloadedError, UnavailableError
from stepwell_ingest.api.blobs import add_blob_routes
from stepwell_ingest.api.errors import error_response, json_response
from stepwell_ingest.api.frames import post_attach, post_frames
from stepwell_ingest.api.openapi import openapi
from stepwell_ingest.api.read_routes import read_routes
from stepwell_ingest.api.reads import Sources, handler
from stepwell_ingest.api.stream import Stream
from stepwell_ingest.api.workspace_routes import workspace_routes

if TYPE_CHECKING:
    from stepwell_ingest.server.worker import Worker

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(worker: Worker) -> web.Application:
    """The application that serves `worker`."""

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Error as error:
            worker.metrics.refused.labels(error.code).inc()
            return error_response(error)

    async def stream(request: web.Request) -> web.StreamResponse:
        if worker.draining:
            raise UnavailableError("the server is stopping", hint="the SDK reconnects by itself")
        limits, timeouts = worker.config.limits, worker.config.timeouts
        if len(worker.streams) >= limits.streams:
            raise OverloadedError(
                "the server has as many streams as it takes",
                retry_after_s=timeouts.retry_after_s,
                detail=f"{limits.streams}",
                hint="start more workers, or another server on the same Postgres",
            )
        # No heartbeat of aiohttp's: it takes a peer for dead whose pong stands behind frames that there is no room for.
        socket = web.WebSocketResponse(max_msg_size=wire.MAX_MESSAGE_BYTES + 1, compress=False)
        await socket.prepare(request)
        give_up_on_dead_peers(request, timeouts.heartbeat_s)
        connection = Stream(worker, socket)
        worker.streams.add(connection)
        if worker.draining:  # since a moment ago: `drain` has not seen this stream
            connection.stop()
        try:
            await connection.run()
        finally:
            worker.streams.discard(connection)
        return socket

    async def attach(request: web.Request) -> web.Response:
        return await post_attach(request, worker)

    async def frames(request: web.Request) -> web.Response:
        return await post_frames(request, worker)

    async def healthz(_: web.Request) -> web.Response:
        return json_response({"status": "alive"})

    async def readyz(_: web.Request) -> web.Response:
        await worker.check_ready()
        return json_response({"status": "ready"})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=worker.render_metrics(), content_type="text/plain", charset="utf-8")

    async def about(request: web.Request) -> web.Response:
        return json_response(await worker.about(sizes="sizes" in request.query))

    app = web.Application(middlewares=[errors], client_max_size=limits_of(worker))
    app.router.add_get("/v1/stream", stream)
    app.router.add_post("/v1/attach", attach)
    app.router.add_post("/v1/frames", frames)
    app.router.add_get("/v1/status", about)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    add_blob_routes(app, worker)
    limits = worker.config.reads
    reads, sources = [*read_routes(limits), *workspace_routes(limits)], Sources(worker.reads, worker.live)
    for operation, answer in reads:
        app.router.add_route(operation.method, operation.path, handler(operation, answer, sources))
    document = openapi([operation for operation, _ in reads])

    async def describe(_: web.Request) -> web.Response:
        return json_response(document)

    app.router.add_get("/v1/openapi.json", describe)
    return app


def give_up_on_dead_peers(request: web.Request, heartbeat_s: float) -> None:
    """Has the kernel end the connection when what was sent is not confirmed for that long (Linux)."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    if sock is not None and hasattr(socket_module, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_USER_TIMEOUT, int(1500 * heartbeat_s))


def limits_of(worker: Worker) -> int:
    """The largest body, in bytes."""
    return worker.config.limits.message_bytes
