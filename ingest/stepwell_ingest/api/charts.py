"""The handler of `POST /v1/charts`: all charts that a page shows, in one answer, each sent as soon as it is read.

Receives JSON: {"charts": [{"key", "runs": [name, …], "buckets", "min_step", "max_step"}, …], "times": false}. Sends
batches of columns (docs/column-format.md), one for each chart and run, in the requested order. When a run or chart
cannot be read, the head of its batch holds the error, and the others are sent all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from stepwell.errors import Error, NotFoundError, UsageError
from stepwell.wire import MAX_STEP
from stepwell.wire.columns import Column
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import ReadServices
from stepwell_ingest.api.replies import Reply, batch_as_json
from stepwell_ingest.config import Reads
from stepwell_ingest.read.charts import read_chart
from stepwell_ingest.read.fields import unknown_metrics
from stepwell_ingest.read.projects import run_ids

_BUCKETS = 210
#: About how many bytes a bucket takes in an answer.
_SAMPLE_BYTES = 200


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of a request.

    Attributes:
        key: the metric.
        runs: ids of runs.
        buckets: the maximum number of buckets for each run.
        min_step, max_step: bounds of the steps, min_step ≤ step < max_step; None: no bound.
    """

    key: str
    runs: tuple[str, ...]
    buckets: int = _BUCKETS
    min_step: int | None = None
    max_step: int | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parsed body of a request.

    Attributes:
        charts: the charts, in the order of the answer.
        times: whether to send the time of each bucket's first point.
    """

    charts: tuple[Chart, ...]
    times: bool = False


async def charts(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    database = services.reads
    entity, project = query["path"]
    wanted = parse_charts(await request.read(), database.limits)
    names = dict.fromkeys(name for chart in wanted.charts for name in chart.runs)
    ids = await run_ids(database, entity, project, list(names))
    reply = Reply(request, database.limits)
    empty = {chart.key for chart in wanted.charts if not ids.keys().isdisjoint(chart.runs)}
    try:
        for number, chart in enumerate(wanted.charts):
            for name in chart.runs:
                columns: list[Column] = []
                rows = 0
                head: dict[str, Any] = {}
                try:
                    if name not in ids:
                        raise NotFoundError(
                            f"there is no run {name!r}", hint="it was deleted, or never existed in this project"
                        )
                    async with database.snapshot() as connection:
                        columns, rows, head = await read_chart(
                            *(connection, database, ids[name], chart.key),
                            *(chart.buckets, chart.min_step, chart.max_step),
                            with_times=wanted.times,
                        )
                except Error as error:
                    head = {"error": error.as_dict()}
                if rows:
                    empty.discard(chart.key)
                batch = (columns, rows, {"kind": "chart", "chart": number, "run": name, "key": chart.key, **head})
                async with database.room(_SAMPLE_BYTES * max(1, rows)):
                    await reply.send(batch, batch_as_json(batch))
        unknown = await unknown_metrics(database, list(ids.values()), sorted(empty)) if empty else {}
        return await reply.end({"end": True} | ({"unknown": unknown} if unknown else {}))
    except Error as error:
        return await reply.fail(error)


def parse_charts(body: bytes, limits: Reads) -> Wanted:
    """Parses the body of a request.

    Raises:
        UsageError: the body is not JSON, or has an invalid field, which the error names.
    """
    try:
        given = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UsageError("the body must be JSON", detail=str(error)) from error
    asked = given.get("charts") if isinstance(given, dict) else None
    if not isinstance(asked, list) or not all(isinstance(item, dict) for item in asked):
        raise UsageError("the body must have a list of charts", hint='{"charts": [{"key": "loss", "runs": ["run-1"]}]}')
    found = tuple(_chart(item, limits) for item in asked)
    if sum(len(chart.runs) for chart in found) > limits.keys:
        raise UsageError(f"one request may ask for {limits.keys} series at most", hint="ask in several requests")
    return Wanted(found, given.get("times") is True)


def _chart(item: dict[str, Any], limits: Reads) -> Chart:
    key, runs = item.get("key"), item.get("runs")
    if not isinstance(key, str) or not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
        raise UsageError("a chart must have a key and a list of runs", detail=repr(item)[:120])
    return Chart(
        key,
        tuple(dict.fromkeys(runs)),
        _integer(item, "buckets", 1, limits.buckets) or _BUCKETS,
        _integer(item, "min_step", 0, MAX_STEP + 1),
        _integer(item, "max_step", 0, MAX_STEP + 1),
    )


def _integer(item: dict[str, Any], name: str, low: int, high: int) -> int | None:
    """The integer in a field, which may be a string of digits, because JavaScript's numbers cannot hold every step;
    None: the field is missing."""
    value = item.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        value = int(value)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name!r} must be a whole number from {low} to {high}", detail=repr(value)[:80])
    return value
