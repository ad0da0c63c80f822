"""The route table: every route of the server, with its parameters, the right that it needs, and its handler.

The only place that registers routes. `app` serves the table, and `openapi` describes it.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from stepwell.wire import columns
from stepwell_ingest.access.rights import Right
from stepwell_ingest.api import layouts, reads, status, workspace
from stepwell_ingest.api.blobs import get_blob, head_blob, put_blob
from stepwell_ingest.api.charts import charts
from stepwell_ingest.api.edits import delete_run, patch_run
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.events import live
from stepwell_ingest.api.frames import post_attach, post_frames, post_sessions
from stepwell_ingest.api.openapi import openapi
from stepwell_ingest.api.pages import asset, document
from stepwell_ingest.api.query import Parameter, Query
from stepwell_ingest.api.route import Handler, Route
from stepwell_ingest.api.sign_in import delete_sign_in, get_sign_in, post_sign_in
from stepwell_ingest.api.sql import sql
from stepwell_ingest.api.websocket import open_stream
from stepwell_ingest.config import Reads

_RUN = "/v1/runs/{entity}/{project}/{run}"
_BLOB = "/v1/blobs/{sha256}"
_DATA = (columns.CONTENT_TYPE, "application/json")
_BYTES = "application/octet-stream"
_HTML = ("text/html",)
_MIN_STEP = Parameter("min_step", "the first step", "integer", default=0)
_MAX_STEP = Parameter("max_step", "the step before which to stop", "integer")
_PATH = Parameter("path", "entity/project", "project", required=True)
_CURSOR = Parameter("cursor", "`next` of the previous answer")
#: Addresses of pages. All return the same document, whose code tells them apart (workspace/src/model/place.ts).
PAGES = (
    "/",
    "/{entity}/{project}",
    "/{entity}/{project}/runs",
    "/{entity}/{project}/compare",
    "/{entity}/{project}/sql",
    "/{entity}/{project}/runs/{run}",
    "/{entity}/{project}/runs/{run}/{tab}",
)


def routes(limits: Reads) -> tuple[Route, ...]:
    """All routes. `limits` bounds the parameters of the routes that read."""
    table = (*_writing(), *_editing(), *_files(), *_reading(limits), _sql(), *_workspace(limits))
    table += (*_signing_in(), *_operating())

    async def describe(services: object, request: web.Request, query: Query) -> web.Response:
        return json_response(described)

    table += (_page("/v1/openapi.json", Right.PUBLIC, describe, "This document."),)
    described = openapi(table)
    return table


def _writing() -> tuple[Route, ...]:
    return (
        Route(
            "GET",
            "/v1/stream",
            Right.WRITE,
            open_stream,
            "A WebSocket that receives frames: docs/wire-format.md.",
            ignores_unknown=True,
            success=101,
            errors=(503,),
        ),
        Route(
            "POST",
            "/v1/attach",
            Right.WRITE,
            post_attach,
            "Opens a session that logs to a run.",
            ignores_unknown=True,
            body="application/json",
            errors=(400, 409, 410, 413, 422, 503),
        ),
        Route(
            "POST",
            "/v1/sessions",
            Right.WRITE,
            post_sessions,
            "Says for each given session how many frames are stored.",
            ignores_unknown=True,
            body="application/json",
            errors=(400, 413, 422, 503),
        ),
        Route(
            "POST",
            "/v1/frames",
            Right.WRITE,
            post_frames,
            "Stores frames of attached sessions; 200 means that all of them are in Postgres.",
            ignores_unknown=True,
            body=_BYTES,
            errors=(400, 404, 409, 410, 413, 422, 503),
        ),
    )


def _editing() -> tuple[Route, ...]:
    return (
        Route(
            "PATCH",
            _RUN,
            Right.WRITE,
            patch_run,
            "Changes a run's name, notes, tags, group, job type, config or summary, or archives it.",
            body="application/json",
            errors=(400, 404, 413, 503),
        ),
        Route(
            "DELETE",
            _RUN,
            Right.ADMIN,
            delete_run,
            "Deletes a run permanently.",
            errors=(400, 404, 503),
        ),
        Route(
            "PUT",
            "/v1/layout",
            Right.WRITE,
            layouts.put_layout,
            "Replaces the layout of a project's charts, if nobody else has changed it.",
            (_PATH,),
            body="application/json",
            errors=(400, 404, 409, 413, 503),
        ),
        Route(
            "PUT",
            "/v1/views",
            Right.WRITE,
            layouts.put_view,
            "Saves a view of a project's pages under its name.",
            (_PATH,),
            body="application/json",
            errors=(400, 404, 413, 503),
        ),
        Route(
            "DELETE",
            "/v1/views",
            Right.WRITE,
            layouts.delete_view,
            "Removes a saved view.",
            (_PATH, Parameter("name", "the name of the view", required=True)),
            errors=(400, 404, 503),
        ),
    )


def _files() -> tuple[Route, ...]:
    owner = Parameter(
        "path", "entity/project for which the file is uploaded; without it, the scope of the key", "project"
    )
    return (
        # HEAD is part of an upload: a client that learns that a file is stored does not send it.
        Route(
            "HEAD",
            _BLOB,
            Right.WRITE,
            head_blob,
            "Whether a file is stored; if not, Upload-Offset says how many of its bytes have arrived.",
            (owner,),
            ignores_unknown=True,
            answers=(),
            errors=(400, 404, 503),
        ),
        Route(
            "PUT",
            _BLOB,
            Right.WRITE,
            put_blob,
            "Stores a file, whole or from Upload-Offset on: docs/blobs.md.",
            (owner,),
            ignores_unknown=True,
            body=_BYTES,
            errors=(400, 409, 413, 422, 503),
        ),
        Route(
            "GET",
            _BLOB,
            Right.READ,
            get_blob,
            "A file that runs have logged.",
            (Parameter("name", "the file's name, which decides its content type"),),
            ignores_unknown=True,
            answers=(_BYTES,),
            errors=(400, 404, 416, 503),
        ),
    )


def _signing_in() -> tuple[Route, ...]:
    place, who = "/v1/sign-in", "The caller: the name, role and scope of its key."
    body, errors = "application/json", (400, 401, 503)
    return (
        Route("GET", place, Right.READ, get_sign_in, who, errors=(400,)),
        Route("POST", place, Right.PUBLIC, post_sign_in, "Signs in: sets a cookie.", body=body, errors=errors),
        Route("DELETE", place, Right.PUBLIC, delete_sign_in, "Signs out: removes the cookie.", errors=(400, 503)),
    )


def _operating() -> tuple[Route, ...]:
    sizes = Parameter("sizes", "include the largest runs and projects, whatever the value", "flag")
    return (
        *(_page(path, Right.PUBLIC, document, "A web page.", answers=_HTML, errors=(503,)) for path in PAGES),
        _page("/assets/{file}", Right.PUBLIC, asset, "A file of the web pages.", answers=(_BYTES,), errors=(404,)),
        _page("/v1/status", Right.ADMIN, status.status, "The state of this worker.", sizes),
        _page("/healthz", Right.PUBLIC, status.healthz, "Liveness: 200 while the process answers."),
        _page(
            "/readyz",
            Right.PUBLIC,
            status.readyz,
            "Readiness: 200 while frames are accepted.",
            errors=(503,),
        ),
        _page("/metrics", Right.PUBLIC, status.metrics, "Counters for Prometheus.", answers=("text/plain",)),
    )


def _reading(limits: Reads) -> tuple[Route, ...]:
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


def _workspace(limits: Reads) -> tuple[Route, ...]:
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


def _sql() -> Route:
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


def _page(
    path: str,
    right: Right,
    handler: Handler,
    about: str,
    *parameters: Parameter,
    answers: tuple[str, ...] = ("application/json",),
    errors: tuple[int, ...] = (),
) -> Route:
    """A route for load balancers, scrapers and people: it answers HEAD, and ignores unknown parameters."""
    return Route(
        "GET",
        path,
        right,
        handler,
        about,
        parameters,
        ignores_unknown=True,
        also_head=True,
        answers=answers,
        errors=errors,
    )
