"""Rows with one large text each, as many as a page has room for.

Stands between the reads of JSON (objects, summaries, configs, notes) and Postgres. Receives a query whose column
`value` is JSON as text, and how many bytes the page has room for; returns rows. A value comes in pieces, so that no
more is held than the page and one value, however large rows are. One value that is larger than a page is replaced by a
text that says so: no page could ever hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

#: What one row of the wrapped query has of a value, and how many such rows are fetched at a time: 16 MiB at most.
_PIECE_BYTES = 64 * 1024
_FETCH = 256
#: What a row takes beside its value, about.
_ROW_BYTES = 500
_WRAPPED = """-- a value in pieces
SELECT {columns}, octet_length(v.raw) AS bytes, substring(v.raw FROM p.n * {piece} + 1 FOR {piece}) AS piece
FROM (SELECT q.*, convert_to(q.value, 'UTF8') AS raw FROM ({query}) q OFFSET 0) v
CROSS JOIN LATERAL generate_series(
    0, CASE WHEN octet_length(v.raw) <= {most} THEN greatest(octet_length(v.raw) - 1, 0) / {piece} ELSE 0 END) p (n)
"""


class Row(NamedTuple):
    """One row.

    Attributes:
        columns: the others, by name.
        value: JSON as text; None where it is NULL.
    """

    columns: dict[str, Any]
    value: str | None


class Rows(NamedTuple):
    """The rows of a page.

    Attributes:
        rows: in the order of the query.
        more: the query has more rows, which the page has no room for.
    """

    rows: list[Row]
    more: bool


async def fetch_bounded(
    connection: asyncpg.Connection,
    query: str,
    columns: Sequence[str],
    *arguments: Any,
    room: int,
    row_bytes: int = _ROW_BYTES,
) -> Rows:
    """The first rows of a query; at least one, where there are any.

    Args:
        connection: in a transaction.
        query: has a column `value`, a text; ordered.
        columns: those of the others that are wanted; small.
        room: bytes of values that a page may hold.
        row_bytes: what a row counts beside its value; 0 where rows without values are many and wanted all.
    """
    names = ", ".join(f'v."{name}"' for name in columns) or "NULL"
    sql = _WRAPPED.format(columns=names, query=query.strip().removesuffix(";"), piece=_PIECE_BYTES, most=room)
    cursor = await connection.cursor(sql, *arguments)
    found: list[Row] = []
    pieces: list[bytes] = []
    held = missing = 0
    while records := await cursor.fetch(_FETCH):
        for record in records:
            if missing:
                missing -= len(record["piece"])
                pieces.append(record["piece"])
            else:
                size = record["bytes"]
                pieces = [record["piece"] or b""]
                missing = size - len(pieces[0]) if size is not None and size <= room else 0
                held += min(size or 0, room) + row_bytes
                if held > room and found:
                    return Rows(found, True)
            if not missing:
                about = {name: record[name] for name in columns}
                found.append(Row(about, _value(pieces, record["bytes"], room)))
        if len(records) < _FETCH:
            break
    return Rows(found, False)


def _value(pieces: list[bytes], size: int | None, room: int) -> str | None:
    if size is None:
        return None
    if size > room:
        return f'"({size:,} bytes, which is more than an answer may hold)"'
    return b"".join(pieces).decode()
