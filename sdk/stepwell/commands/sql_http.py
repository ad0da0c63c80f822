"""Runs the statements of `stepwell sql` on a server over `POST /v1/sql`, and prints the rows while they arrive.

Receives a statement and a client; writes rows to stdout and, for a query that found nothing, similar names to stderr.
For tables and CSV, the server sends texts (`"values": "text"`), which look like those of a direct connection. When
Ctrl-C ends this process or the statement, the connection is closed, and the server cancels the query.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from stepwell.commands.sql_answer import SqlAnswer
from stepwell.errors import UsageError, harmless
from stepwell.terminal.rows import Column, rows_writer
from stepwell.transport.http import HttpClient

_WHOLE = frozenset({"int8", "numeric"})


def ask(client: HttpClient, query: str, format_: str, timeout_s: float) -> None:
    """Runs one statement and prints its rows.

    Args:
        client: the client of the server.
        query: the statement.
        format_: `table`, `csv` or `json`.
        timeout_s: the longest that the query may take; the server has a limit, too.

    Raises:
        Error: the server refuses the statement, cannot be reached, or has more rows than it sends in one answer.
    """
    writer = rows_writer(format_)
    values = "text" if writer.texts else "json"
    answer = SqlAnswer(client.hint)
    # The batches come from a generator, so that an error while writing the output is not taken for a lost connection.
    batches = _batches(client, {"query": query, "timeout_s": timeout_s, "values": values, "hints": True}, answer)
    count = 0
    for rows in batches:
        if not writer.texts:
            rows = _exact(answer.columns, rows)
        if count == 0:
            writer.begin(answer.columns, rows)
        else:
            writer.more(rows)
        count += len(rows)
    if count == 0:
        writer.begin(answer.columns, [])
    writer.end(count)
    if answer.truncated:
        raise UsageError(
            f"the query returns more rows; one answer of the server holds only these {count:,}",
            hint="add LIMIT, aggregate in the query, or query Postgres itself with --dsn",
        )
    sys.stdout.flush()
    for line in answer.hints:
        print(f"stepwell: {harmless(line)}", file=sys.stderr)


def _batches(client: HttpClient, body: dict[str, Any], answer: SqlAnswer) -> Iterator[list[list[Any]]]:
    with client.post(("v1", "sql"), body, "application/json") as reply:
        yield from answer.read(reply)


def _exact(columns: list[Column], rows: list[list[Any]]) -> list[list[Any]]:
    """Converts integers beyond 2^53, which the server sends as strings, back to numbers."""
    kinds = [_number if column.kind.removesuffix("[]") in _WHOLE else None for column in columns]
    if not any(kinds):
        return rows
    return [_converted(kinds, row) for row in rows]


def _converted(kinds: Sequence[Callable[[Any], Any] | None], row: list[Any]) -> list[Any]:
    return [kind(value) if kind else value for kind, value in zip(kinds, row, strict=True)]


def _number(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(item) for item in value]
    return int(value) if isinstance(value, str) and value.lstrip("-").isdigit() else value
