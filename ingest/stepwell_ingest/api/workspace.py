"""The handlers that pages and `stepwell.Api` use beside those of `reads`: projects, and what a run says of itself.

`routes` lists their parameters.
"""

from __future__ import annotations

from aiohttp import web

from stepwell_ingest.api.errors import json_response
from stepwell_ingest.api.query import Query
from stepwell_ingest.api.reads import ReadServices, named_run
from stepwell_ingest.read.about import read_files
from stepwell_ingest.read.projects import list_projects


async def projects(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    return json_response(await list_projects(services.reads))


async def files(services: ReadServices, request: web.Request, query: Query) -> web.StreamResponse:
    row = await named_run(request, services.reads)
    return json_response(await read_files(services.reads, row, query["limit"], query["cursor"]))
