"""Runs SQL queries that users write, over read-only connections.

Stands between `api/sql.py` and a pool whose sessions are logged in as the reader role (`db.connect.sql_pool`). Receives
the text of one statement; returns its columns and then its rows, batch by batch. Promises that a query sees one state
of the database and leaves nothing behind: its transaction is read-only and always rolled back, which also undoes its
settings.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import orjson

from stepwell.errors import OverloadedError, UnavailableError, UsageError
from stepwell_ingest.config import Sql
from stepwell_ingest.db.errors import hint_for
from stepwell_ingest.read.nearby import explain_nothing
from stepwell_ingest.read.sql_errors import QueryError, explained
from stepwell_schema import queries

#: The query stands on lines of its own, because its last line may end with a comment. The size of a row as Postgres
#: holds it is tested first: converting a gigabyte to text would take seconds, and two more gigabytes.
_BOUNDED = """-- within bounds
SELECT q.*, stepwell.row_fits_v1(
    CASE WHEN pg_column_size(q) > {most} THEN pg_column_size(q) ELSE octet_length(q::text) END, {most}, {in_all})
FROM (SELECT * FROM (
{query}
) q OFFSET 0) q"""
#: Runs a statement that cannot be a subquery (EXPLAIN, SHOW), and raises an error if one of its rows is too large.
_LOOKED_AT = """
DECLARE line record;
BEGIN
    FOR line IN EXECUTE {text} LOOP
        PERFORM stepwell.row_fits_v1(pg_column_size(line), {most}, {in_all});
    END LOOP;
END
"""
_REFUSED_LOGINS = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidPasswordError)


class Column(NamedTuple):
    """A column of the answer: its name in the query, and Postgres' name of its type."""

    name: str
    type: str


class Rows:
    """The rows of one query.

    Args:
        connection: the connection of the query.
        cursor: an open cursor, in a transaction.
        columns: the columns of each row.
        seconds: how long Postgres may still work on the query.

    Attributes:
        columns: the columns of each row.
    """

    def __init__(
        self, connection: asyncpg.Connection, cursor: asyncpg.cursor.Cursor, columns: list[Column], seconds: float
    ) -> None:
        self.columns = columns
        self._connection = connection
        self._cursor = cursor
        self._seconds = self._left = seconds

    async def fetch(self, count: int) -> list[Any]:
        """Reads the next `count` rows; fewer at the end.

        Raises:
            QueryError: Postgres has worked on this query for too long. The statement time-out of Postgres does not
                suffice, since a query may change it for the time after its first batch.
            UnavailableError: the connection to Postgres is lost.
            asyncpg.PostgresError: the query fails.
        """
        before = time.monotonic()
        try:
            async with asyncio.timeout(max(0, self._left)):
                rows: list[Any] = await self._cursor.fetch(count)
        except TimeoutError as error:
            raise _too_long(self._seconds) from error
        except OSError as error:
            raise _away(error) from error
        self._left -= time.monotonic() - before
        return rows

    async def absent_names(self, query: str) -> list[str]:
        """A line for each metric, run and project in the query that does not exist, with similar names.

        Called after the last row. Empty if the names cannot be read in time.
        """
        try:
            return await explain_nothing(self._connection, query)
        except asyncpg.PostgresError:
            return []


