"""Reads what people have arranged on the pages of a project: the layout of its charts, and its saved views."""

from __future__ import annotations

from typing import Any

import orjson

from stepwell.errors import UsageError
from stepwell_ingest.read.database import Database


class LayoutChangedError(UsageError):
    """Somebody else has changed the layout since it was read. Answered with status 409."""

    code = "layout_changed"


async def read_layout(database: Database, entity: str, project: str) -> dict[str, Any]:
    """Returns {"layout", "version", "views": [{"name", "page", "query", "layout"}, …]}, the views by name.

    Without a layout, "layout" is None and "version" 0. The "layout" of a view is None if it uses that of the project.
    """
    async with database.snapshot() as connection:
        row = await connection.fetchrow(database.sql["layout"], entity, project)
        views = await connection.fetch(database.sql["saved_views"], entity, project)
    return {
        "layout": _json(row["layout"]) if row else None,
        "version": row["version"] if row else 0,
        "views": [{**view, "layout": _json(view["layout"])} for view in views],
    }


def _json(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)
