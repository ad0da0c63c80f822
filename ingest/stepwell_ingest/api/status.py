"""The handlers for operators: health, readiness, metrics and status of one worker."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web

from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.open_streams import OpenStreams
from stepwell_ingest.api.query import Query
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.read.sizes import Sizes
from stepwell_ingest.write.admission import Gate, Room
from stepwell_ingest.write.batcher import Batcher


class ReadinessServices(Protocol):
    """The services that readiness needs."""

    @property
    def gate(self) -> Gate: ...
    @property
    def checks(self) -> tuple[Callable[[], None], ...]: ...
    @property
    def check_postgres(self) -> Callable[[], Awaitable[None]]: ...


class LoadServices(Protocol):
    """The services that the metrics need."""

    @property
    def metrics(self) -> Metrics: ...
    @property
    def room(self) -> Room: ...
    @property
    def batcher(self) -> Batcher: ...
    @property
    def streams(self) -> OpenStreams: ...


class StatusServices(LoadServices, Protocol):
    """The services that the status needs."""

    @property
    def started_at(self) -> float: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def sizes(self) -> Sizes: ...


async def healthz(services: object, request: web.Request, query: Query) -> web.Response:
    """Answers 200 as long as the process answers at all."""
    return json_response({"status": "alive"})


async def readyz(services: ReadinessServices, request: web.Request, query: Query) -> web.Response:
    """Answers 200 when frames are accepted and stored, all background loops run, and Postgres answers.

    Raises:
        UnavailableError: one of these conditions does not hold.
    """
    for check in services.checks:  # before the gate, which a loop that has ended closes
        check()
    services.gate.check_open()
    await services.check_postgres()
    return json_response({"status": "ready"})


async def metrics(services: LoadServices, request: web.Request, query: Query) -> web.Response:
    """Answers with the counters and the current gauges, for Prometheus."""
    services.metrics.streams.set(len(services.streams))
    services.metrics.held_bytes.set(services.room.held_bytes)
    services.metrics.waiting.set(services.batcher.waiting)
    return web.Response(body=services.metrics.render(), content_type="text/plain", charset="utf-8")


async def status(services: StatusServices, request: web.Request, query: Query) -> web.Response:
    """Answers with the state of a worker and of the stored history, which `stepwell status` shows.

    `storage` is null when Postgres does not answer in time. With `sizes`, the answer includes the largest runs and
    projects.
    """
    storage = await services.sizes.storage()
    largest: dict[str, Any] | None = None
    if query["sizes"] and storage is not None:
        largest = await services.sizes.largest()
    return json_response(
        {
            "started_at": services.started_at,
            "draining": services.gate.closed,
            "streams": len(services.streams),
            "held_bytes": services.room.held_bytes,
            "held_bytes_limit": services.room.limit_bytes,
            "submissions_waiting": services.batcher.waiting,
            "storage": storage,
            **(largest or {}),
        }
    )
