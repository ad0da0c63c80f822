"""The OpenAPI 3.1 document of all routes, generated from the route table that also serves and checks requests.

The extension `x-right` names the right that an operation needs. Bodies of the routes that write are described in
docs/wire-format.md and docs/blobs.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.query import Parameter
from stepwell_ingest.api.route import Route

VERSION = "1"

_MEANING = {
    400: "The request is invalid; the error says which part.",
    401: "The server requires an API key, or refuses the given one.",
    403: "The caller has no permission to do this.",
    404: "The run, project or other thing that the request names does not exist; the error may say what exists.",
    409: "The request conflicts with stored data.",
    410: "The run was deleted.",
    413: "The body of the request is too large.",
    415: "The content type of the body is not accepted.",
    416: "The range lies outside of the file.",
    422: "The server refuses the request permanently.",
    503: "The server cannot handle the request now; try again after Retry-After seconds.",
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


def openapi(table: Iterable[Route]) -> dict[str, Any]:
    """The document that describes these routes, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in table:
        for method in route.methods:
            paths.setdefault(route.path, {})[method.lower()] = _operation(route)
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


def _operation(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {"summary": route.about, "x-right": route.right.value, "responses": _responses(route)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in route.path_names
    ]
    parameters += [_parameter(parameter) for parameter in route.parameters]
    if parameters:
        described["parameters"] = parameters
    if route.body is not None:
        described["requestBody"] = {"required": True, "content": {route.body: {}}}
    return described


def _responses(route: Route) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Success." if route.success == 200 else "The connection is upgraded."}
    if route.success == 200 and route.answers:
        success["content"] = {kind: {} for kind in route.answers}
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    statuses = route.errors if route.right is Right.PUBLIC else sorted({401, 403, *route.errors})
    return {str(route.success): success} | {
        str(status): {"description": _MEANING[status], "content": error} for status in statuses
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any]
    if parameter.kind == "texts":
        # The default style: the name is repeated for each value.
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
