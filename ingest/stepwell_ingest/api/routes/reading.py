"""The routes that read runs, for programs and for the web pages."""

from __future__ import annotations

from dataclasses import replace

from stepwell.wire import columns
from stepwell_ingest.access.rights import Right
from stepwell_ingest.api import layouts, reads, workspace
from stepwell_ingest.api.charts import charts
from stepwell_ingest.api.events import live
from stepwell_ingest.api.query import Parameter
from stepwell_ingest.api.route import Handler, Route
from stepwell_ingest.api.sql import sql
from stepwell_ingest.config import Reads

_RUN = "/v1/runs/{entity}/{project}/{run}"
_DATA = (columns.CONTENT_TYPE, "application/json")
_MIN_STEP = Parameter("min_step", "the first step", "integer", default=0)
_MAX_STEP = Parameter("max_step", "the step before which to stop", "integer")
_PATH = Parameter("path", "entity/project", "project", required=True)
_CURSOR = Parameter("cursor", "`next` of the previous answer")


def reading(limits: Reads) -> tuple[Route, ...]:
    """Runs, groups, histories and objects; `limits` bounds their parameters."""
    keys = Parameter("keys", "a key, as it was logged; may be repeated", "texts", maximum=limits.keys)
    times = Parameter("times", "include the time of each row", default="false", choices=("true", "false"))
    limit = Parameter("limit", "rows in one answer", "integer", default=1000, minimum=1, maximum=limits.objects)
    path = _PATH
    filters = Parameter("filters", 'MongoDB operators as JSON: {"config.lr": {"$gt": 0.001}}')
    return (
        _read(
            "/v1/runs",
            reads.runs,
            "Runs of a project that match a filter.",
            path,
            filters,
            Parameter("order", "+ or - and a field, config.<key> or summary_metrics.<key>", default="+created_at"),
            Parameter("limit", "runs in one answer", "integer", default=50, minimum=1, maximum=limits.runs),
            _CURSOR,
            Parameter("summary", "a key whose last value each run includes; may be repeated", "texts", maximum=100),
        ),
        _read(
            "/v1/groups",
            reads.groups,
            "The runs of a project that match a filter, in groups: the number of runs in each group, and means.",
            path,
            filters,
            Parameter("by", "a field by which to group the runs; may be repeated", "texts", True, maximum=5),
            Parameter("mean", "a field whose mean each group includes; may be repeated", "texts", maximum=100),
            Parameter(
                "order",
                "+ or - and created_at, a field of `by`, or another field to sort by its mean",
                default="-created_at",
            ),
            Parameter("limit", "groups in one answer", "integer", default=100, minimum=1, maximum=limits.runs),
        ),
        _read(_RUN, reads.run, "A run: its state, config, counts and links."),
        _read(f"{_RUN}/metrics", reads.metrics, "The names of a run's metrics, and how many each section has."),
        _read(f"{_RUN}/summary", reads.run_summary, "The summary of a run: one value for each key."),
        _read(
            f"{_RUN}/series",
            reads.series,
            "All points of some metrics, or buckets that keep the extremes of each metric.",
            replace(keys, required=True),
            _MIN_STEP,
            _MAX_STEP,
            Parameter(
                "buckets",
                "the maximum number of buckets of each metric; without it, all points are sent",
                "integer",
                minimum=1,
                maximum=limits.buckets,
            ),
            times,
            answers=_DATA,
        ),
        _read(
            f"{_RUN}/history",
            reads.history,
            "Rows, one for each step and writer: all rows, or those that have all of the given keys.",
            keys,
            _MIN_STEP,
            _MAX_STEP,
            Parameter("limit", "the maximum number of rows; `next_step` says where to continue", "integer", minimum=1),
            Parameter(
                "samples",
                "keep about this many rows; the answer says what was left out",
                "integer",
                minimum=1,
                maximum=limits.samples,
            ),
            times,
            answers=_DATA,
        ),
        _read(
            f"{_RUN}/objects",
            reads.objects,
            "The values of a key that are not numbers; without a key, the keys that have such values.",
            Parameter("key", "the key, as it was logged"),
            _MIN_STEP,
            _MAX_STEP,
            replace(limit, about="values in one answer"),
            _CURSOR,
        ),
        _read(
            f"{_RUN}/system",
            reads.system,
            "System metrics of a run's hosts, one row per measurement, ordered by time.",
            limit,
            Parameter(
                "samples",
                "send about this many of all rows, instead of pages; the answer says what was left out",
                "integer",
                minimum=1,
                maximum=limits.objects,
            ),
            _CURSOR,
        ),
        _read(
            f"{_RUN}/live",
            live,
            "The events of a run, as server-sent events: docs/reading.md.",
            replace(keys, about="a key whose new points are sent; without a key, events only report progress"),
            Parameter("cursor", "the id of the last event received; the header Last-Event-ID means the same"),
            answers=("text/event-stream",),
        ),
    )


