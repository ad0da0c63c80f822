"""The routes that read, each with what it takes: the table from which `app` makes routes and `openapi` its document."""

from __future__ import annotations

from dataclasses import replace

from stepwell.wire import columns
from stepwell_ingest.api import reads
from stepwell_ingest.api.description import Operation, Parameter
from stepwell_ingest.api.events import live
from stepwell_ingest.config import Reads

_RUN = "/v1/runs/{entity}/{project}/{run}"
_DATA = (columns.CONTENT_TYPE, "application/json")
_READ_ERRORS = (400, 404, 503)
_MIN_STEP = Parameter("min_step", "the first step that counts", "integer", default=0)
_MAX_STEP = Parameter("max_step", "the step below which rows count", "integer")
_CURSOR = Parameter("cursor", "`next` of the answer before this one")


def read_routes(limits: Reads) -> list[tuple[Operation, reads.Answer]]:
    """Each route and who answers it; `limits` are in the descriptions, too."""
    keys = Parameter("keys", "a key, as it was logged; may come several times", "texts", maximum=limits.keys)
    times = Parameter("times", "with the time at which each row was logged", default="false", choices=("true", "false"))
    return [
        (
            Operation(
                "GET",
                "/v1/runs",
                "Runs of a project that fit a filter.",
                (
                    Parameter("path", "entity/project", required=True),
                    Parameter("filters", 'Mongo\'s words as JSON: {"config.lr": {"$gt": 0.001}}'),
                    Parameter(
                        "order", "+ or - and a field, config.<key> or summary_metrics.<key>", default="+created_at"
                    ),
                    Parameter("limit", "runs in one answer", "integer", default=50, minimum=1, maximum=limits.runs),
                    _CURSOR,
                    Parameter("summary", "a key whose last value each run comes with", "texts", maximum=100),
                ),
                errors=_READ_ERRORS,
            ),
            reads.runs,
        ),
        (Operation("GET", _RUN, "A run: its state, config, counts and links.", errors=_READ_ERRORS), reads.run),
        (
            Operation(
                "GET",
                f"{_RUN}/metrics",
                "The names of its metrics, and how many each section has.",
                errors=_READ_ERRORS,
            ),
            reads.metrics,
        ),
        (
            Operation("GET", f"{_RUN}/summary", "The last value of each key.", errors=_READ_ERRORS),
            reads.run_summary,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/series",
                "Every point of some metrics, or each in buckets that keep its extremes.",
                (
                    replace(keys, required=True),
                    _MIN_STEP,
                    _MAX_STEP,
                    Parameter(
                        "buckets",
                        "at most so many of each metric; without it, every point",
                        "integer",
                        minimum=1,
                        maximum=limits.buckets,
                    ),
                    times,
                ),
                _DATA,
                _READ_ERRORS,
            ),
            reads.series,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/history",
                "Rows, one a step and writer: whole ones, or those that have all the keys.",
                (
                    keys,
                    _MIN_STEP,
                    _MAX_STEP,
                    Parameter(
                        "limit", "stop after so many rows; `next_step` says where to go on", "integer", minimum=1
                    ),
                    Parameter(
                        "samples",
                        "keep about so many rows; the answer says what was left out",
                        "integer",
                        minimum=1,
                        maximum=limits.samples,
                    ),
                    times,
                ),
                _DATA,
                _READ_ERRORS,
            ),
            reads.history,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/objects",
                "The values of a key that are no numbers; without a key, which keys have any.",
                (
                    Parameter("key", "as it was logged"),
                    _MIN_STEP,
                    _MAX_STEP,
                    Parameter(
                        "limit", "values in one answer", "integer", default=1000, minimum=1, maximum=limits.objects
                    ),
                    _CURSOR,
                ),
                errors=_READ_ERRORS,
            ),
            reads.objects,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/system",
                "What was measured on its hosts, one row a measurement, in the order of time.",
                (
                    Parameter(
                        "limit", "rows in one answer", "integer", default=1000, minimum=1, maximum=limits.objects
                    ),
                    Parameter(
                        "samples",
                        "about so many rows of all, instead of pages; the answer says what was left out",
                        "integer",
                        minimum=1,
                        maximum=limits.objects,
                    ),
                    _CURSOR,
                ),
                errors=_READ_ERRORS,
            ),
            reads.system,
        ),
        (
            Operation(
                "GET",
                f"{_RUN}/live",
                "What happens in it, as server-sent events: docs/reading.md.",
                (
                    replace(
                        keys, about="a key whose new points events have; without any, they say where writers stand"
                    ),
                    Parameter("cursor", "the id of the last event that was taken; Last-Event-ID says the same"),
                ),
                ("text/event-stream",),
                _READ_ERRORS,
            ),
            live,
        ),
    ]
