"""The handlers that read: each finds its run, calls `read`, and answers. `routes` lists their parameters.

An answer of many pages is sent while it is read; an error after the first byte becomes the last batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from typing import Any, Protocol

from aiohttp import web

from stepwell.errors import Error, UsageError
from stepwell_ingest.api.access import PRINCIPAL
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.replies import (
    Reply,
    ahead,
    answer_json,
    answer_members,
    batch_as_json,
    page_as_json,
    page_batch,
)
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.filters import compile_filter, parse_order
from stepwell_ingest.read.groups import group_runs
from stepwell_ingest.read.history import ALL_STEPS, RESERVED, Wanted, Window, read_pages
from stepwell_ingest.read.objects import object_keys, read_objects
from stepwell_ingest.read.rows import Page
from stepwell_ingest.read.runs import RunRow, describe_run, find_run, list_runs, metric_names, summary, unknown_keys
from stepwell_ingest.read.sampling import Sampler
from stepwell_ingest.read.series import read_buckets
from stepwell_ingest.read.standing import Standing
from stepwell_ingest.read.system import read_system, sample_system


class ReadServices(Protocol):
    """The services that the routes that read need."""

    @property
    def reads(self) -> Database: ...


async def runs(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    entity, project = query["path"]
    where, order = compile_filter(query["filters"]), parse_order(query["order"])
    page = (query["limit"], query["cursor"], query["summary"], request[PRINCIPAL].scope)
    return await answer_json(request, database, lambda: list_runs(database, entity, project, where, order, *page))


async def groups(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    entity, project = query["path"]
    where, order = compile_filter(query["filters"]), parse_order(query["order"])
    wanted = (where, query["by"], query["mean"], order, query["limit"])
    return await answer_json(request, database, lambda: group_runs(database, entity, project, *wanted))


async def run(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    row = await named_run(request, database)
    links = {
        name: f"{request.path}/{name}"
        for name in ("metrics", "summary", "series", "history", "objects", "system", "live")
    }

    async def read() -> object:
        return {**await describe_run(database, row), "links": links}

    return await answer_json(request, database, read)


async def metrics(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    return await answer_json(request, services.reads, lambda: metric_names(Standing(services.reads, row.run_id)))


async def run_summary(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    standing, room = Standing(services.reads, row.run_id), services.reads.limits.answer_bytes
    return await answer_members(request, services.reads, lambda after: summary(standing, room, after))


async def objects(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    row = await named_run(request, database)
    if query["key"] is None:
        return await answer_json(request, database, lambda: object_keys(database, row))
    below = ALL_STEPS if query["max_step"] is None else query["max_step"]
    wanted = (query["key"], query["min_step"], below, query["limit"], query["cursor"])

    async def read() -> object:
        answer = await read_objects(database, row, *wanted)
        unknown = {} if answer["values"] else await _unknown(database, row, [query["key"]], set())
        return {**answer, **unknown}

    return await answer_json(request, database, read)


async def system(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    row = await named_run(request, database)
    if query["samples"] is None:
        page = (query["limit"], query["cursor"])
        return await answer_json(request, database, lambda: read_system(database, row, *page))
    if query["cursor"] is not None:
        raise UsageError("'samples' and 'cursor' are mutually exclusive", hint="a sample has only one page")
    return await answer_json(request, database, lambda: sample_system(database, row, query["samples"]))


async def series(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    row = await named_run(request, database)
    reply = Reply(request, database.limits)
    if query["buckets"] is None:
        wanted = Wanted(query["keys"], False, query["min_step"], query["max_step"], query["times"] == "true")
        return await _send_pages(reply, database, row, wanted, None)
    try:
        batches = read_buckets(database, row, query["keys"], query["buckets"], query["min_step"], query["max_step"])
        seen = set[str]()
        async with database.room(database.limits.answer_bytes), aclosing(batches):
            async for batch in batches:
                _, rows, head = batch
                if rows:
                    seen.add(head["key"])
                await reply.send(batch, batch_as_json(batch))
        return await reply.end({"end": True, **await _unknown(database, row, query["keys"], seen)})
    except Error as error:
        return await reply.fail(error)


async def history(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    row = await named_run(request, database)
    keys = query["keys"] or None
    times = keys is None or not RESERVED.isdisjoint(keys) or query["times"] == "true"
    wanted = Wanted(keys, True, query["min_step"], query["max_step"], times)
    reply = Reply(request, database.limits)
    if query["samples"] is not None:
        return await _send_sampled(reply, database, row, wanted, query["samples"])
    return await _send_pages(reply, database, row, wanted, query["limit"])


async def _send_pages(
    reply: Reply, database: Database, row: RunRow, wanted: Wanted, limit: int | None
) -> web.StreamResponse:
    """Sends all rows, or whole steps until there are `limit` rows; the last batch says where to continue."""
    sent, next_step, seen = 0, None, set[str]()
    window = Window(database)
    pages = read_pages(database, row, wanted, limit, window)
    try:
        async with aclosing(pages), aclosing(ahead(pages)) as following:
            async for page in following:
                if limit is not None and sent + len(page.steps) >= limit:
                    page, next_step = _cut(page, limit - sent, at_least_one=not sent)
                if len(page.steps):
                    await reply.send(page_batch(page), page_as_json(page))
                window.sent()
                sent += len(page.steps)
                seen.update(column.name for column in page.columns)
                if next_step is not None:
                    break
        if next_step is not None and next_step >= wanted.end(row):
            next_step = None
        unknown = await _unknown(database, row, wanted.keys, seen) if next_step is None else {}
        return await reply.end({"end": True, "rows_sent": sent, "next_step": next_step, "sampled": None, **unknown})
    except Error as error:
        return await reply.fail(error)
    finally:
        window.close()


def _cut(page: Page, rows: int, *, at_least_one: bool) -> tuple[Page, int]:
    """The first steps of a page that fit into `rows` rows, and the step at which to continue. A step is never split.

    Args:
        at_least_one: keep the first step even when it has more rows.
    """
    next_step = int(page.steps[rows]) if rows < len(page.steps) else page.next_step
    kept = page.steps < next_step
    if at_least_one and not kept.any():
        next_step += 1
        kept = page.steps < next_step
    return page.select(kept), next_step


async def _send_sampled(
    reply: Reply, database: Database, row: RunRow, wanted: Wanted, samples: int
) -> web.StreamResponse:
    """Sends about `samples` rows, or all rows if there are no more."""
    count = len(wanted.keys) if wanted.keys else 0
    if not count:
        count = len((await metric_names(Standing(database, row.run_id)))["metrics"])
    sampler = Sampler(samples, wanted.end_of_points(row), count)
    seen = set[str]()
    window = Window(database)
    pages = read_pages(database, row, wanted, window=window)
    try:
        async with aclosing(pages), aclosing(ahead(pages)) as following:
            async for page in following:
                chosen = page.select(sampler.choose(page))
                await reply.send(page_batch(chosen), page_as_json(chosen))
                window.sent()
                seen.update(column.name for column in page.columns)
        unknown = await _unknown(database, row, wanted.keys, seen)
        return await reply.end(
            {"end": True, "rows_sent": sampler.kept, "next_step": None, "sampled": sampler.left_out(), **unknown}
        )
    except Error as error:
        return await reply.fail(error)
    finally:
        window.close()


async def _unknown(database: Database, row: RunRow, keys: Iterable[str] | None, seen: set[str]) -> dict[str, Any]:
    """{"unknown": {key: similar names}} for keys that the run has never logged; {} if there are no such keys."""
    missing = [key for key in keys or () if key not in seen and key not in RESERVED]
    found = await unknown_keys(Standing(database, row.run_id), missing) if missing else {}
    return {"unknown": found} if found else {}


async def named_run(request: web.Request, database: Database) -> RunRow:
    """The run that the path names.

    Raises:
        NotFoundError: there is no such run.
    """
    names = request.match_info
    return await find_run(database, names["entity"], names["project"], names["run"], request[PRINCIPAL].scope)