def for_workspace(limits: Reads) -> tuple[Route, ...]:
    """What mainly the web pages read; `limits` bounds the parameters."""
    path = _PATH
    runs = Parameter("runs", "the id of a run; may be repeated", "texts", maximum=workspace.MAX_RUNS)
    limit = Parameter("limit", "rows in one answer", "integer", default=1000, minimum=1, maximum=limits.objects)
    return (
        _read("/v1/projects", workspace.projects, "The projects of this server."),
        _read("/v1/layout", layouts.layout, "The layout of a project's charts, and its saved views.", path),
        _read(
            "/v1/metrics",
            workspace.metrics,
            "The metrics of some runs, or of the newest ones, and which runs have them.",
            path,
            runs,
        ),
        Route(
            "POST",
            "/v1/charts",
            Right.READ,
            charts,
            "Metrics of several runs in buckets, for all charts of a page: docs/column-format.md.",
            (path,),
            answers=_DATA,
            errors=(400, 503),
            body="application/json",
        ),
        _read(
            "/v1/live",
            workspace.live_runs,
            "The events of several runs, as server-sent events without points: docs/reading.md.",
            path,
            replace(runs, required=True),
            answers=("text/event-stream",),
        ),
        _read(
            f"{_RUN}/writers",
            workspace.listing("writers"),
            "The writers of a run, with the last stored step of each.",
            limit,
        ),
        _read(
            f"{_RUN}/rejections",
            workspace.listing("rejections"),
            "The rejections of a run, newest first.",
            limit,
        ),
        _read(f"{_RUN}/alerts", workspace.listing("alerts"), "The alerts of a run, newest first.", limit),
        _read(
            f"{_RUN}/metadata",
            workspace.metadata,
            "The metadata of the processes of a run.",
            limit,
        ),
        _read(f"{_RUN}/files", workspace.files, "The files that a run has saved.", limit, _CURSOR),
        _read(
            f"{_RUN}/console",
            workspace.console,
            "The last console lines of a run, or those before a cursor.",
            limit,
            Parameter("cursor", "`earlier` of a previous answer"),
        ),
    )


def of_sql() -> Route:
    """SQL over HTTP."""
    return Route(
        "POST",
        "/v1/sql",
        Right.QUERY,
        sql,
        'The rows of one SQL statement that only reads, {"query": "SELECT …"}: docs/sql.md.',
        (
            Parameter(
                "format",
                "the format of the answer; default: what the Accept header names, else json",
                choices=("json", "csv", "arrow", "parquet"),
            ),
        ),
        answers=(
            *("application/json", "text/csv"),
            *("application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"),
        ),
        errors=(400, 503),
        body="application/json",
    )


def _read(
    path: str, handler: Handler, about: str, *parameters: Parameter, answers: tuple[str, ...] = ("application/json",)
) -> Route:
    return Route("GET", path, Right.READ, handler, about, parameters, answers=answers, errors=(400, 404, 409, 503))
