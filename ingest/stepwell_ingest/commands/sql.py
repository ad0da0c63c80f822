"""`stepwell sql`: queries the stored history, from the command line, from a pipe or at a prompt.

Receives SQL, one statement at a time, and prints rows. Promises to change nothing: each statement runs in a read-only
transaction of its own, with a statement timeout, as the role `stepwell_reader`, which can only read; the protocol used
accepts a single statement, and one that returns no rows is not run. The schema `stepwell` is on the search path, so the
views are just `history`, `history_objects`, `runs`, `summary` and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson

from stepwell.cli import Command, describe
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_ingest.commands.connection import connect, find_dsn
from stepwell_ingest.commands.nearby import explain_nothing
from stepwell_ingest.commands.rows import Column, CsvWriter, JsonWriter, TableWriter, Writer
from stepwell_ingest.server import loop

_READER = "stepwell_reader"
_ONLY_READS = "`stepwell sql` only reads; to change data, use psql with the DSN"
_BATCH_ROWS = 2000
#: Returns whether the role may read; NULL: there is no schema yet.
_MAY_READ = "SELECT has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'stepwell'"
_BE_READER = """SELECT set_config('role', $1, false) FROM pg_roles r, pg_namespace n
WHERE r.rolname = $1 AND n.nspname = 'stepwell' AND has_schema_privilege(r.oid, n.oid, 'USAGE')"""
_VIEWS = """SELECT c.relname AS view, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'stepwell'::regnamespace AND c.relkind = 'v' GROUP BY 1 ORDER BY 1"""

_HELP_WORDS = ("help", "\\h", "\\?", "?")
_HELP = r"""A query may take several lines, and ends with a semicolon; Ctrl-C drops what was typed so far.

  SELECT run, display_name, state, points FROM runs ORDER BY created_at DESC LIMIT 10;
  SELECT step, value FROM history WHERE run = 'RUN' AND metric = 'train/loss' ORDER BY step LIMIT 20;
  SELECT key, value FROM summary WHERE run = 'RUN';

\d   lists the views and their columns; docs/sql.md describes them
\q   ends, as Ctrl-D does"""

ABOUT = r"""ask the stored history with SQL, read-only

The query is the argument, or what comes on stdin; on a terminal, without one, there is a prompt. The database is --dsn,
else STEPWELL_DSN, else that of the server that runs on this machine.

  stepwell sql "SELECT run, state, points FROM runs ORDER BY created_at DESC LIMIT 10"
  stepwell sql "SELECT step, value FROM history WHERE run = 'abc' AND metric = 'train/loss'" --format csv > loss.csv"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", nargs="?", metavar="QUERY", help="one SQL statement")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default table")
    parser.add_argument("--dsn", help="the Postgres to query")
    parser.add_argument("--data", metavar="DIR", help="data directory of a server on this machine")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="the longest that a query may take; default 60"
    )


def run(options: argparse.Namespace) -> int:
    query = options.query
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.buffer.read().decode(errors="surrogateescape")
    if query is not None and any(
        "\ud800" <= char <= "\udfff" for char in query
    ):  # Python's form of bytes that are not UTF-8
        raise SettingError("the query is not UTF-8", hint="save the file as UTF-8")
    if query is not None and not query.strip().strip(";"):
        raise SettingError("there is no query", hint='stepwell sql "SELECT …"')
    if options.timeout <= 0:
        raise SettingError("--timeout must be more than 0 seconds")
    dsn = find_dsn(options.dsn, options.data)
    if query is not None:
        loop.run(_ask(dsn, query, options.format, options.timeout))
    else:
        _prompt(dsn, options.format, options.timeout)
    return 0


async def _connect(dsn: str, timeout_s: float) -> asyncpg.Connection:
    """Connects as the reader role: logged in as it where Postgres allows it, else by SET ROLE, else as the DSN's role.

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
        await connection.fetch(_BE_READER, _READER)
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
        await connection.set_type_codec(kind, encoder=str, decoder=orjson.loads, schema="pg_catalog")
    writer = _writer(format_)
    async with connection.transaction(readonly=True):
        statement = await connection.prepare(query)
        columns = [Column(item.name, item.type.name) for item in statement.get_attributes()]
        if not columns:
            # Postgres would refuse most of these; but DO could undo the role, and COPY … TO writes files.
            raise Error("a statement without rows cannot be run in a read-only transaction", hint=_ONLY_READS)
        cursor = await statement.cursor()
        rows: list[Any] = await cursor.fetch(_BATCH_ROWS)
        writer.begin(columns, rows)
        count, found = len(rows), any(value for row in rows for value in row)
        while len(rows) == _BATCH_ROWS:
            rows = await cursor.fetch(_BATCH_ROWS)
            writer.more(rows)
            count += len(rows)
        writer.end(count)
    return found


def _writer(format_: str) -> Writer:
    if format_ == "csv":
        return CsvWriter(sys.stdout)
    if format_ == "json":
        return JsonWriter(sys.stdout)
    return TableWriter(sys.stdout, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)


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
        before = query[: position - 1]
        number, start = before.count("\n") + 1, before.rfind("\n") + 1
        head = f"line {number}: "
        detail += [head + query[start:].split("\n")[0], " " * (len(head) + position - 1 - start) + "^"]
    return Error(error.message or str(error), detail="\n".join(detail) or None, hint=hint)


def _prompt(dsn: str, format_: str, timeout_s: float) -> None:
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() its line editing and history
    print("SQL, ended by a semicolon. \\d lists the views, help says more, \\q or Ctrl-D ends.")
    lines: list[str] = []
    while True:
        try:
            line = input("stepwell> " if not lines else "     ...> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            lines = []
            continue
        word = line.strip().rstrip(";").strip().lower() if not lines else ""
        if word in ("\\q", "exit", "quit"):
            return
        if word in _HELP_WORDS:
            print(_HELP)
            continue
        lines.append(_VIEWS + ";" if word == "\\d" else line)
        query = "\n".join(lines)
        if not query.strip():
            lines = []
        elif query.rstrip().endswith(";"):
            lines = []
            try:
                loop.run(_ask(dsn, query, format_, timeout_s))
            except Error as error:
                print(describe(error), end="", file=sys.stderr)
            except (KeyboardInterrupt, asyncio.CancelledError):
                print("cancelled", file=sys.stderr)


COMMAND = Command(ABOUT, configure, run)
