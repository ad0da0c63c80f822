"""The handler of live views: sends the events of `read.live` as server-sent events, which browsers and curl understand.

Each event's id is the cursor after it, so a client that reconnects with Last-Event-ID, as browsers do automatically,
continues after the last event that it received completely.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any, Protocol

import orjson
from aiohttp import web

from stepwell.errors import Error
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import ReadServices, named_run
from stepwell_ingest.api.replies import page_as_json
from stepwell_ingest.read.deltas import Event
from stepwell_ingest.read.live import Live

#: How long a browser waits before it reconnects.
_RETRY = b"retry: 1000\n\n"


class LiveServices(ReadServices, Protocol):
    """The services that live views need."""

    @property
    def live(self) -> Live: ...


async def live(services: LiveServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    cursor = request.headers.get("Last-Event-ID") or query["cursor"]
    response: web.StreamResponse | None = None
    async with aclosing(services.live.follow(row, query["keys"], cursor)) as events:
        try:
            async for event in events:
                if response is None:
                    response = await begin_events(request)
                async with asyncio.timeout(services.reads.limits.send_s):
                    await response.write(b": still here\n\n" if event is None else _encode(event))
        except Error as error:
            if response is None:
                raise
            await response.write(event_text(b"error", orjson.dumps(error.as_dict())))
    return response or await begin_events(request)


async def begin_events(request: web.Request) -> web.StreamResponse:
    """The head of an answer with server-sent events."""
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    await response.write(_RETRY)
    return response


def _encode(event: Event) -> bytes:
    about: dict[str, Any] = dict(event.about)
    if event.page is not None:
        about["rows"] = [orjson.Fragment(row) for row in page_as_json(event.page)]
    return b"id: " + event.cursor.encode().encode() + b"\n" + event_text(event.kind.encode(), orjson.dumps(about))


def event_text(kind: bytes, data: bytes) -> bytes:
    """One event without an id; `data` is JSON."""
    # orjson writes no newlines, which would end the field.
    return b"event: " + kind + b"\ndata: " + data + b"\n\n"
