"""Explains Postgres' errors in users' queries: the place in the query, and names similar to a mistyped one. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg

from stepwell.errors import UsageError
from stepwell_ingest.read.near import near

_ONLY_READS = "SQL over HTTP only reads"
_HINTS: tuple[tuple[type[asyncpg.PostgresError], str], ...] = (
    (asyncpg.ReadOnlySQLTransactionError, f"{_ONLY_READS}; to change data, use psql with the server's DSN"),
    (asyncpg.InsufficientPrivilegeError, f"{_ONLY_READS}, and sees only the schema stepwell: docs/sql.md"),
)
#: A name at a position of a query: `column`, `view.column`, or either in double quotes.
_NAME = re.compile(r'(?:(?:"[^"]+"|\w+)\s*\.\s*)*("[^"]+"|\w+)')


class QueryError(UsageError):
    """A query that Postgres refuses.

    Args:
        sqlstate: Postgres' code of the error.
        position: the position of the offending character in the query, from 1; None: not known.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        sqlstate: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(message, detail=detail, hint=hint)
        self.sqlstate = sqlstate
        self.position = position

    def as_dict(self) -> dict[str, Any]:
        """The fields of other errors, with `sqlstate` and `position` if they are known."""
        known = {"sqlstate": self.sqlstate, "position": self.position}
        return super().as_dict() | {name: value for name, value in known.items() if value is not None}


def explained(error: asyncpg.PostgresError, query: str, names: Mapping[str, Sequence[str]]) -> QueryError:
    """Postgres' message, with the line and a mark below the place, and a hint.

    Args:
        names: the columns of each relation of the contract.
    """
    position = int(error.position) if error.position and int(error.position) <= len(query) + 1 else None
    detail = [str(error.detail)] if error.detail else []
    detail += [place(query, position)] if position else []
    hint = next((text for kind, text in _HINTS if isinstance(error, kind)), error.hint)
    if position and isinstance(error, (asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError)):
        hint = _nearby(error, query, position, names) or hint
    elif "multiple commands" in str(error):
        hint = "give one statement at a time"
    return QueryError(
        error.message or str(error),
        detail="\n".join(detail) or None,
        hint=hint,
        sqlstate=error.sqlstate,
        position=position,
    )


def place(query: str, position: int) -> str:
    """The line of a query that contains a position (from 1), and a mark below it."""
    before = query[: position - 1]
    start = before.rfind("\n") + 1
    head = f"line {before.count(chr(10)) + 1}: "
    return f"{head}{query[start:].split(chr(10))[0]}\n{' ' * (len(head) + position - 1 - start)}^"


def _nearby(error: asyncpg.PostgresError, query: str, position: int, names: Mapping[str, Sequence[str]]) -> str | None:
    found = _NAME.match(query, position - 1)
    if found is None:
        return None
    if isinstance(error, asyncpg.UndefinedTableError):
        known = list(names)
    else:
        # Columns of the views that the query names, else of all.
        used = [columns for view, columns in names.items() if re.search(rf"\b{view}\b", query, re.IGNORECASE)]
        known = sorted({column for columns in used or names.values() for column in columns})
    alike = near(found[1].strip('"'), known)
    return f"similar names: {', '.join(alike)}" if alike else None
