"""The handlers that pages use besides those of `reads`: projects, metrics of several runs, and lists about one run.

`routes` lists their parameters.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import orjson
from aiohttp import web

from stepwell.errors import Error
from stepwell_ingest.access.rights import Scope
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.events import LiveServices, begin_events, event_text
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import ReadServices, named_run
from stepwell_ingest.api.replies import answer_json
from stepwell_ingest.api.route import Handler
from stepwell_ingest.read.about import read_console, read_files, read_list, read_metadata
from stepwell_ingest.read.deltas import Event
from stepwell_ingest.read.projects import list_projects, metrics_of_runs
from stepwell_ingest.read.runs import find_run

#: The most runs whose metrics, or whose events, one request may read.
MAX_RUNS = 100


async def projects(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    return await answer_json(request, services.reads, lambda: list_projects(services.reads, request[PRINCIPAL].scope))


async def metrics(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    entity, project = query["path"]
    wanted = (entity, project, query["runs"], MAX_RUNS)
    return await answer_json(request, services.reads, lambda: metrics_of_runs(services.reads, *wanted))


def listing(name: str) -> Handler:
    """The handler of one of the lists that `read_list` reads."""

    async def answer(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
        row = await named_run(request, services.reads)
        return await answer_json(request, services.reads, lambda: read_list(services.reads, row, name, query["limit"]))

    return answer


async def metadata(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    return await answer_json(request, services.reads, lambda: read_metadata(services.reads, row, query["limit"]))


async def files(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    return await answer_json(
        request, services.reads, lambda: read_files(services.reads, row, query["limit"], query["cursor"])
    )


async def console(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    return await answer_json(
        request, services.reads, lambda: read_console(services.reads, row, query["limit"], query["cursor"])
    )


async def live_runs(services: LiveServices, request: web.Request, query: Query) -> web.StreamResponse:
    """Sends the events of several runs: those of `…/live` without keys, each with the run's id in `run`, and without an
    event id.

    A browser opens at most six connections to a server, so a page follows all its runs on one. The events contain no
    values; the page reads them from other routes.
    """
    entity, project = query["path"]
    names = query["runs"]
    response: web.StreamResponse | None = None
    async with aclosing(_follow_all(services, entity, project, names, request[PRINCIPAL].scope)) as events:
        async for name, event in events:
            if response is None:
                response = await begin_events(request)
            text = b": still here\n\n"
            if isinstance(event, Error):
                text = event_text(b"error", orjson.dumps({"run": name, **event.as_dict()}))
            elif event is not None:
                text = event_text(event.kind.encode(), orjson.dumps({"run": name, **event.about}))
            async with asyncio.timeout(services.reads.limits.send_s):
                await response.write(text)
    return response or await begin_events(request)


async def _follow_all(
    services: LiveServices, entity: str, project: str, names: Sequence[str], scope: Scope
) -> AsyncGenerator[tuple[str, Event | Error | None], None]:
    """Yields the events of all runs in the order in which they happen; an error ends the events of its run only."""
    # With one slot, a slow client holds the runs back; the changes that it misses then arrive as one event.
    happened: asyncio.Queue[tuple[str, Event | Error | None]] = asyncio.Queue(1)

    async def follow(name: str) -> None:
        try:
            row = await find_run(services.reads, entity, project, name, scope)
            async with aclosing(services.live.follow(row, (), None)) as events:
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
