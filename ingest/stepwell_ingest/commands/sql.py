"""`stepwell sql` in a Postgres: runs the statements over a connection of its own.

`stepwell.commands.sql` has the options and chooses this way when a DSN or a data directory is known. Promises to change
nothing: each statement runs in a read-only transaction of its own, with a statement timeout, as the role
`stepwell_reader`, which can only read (if this role is missing, as the DSN's role, with a warning if that may
write); the protocol used accepts a single statement, and one that returns no rows is not run. The schema `stepwell` is
on the search path, so the views are just `history`, `history_objects`, `runs`, `summary` and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from stepwell.cli import Column, Command, SqlPrompt, rows_writer
from stepwell.errors import Error, UnavailableError
from stepwell_ingest.commands.connection import connect, find_dsn
from stepwell_ingest.read.nearby import explain_nothing
from stepwell_ingest.read.sql_errors import place
from stepwell_ingest.read.values import as_json, as_text
from stepwell_ingest.server import loop

_READER = "stepwell_reader"
_ONLY_READS = "`stepwell sql` only reads; to change data, use psql with the DSN"
_BATCH_ROWS = 2000
#: Returns whether the role may read; NULL: there is no schema yet.
_MAY_READ = "SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'stepwell'"
_BE_READER = """SELECT set_config('role', $1, false) FROM pg_roles r, pg_namespace n
WHERE r.rolname = $1 AND n.nspname = 'stepwell' AND has_schema_privilege(r.oid, n.oid, 'USAGE')"""
#: The role of this session, if it can change history; no row: it cannot, or there is no schema.
_MAY_WRITE = """SELECT current_user::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'stepwell' AND c.relname = 'ledger' AND has_table_privilege(c.oid, 'UPDATE')"""

ABOUT = "query a Postgres with SQL, read-only"


def configure(parser: argparse.ArgumentParser) -> None:
    """The options are those of `stepwell.commands.sql`."""


def run(options: argparse.Namespace) -> int:
    dsn = find_dsn(options.dsn, options.data)

    def ask(query: str) -> None:
        try:
            loop.run(_ask(dsn, query, options.format, options.timeout))
        except asyncio.CancelledError as error:
            raise KeyboardInterrupt from error

    if options.query is not None:
        ask(options.query)
    else:
        SqlPrompt(ask).run()
    return 0


async def _connect(dsn: str, timeout_s: float) -> asyncpg.Connection:
    """Connects as the reader role, by a login if Postgres allows it, else by SET ROLE; else as the DSN's role.

    Raises:
        UnavailableError: Postgres cannot be reached.
    """
    settings = {
        "application_name": "stepwell sql",
        "default_transaction_read_only": "on",
        "search_path": "stepwell, public",
        "statement_timeout": str(max(1, round(timeout_s * 1000))),
        "TimeZone": "UTC",
    }
    if not urlsplit(dsn).password:
        with contextlib.suppress(UnavailableError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await connect(dsn, user=_READER, **settings)
            if await connection.fetchval(_MAY_READ):
                return connection
            await connection.close()  # the reader role belongs to another database of this Postgres
    connection = await connect(dsn, **settings)
    with contextlib.suppress(asyncpg.InsufficientPrivilegeError):
        if await connection.fetch(_BE_READER, _READER):
            return connection
    if role := await connection.fetchval(_MAY_WRITE):
        print(
            f"stepwell: reading as the role {role}, which may also write: {_READER} is missing or cannot read here. "
            "`stepwell up` creates it if the server's role may create roles: docs/operations.md, Backup and restore",
            file=sys.stderr,
        )
    return connection


async def _ask(dsn: str, query: str, format_: str, timeout_s: float) -> None:
    connection = await _connect(dsn, timeout_s)
    try:
        if not await _fetch(connection, query, format_):
            sys.stdout.flush()
            with contextlib.suppress(asyncpg.PostgresError):
                for line in await explain_nothing(connection, query):
                    print(f"stepwell: {line}", file=sys.stderr)
    except asyncpg.PostgresError as error:
        raise _explained(error, query, timeout_s) from error
    except BrokenPipeError:
        raise  # from our own output: `stepwell sql … | head`
    except (asyncpg.InterfaceError, ConnectionError, TimeoutError) as error:
        detail = (
            None if isinstance(error, asyncpg.InterfaceError) else str(error)
        )  # the first message names asyncpg's classes
        raise UnavailableError("the connection to Postgres was lost", detail=detail) from error
    finally:
        with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError):
            await connection.close(timeout=2)


async def _fetch(connection: asyncpg.Connection, query: str, format_: str) -> bool:
    """Prints the rows; returns whether any value was found (avg() and count() of nothing return a row of NULL or 0)."""
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=str, decoder=json.loads, schema="pg_catalog")
    writer = rows_writer(format_)
    convert = as_text if writer.texts else as_json
    async with connection.transaction(readonly=True):
        statement = await connection.prepare(query)
        columns = [Column(item.name, item.type.name) for item in statement.get_attributes()]
        if not columns:
            # Postgres would refuse most of these; but DO could undo the role, and COPY … TO writes files.
            raise Error("the statement cannot return rows, so it was not run", hint=_ONLY_READS)
        cursor = await statement.cursor()
        rows: list[Any] = await cursor.fetch(_BATCH_ROWS)
        writer.begin(columns, _converted(convert, rows))
        count, found = len(rows), any(value for row in rows for value in row)
        while len(rows) == _BATCH_ROWS:
            rows = await cursor.fetch(_BATCH_ROWS)
            writer.more(_converted(convert, rows))
            count += len(rows)
        writer.end(count)
    return found


def _converted(convert: Callable[[Any], Any], rows: Sequence[Any]) -> list[list[Any]]:
    return [[None if value is None else convert(value) for value in row] for row in rows]


def _explained(error: asyncpg.PostgresError, query: str, timeout_s: float) -> Error:
    """Postgres' message, with the place in the query, and a hint where we have a better one."""
    if isinstance(error, asyncpg.QueryCanceledError):
        return Error(f"the query took longer than {timeout_s:g} s", hint="raise the limit with --timeout SECONDS")
    hint = error.hint
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        hint = _ONLY_READS
    elif isinstance(error, asyncpg.InsufficientPrivilegeError):
        hint = (
            f"`stepwell sql` reads as the role {_READER}, which sees the schema stepwell; psql with the DSN sees more"
        )
    elif "multiple commands" in str(error):
        hint = "give one statement at a time"
    detail = [str(error.detail)] if error.detail else []
    if error.position and (position := int(error.position)) <= len(query) + 1:
        detail.append(place(query, position))
    return Error(error.message or str(error), detail="\n".join(detail) or None, hint=hint)


COMMAND = Command(ABOUT, configure, run)
