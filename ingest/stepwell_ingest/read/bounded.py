"""Reads rows with one large text each, as many as a page has room for.

Stands between the reads of JSON (objects, summaries, configs, notes) and Postgres. Receives a query whose column
`value` is JSON as text, and the number of bytes that the page has room for; returns rows. Values are fetched in pieces,
so memory holds no more than the page and one value, however large the rows are. A value that is larger than a page is
replaced by a text that says so, because no page could hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import asyncpg

#: The size of a piece of a value; the wrapped query has one row for each piece.
_PIECE_BYTES = 64 * 1024
#: The number of pieces that are fetched together: 16 MiB at most.
_FETCH = 256
#: The approximate size of a row without its value.
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
        columns: the other columns, by name.
        value: JSON as text; None if it is NULL.
    """

    columns: dict[str, Any]
    value: str | None


class Rows(NamedTuple):
    """The rows of a page.

    Attributes:
        rows: in the order of the query.
        more: whether the query has more rows, for which the page has no room.
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
    """Returns the first rows of a query, as many as fit; at least one, if there are any.

    Args:
        connection: a connection in a transaction.
        query: an ordered query with a column `value` of type text.
        columns: the names of the other columns to return; their values are small.
        room: the bytes of values that a page may hold.
        row_bytes: the bytes that a row counts besides its value. With 0, rows whose value is NULL take no room.
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
