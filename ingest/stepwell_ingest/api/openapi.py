"""The OpenAPI document of all routes, made from the descriptions by which requests are checked.

In come operations; out goes OpenAPI 3.1 as a dict that is ready for JSON. The routes that write check what they take
themselves (docs/wire-format.md) and are described here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepwell_ingest.api.description import Operation, Parameter

VERSION = "1"

#: Every route that is not in `read_routes`.
OTHER = (
    Operation("GET", "/v1/stream", "A WebSocket that takes frames: docs/wire-format.md.", success=101, errors=(503,)),
    Operation(
        "POST", "/v1/attach", "Says who logs to which run.", body="application/json", errors=(400, 409, 413, 503)
    ),
    Operation(
        "POST",
        "/v1/frames",
        "Stores frames of attached sessions; 200 means that every one is in Postgres.",
        body="application/octet-stream",
        errors=(400, 404, 409, 413, 422, 503),
    ),
    Operation(
        "PUT",
        "/v1/blobs/{sha256}",
        "Takes a file, whole or from Upload-Offset on: docs/blobs.md.",
        body="application/octet-stream",
        errors=(400, 409, 413, 503),
    ),
    Operation("GET", "/v1/blobs/{sha256}", "A file that runs have logged.", errors=(400, 404, 503)),
    Operation("GET", "/v1/status", "What this worker is doing."),
    Operation("GET", "/v1/openapi.json", "This document."),
    Operation("GET", "/healthz", "Whether the process is alive."),
    Operation("GET", "/readyz", "Whether frames would be taken in.", errors=(503,)),
    Operation("GET", "/metrics", "Counters for Prometheus.", answers=("text/plain",)),
)
_MEANING = {
    400: "The request makes no sense; the error says which part.",
    404: "There is no such thing; the error says what there is nearby.",
    409: "It conflicts with what is stored.",
    413: "It is too large.",
    422: "It was refused for good, and is on record.",
    503: "Not now; come back after Retry-After seconds.",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "retryable", "message"],
            "properties": {
                "code": {"type": "string"},
                "retryable": {"type": "boolean"},
                "message": {"type": "string"},
                "detail": {"type": "string"},
                "hint": {"type": "string"},
            },
        }
    },
}


def openapi(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document that describes these operations and `OTHER`."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in (*operations, *OTHER):
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Stepwell",
            "version": VERSION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": operation.about, "responses": _responses(operation)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in operation.path_names
    ]
    parameters += [_parameter(parameter) for parameter in operation.parameters]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": {operation.body: {}}}
    return described


def _responses(operation: Operation) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "What was asked for." if operation.success == 200 else "It goes on."}
    if operation.success == 200:
        success["content"] = {kind: {} for kind in operation.answers}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {str(operation.success): success} | {
        str(status): {"description": _MEANING[status], "content": error} for status in operation.errors
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any]
    if parameter.kind == "texts":
        # The default style: the name comes once for each text.
        schema = {"type": "array", "items": {"type": "string"}, "maxItems": parameter.maximum}
    elif parameter.kind == "integer":
        schema = {"type": "integer", "minimum": parameter.minimum, "maximum": parameter.maximum}
    else:
        schema = {"type": "string"}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.about,
        "required": parameter.required,
        "schema": schema,
    }
