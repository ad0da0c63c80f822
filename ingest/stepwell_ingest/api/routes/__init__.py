"""The route table: every route of the server, with its parameters, the right that it needs, and its handler.

    writing.py    frames, edits of runs, files, signing in
    reading.py    runs, histories, charts, SQL
    pages.py      web pages, health, metrics

The only place that registers routes. `app` serves the table, and `openapi` describes it.
"""

from __future__ import annotations

from aiohttp import web

from stepwell_ingest.access.rights import Right
from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.openapi import openapi
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.route import Route
from stepwell_ingest.api.routes.pages import PAGES, operating, page
from stepwell_ingest.api.routes.reading import for_workspace, of_sql, reading
from stepwell_ingest.api.routes.writing import editing, files, signing_in, writing
from stepwell_ingest.config import Reads

__all__ = ["PAGES", "routes"]


def routes(limits: Reads) -> tuple[Route, ...]:
    """All routes. `limits` bounds the parameters of the routes that read."""
    table = (*writing(), *editing(), *files(), *reading(limits), of_sql(), *for_workspace(limits))
    table += (*signing_in(), *operating())

    async def describe(services: object, request: web.Request, query: Query) -> web.Response:
        return json_response(described)

    table += (page("/v1/openapi.json", Right.PUBLIC, describe, "This document."),)
    described = openapi(table)
    return table
