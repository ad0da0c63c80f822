"""The routes that the pages read beside those of `read_routes`: projects, charts, and what a run says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import orjson
from aiohttp import web

from stepwell.errors import Error, UsageError
from stepwell.wire import columns
from stepwell_ingest.api.charts import charts
from stepwell_ingest.api.description import Operation, Parameter
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.events import begin_events, event_text
from stepwell_ingest.api.reads import Answer, Query, Sources, named_run, split_path
from stepwell_ingest.config import Reads
from stepwell_ingest.read.about import read_console, read_files, read_list, read_metadata
from stepwell_ingest.read.deltas import Event
from stepwell_ingest.read.projects import list_projects, metrics_of_runs
from stepwell_ingest.read.runs import find_run

_RUN = "/v1/runs/{entity}/{project}/{run}"
_ERRORS = (400, 404, 503)
_PATH = Parameter("path", "entity/project", required=True)
#: Of how many runs one request may read metrics, or follow what happens.
_MAX_RUNS = 100


def workspace_routes(limits: Reads) -> list[tuple[Operation, Answer]]:
    """Each route and who answers it."""
    runs = Parameter("runs", "the name of a run; may come several times", "texts", maximum=_MAX_RUNS)
    limit = Parameter("limit", "rows in one answer", "integer", default=1000, minimum=1, maximum=limits.objects)
    cursor = Parameter("cursor", "`next` of the answer before this one")
    return [
        (Operation("GET", "/v1/projects", "The projects of this server.", errors=(400, 503)), projects),
        (
            Operation(
                "GET",
                "/v1/metrics",
                "The names of the metrics of some runs, or of the newest ones, and which run has which.",
                (_PATH, runs),
                errors=_ERRORS,
            ),
            metrics,
        ),
        (
            Operation(
                "POST",
                "/v1/charts",
                "Metrics of several runs in buckets, for all charts of a page: docs/column-format.md.",
                answers=(columns.CONTENT_TYPE, "application/json"),
                errors=_ERRORS,
                body="application/json",
            ),
            charts,
        ),
        (
            Operation(
                "GET",
                "/v1/live",
                "What happens in several runs, as server-sent events without points: docs/reading.md.",
                (_PATH, Parameter("runs", runs.about, "texts", required=True, maximum=_MAX_RUNS)),
                ("text/event-stream",),
                _ERRORS,
            ),
            live_runs,
        ),
        *(
            (Operation("GET", f"{_RUN}/{name}", about, (limit,), errors=_ERRORS), _listing(name))
            for name, about in (
                ("writers", "Its processes, and how far each is stored."),
                ("rejections", "Frames of it that were refused, the newest first."),
                ("alerts", "Its alerts, the newest first."),
            )
        ),
        (
            Operation("GET", f"{_RUN}/metadata", "Where its processes come from.", (limit,), errors=_ERRORS),
            metadata,
        ),
        (
            Operation("GET", f"{_RUN}/files", "The files that it has saved.", (limit, cursor), errors=_ERRORS),
            files,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/console",
                "The end of what it has printed, or what stands before that.",
                (limit, Parameter("cursor", "`earlier` of another answer")),
                errors=_ERRORS,
            ),
            console,
        ),
    ]


async def projects(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    return json_response(await list_projects(sources.database))


async def metrics(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    entity, project = split_path(query["path"])
    return json_response(await metrics_of_runs(sources.database, entity, project, query["runs"], _MAX_RUNS))


def _listing(name: str) -> Answer:
    async def answer(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
        row = await named_run(request, sources.database)
        return json_response(await read_list(sources.database, row, name, query["limit"]))

    return answer


async def metadata(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    row = await named_run(request, sources.database)
    return json_response(await read_metadata(sources.database, row, query["limit"]))


async def files(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    row = await named_run(request, sources.database)
    return json_response(await read_files(sources.database, row, query["limit"], query["cursor"]))


async def console(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    row = await named_run(request, sources.database)
    return json_response(await read_console(sources.database, row, query["limit"], query["cursor"]))


async def live_runs(request: web.Request, query: Query, sources: Sources) -> web.StreamResponse:
    """Each event is one of `…/live` without keys, with the run's name beside it, and without an id.

    A browser has six connections to a server, so a page follows all its runs on one. Other routes tell what is new.
    """
    entity, project = split_path(query["path"])
    names = query["runs"]
    if not names:
        raise UsageError("the parameter 'runs' is missing", hint="the runs to follow")
    response: web.StreamResponse | None = None
    async with aclosing(_follow_all(sources, entity, project, names)) as events:
        async for name, event in events:
            if response is None:
                response = await begin_events(request)
            text = b": still here\n\n"
            if isinstance(event, Error):
                text = event_text(b"error", orjson.dumps({"run": name, **event.as_dict()}))
            elif event is not None:
                text = event_text(event.kind.encode(), orjson.dumps({"run": name, **event.about}))
            async with asyncio.timeout(sources.database.limits.send_s):
                await response.write(text)
    return response or await begin_events(request)


async def _follow_all(
    sources: Sources, entity: str, project: str, names: Sequence[str]
) -> AsyncGenerator[tuple[str, Event | Error | None], None]:
    """Events of all runs in the order in which they happen; an error ends the following of its run only."""
    # Of one place, so that a client that takes nothing holds the runs back: what they miss comes as one event.
    happened: asyncio.Queue[tuple[str, Event | Error | None]] = asyncio.Queue(1)

    async def follow(name: str) -> None:
        try:
            row = await find_run(sources.database, entity, project, name)
            async with aclosing(sources.live.follow(row, (), None)) as events:
                async for event in events:
                    await happened.put((name, event))
        except Error as error:
            await happened.put((name, error))

    tasks = [asyncio.create_task(follow(name)) for name in names]
    try:
        while not all(task.done() for task in tasks) or not happened.empty():
            coming = asyncio.create_task(happened.get())
            await asyncio.wait([coming, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                yield coming.result()
            else:
                coming.cancel()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
