"""Explains why a query found nothing: lists the metrics, runs and projects that it names and that do not exist.

Used by `stepwell sql` and by `POST /v1/sql` after a query without values. Receives the text of the query; returns lines
for the user. A query that is misread leads to a missing line, never to an error.
"""

from __future__ import annotations

import re

import asyncpg

from stepwell_ingest.read.near import near

_MAX_NAMES = 20_000
_PATIENCE_MS = 2_000
_EQUAL = re.compile(r"\b(metric|run|project)\s*(?:=|\bIN\b)\s*(\(?\s*'(?:[^']|'')*'(?:\s*,\s*'(?:[^']|'')*')*)", re.I)
_TEXT = re.compile(r"'((?:[^']|'')*)'")
#: The query for the existing names, by column.
_KNOWN = {
    "metric": "SELECT DISTINCT m.name FROM stepwell.metrics m",
    "run": "SELECT DISTINCT r.run FROM stepwell.runs r",
    "project": "SELECT DISTINCT r.project FROM stepwell.runs r",
}


async def explain_nothing(connection: asyncpg.Connection, query: str) -> list[str]:
    """One line for each name in the query that does not exist.

    Raises:
        asyncpg.PostgresError: the names cannot be read in time.
    """
    named = _named(query)
    lines = []
    async with connection.transaction(readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {_PATIENCE_MS}")
        there: dict[str, list[str]] = {}
        for column in ("project", "run", "metric"):
            if column not in named:
                continue
            conditions, arguments = [], []
            for other in ("project", "run"):
                if other != column and there.get(other):
                    arguments.append(there[other])
                    conditions.append(f"{other} = ANY (${len(arguments)})")
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            rows = await connection.fetch(f"{_KNOWN[column]}{where} LIMIT {_MAX_NAMES}", *arguments)
            known = {str(row[0]) for row in rows}
            there[column] = [name for name in named[column] if name in known]
            if len(rows) < _MAX_NAMES:
                lines += [_line(column, name, near(name, known)) for name in named[column] if name not in known]
    return lines


def _named(query: str) -> dict[str, dict[str, None]]:
    """The distinct texts that the query compares with each column."""
    found: dict[str, dict[str, None]] = {}
    for match in _EQUAL.finditer(query):
        texts = [text.replace("''", "'") for text in _TEXT.findall(match[2])]
        found.setdefault(match[1].lower(), {}).update(dict.fromkeys(texts))
    return found


def _line(column: str, name: str, alike: list[str]) -> str:
    text = f"there is no {column} {name!r}"
    return f"{text}; similar names: {', '.join(alike)}" if alike else text