class SqlReader:
    """Runs queries that users write.

    Args:
        pool: connections of the reader role.
        limits: limits of time, rows and bytes for one query.
    """

    def __init__(self, pool: asyncpg.Pool, limits: Sql) -> None:
        self.limits = limits
        self._pool = pool
        self._sql = queries("sql")

    @asynccontextmanager
    async def ask(self, query: str, timeout_s: float) -> AsyncIterator[Rows]:
        """Runs `query`, one statement, and yields its rows.

        Args:
            timeout_s: how long Postgres may work on it; at most the server's own limit.

        Raises:
            QueryError: Postgres refuses the query, or it takes too long.
            UsageError: the query returns no rows, or has parameters.
            OverloadedError: no connection became free within `wait_s`.
            UnavailableError: Postgres cannot be reached, or refuses the login of the reader role.
        """
        timeout_s = min(timeout_s, self.limits.statement_s)
        connection = await self._acquire()
        try:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await transaction.start()
            try:
                yield await self._begin(connection, query, timeout_s)
            finally:
                if not connection.is_closed():
                    await transaction.rollback()
        except asyncpg.QueryCanceledError as error:
            raise _too_long(timeout_s) from error
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "").startswith(("08", "57", "XX")):
                raise _away(error) from error
            names = await self._names(connection)
            raise explained(error, query, names) from error
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise _away(error) from error
        finally:
            await self._pool.release(connection)

    async def _begin(self, connection: asyncpg.Connection, query: str, timeout_s: float) -> Rows:
        for kind in ("json", "jsonb"):  # kept as text, because answers are JSON, too
            await connection.set_type_codec(kind, encoder=str, decoder=orjson.Fragment, schema="pg_catalog")
        statement = await connection.prepare(query)
        if statement.get_parameters():
            raise UsageError("the query has parameters such as $1", hint="write their values into the query")
        columns = [Column(item.name, item.type.name) for item in statement.get_attributes()]
        if not columns:
            # Postgres refuses most of these in a read-only transaction, but not DO, COPY … TO PROGRAM and SET.
            raise UsageError(
                "the statement cannot return rows, so it was not run",
                hint="SQL over HTTP only reads: SELECT, WITH or EXPLAIN",
            )
        bounded = await self._bounded(connection, query)
        return Rows(connection, await (bounded or statement).cursor(), columns, timeout_s)

    async def _bounded(self, connection: asyncpg.Connection, query: str) -> Any:
        """The query with one more column, which raises an error before a row that is too large leaves Postgres, since
        asyncpg would hold such a row whole.

        None: the statement cannot be a subquery (EXPLAIN, SHOW). The sizes of its rows have been checked; the caller
        runs it again.
        """
        most = self.limits.row_bytes
        in_all = (
            self.limits.answer_bytes + 4 * most
        )  # an answer is cut off before this sum, unless its last batch is too large
        inner = query.strip().rstrip(";")
        try:
            async with connection.transaction():  # a savepoint
                return await connection.prepare(_BOUNDED.format(query=inner, most=most, in_all=in_all))
        except asyncpg.PostgresSyntaxError:
            pass
        # The body of a DO statement is a text, so the query is a text in a text.
        text = f"'{inner.replace(chr(39), chr(39) * 2)}'"
        tag = "$stepwell_" + secrets.token_hex(8) + "$"
        await connection.execute("SET LOCAL standard_conforming_strings = on")
        await connection.execute(f"DO {tag}{_LOOKED_AT.format(text=text, most=most, in_all=in_all)}{tag}")
        return None

    async def _acquire(self) -> Any:
        try:
            return await self._pool.acquire(timeout=self.limits.wait_s)
        except TimeoutError:
            raise OverloadedError(
                "query limit reached",
                retry_after_s=1.0,
                detail=f"{self.limits.connections} SQL queries at a time in each worker",
            ) from None
        except _REFUSED_LOGINS as error:
            raise UnavailableError(
                "SQL over HTTP is off: Postgres refuses the login of the reader role",
                detail=str(error)[:500],
                hint="give `stepwell up --sql-dsn` a login that is a member of stepwell_reader: docs/sql.md",
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise _away(error) from error

    async def _names(self, connection: asyncpg.Connection) -> dict[str, list[str]]:
        """The views of the contract and their columns; empty if they cannot be read."""
        try:
            return {row["relation"]: row["columns"] for row in await connection.fetch(self._sql["names"])}
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            return {}


def _too_long(timeout_s: float) -> QueryError:
    return QueryError(
        f"the query took longer than {timeout_s:g} s",
        hint="narrow it to a project, run or metric; docs/sql.md says which conditions use an index",
    )


def _away(error: BaseException) -> UnavailableError:
    return UnavailableError(
        "Postgres could not answer the query",
        detail=f"{type(error).__name__}: {str(error)[:500]}",
        hint=hint_for(error),
    )
