"""The handler of GET /v1/stream: the handshake, the limit of connections, and their registration.

Hands the open connection to `stream`, which serves it.
"""

from __future__ import annotations

import socket as socket_module
from typing import Protocol

from aiohttp import web

from stepwell import wire
from stepwell.errors import OverloadedError
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.heads import Connection
from stepwell_ingest.api.open_streams import OpenStreams
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.stream import StreamHandler, StreamServices
from stepwell_ingest.write.admission import Gate


class WebSocketServices(StreamServices, Protocol):
    """The services that opening a connection needs."""

    @property
    def gate(self) -> Gate: ...
    @property
    def streams(self) -> OpenStreams: ...


async def open_stream(services: WebSocketServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Serves frames over a WebSocket until either side ends it.

    Raises:
        UnavailableError: the server is stopping.
        OverloadedError: the server has `Limits.streams` connections.
    """
    services.gate.check_open(hint="the SDK reconnects automatically")
    limits, timeouts = services.config.limits, services.config.timeouts
    if len(services.streams) >= limits.streams:
        raise OverloadedError(
            "stream limit reached",
            retry_after_s=timeouts.retry_after_s,
            detail=f"{limits.streams} open streams",
            hint="start more workers, or another server on the same Postgres",
        )
    # Without aiohttp's heartbeat, which would declare a peer dead when its pong waits behind frames that have no room
    # yet.
    socket = web.WebSocketResponse(max_msg_size=wire.MAX_MESSAGE_BYTES + 1, compress=False)
    await socket.prepare(request)
    if isinstance(request.protocol, Connection):
        request.protocol.upgrade()
    _give_up_on_dead_peers(request, timeouts.heartbeat_s)
    stream = StreamHandler(services, request[PRINCIPAL], socket)
    services.streams.add(stream)
    if services.gate.closed:  # closed since the handshake, so the drain has not seen this stream
        stream.stop()
    try:
        await stream.run()
    finally:
        services.streams.discard(stream)
    return socket


def _give_up_on_dead_peers(request: web.Request, heartbeat_s: float) -> None:
    """Makes the kernel end the connection when sent data stays unconfirmed for 1.5 heartbeats (Linux)."""
    sock = None if request.transport is None else request.transport.get_extra_info("socket")
    if sock is not None and hasattr(socket_module, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket_module.IPPROTO_TCP, socket_module.TCP_USER_TIMEOUT, int(1500 * heartbeat_s))
