"""`stepwell sql`: queries the stored history, from the command line, from a pipe or at a prompt.

Receives SQL, one statement at a time, and prints rows. Chooses where the statement runs: in a Postgres, by the server's
command of the same name (`stepwell_ingest.commands.sql`), or on a server that is known by its URL only (`sql_http`).
Either way, a statement only reads.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
from urllib.parse import urlsplit

from stepwell.commands.sql_http import ask
from stepwell.errors import Error, SettingError
from stepwell.settings import DEFAULT_URL, resolve
from stepwell.settings.key_file import PLACES
from stepwell.settings.server_file import ServerFile, data_directory
from stepwell.terminal.command import Command
from stepwell.terminal.server_commands import server_command
from stepwell.terminal.sql_prompt import SqlPrompt
from stepwell.transport.http import HttpClient

#: Added to the time limit of the query, for the wait for one of the server's connections and for the network.
_GRACE_S = 20.0
#: How long a server on this machine may take to accept a connection.
_LOOK_S = 1.0
_OF_CLIENT = ("STEPWELL_API_KEY", "STEPWELL_CA_FILE", *PLACES)

ABOUT = r"""query the stored history with SQL, read-only

The query is the argument, or is read from stdin; on a terminal, without an argument, there is a prompt. The query goes
to --url, --dsn or --data, else to STEPWELL_DSN, else to STEPWELL_URL, else to the server that you run on this machine,
else to the one at http://127.0.0.1:8770. With a URL, this machine needs only the SDK, and no Postgres.

  stepwell sql "SELECT run, state, points FROM runs ORDER BY created_at DESC LIMIT 10"
  stepwell sql "SELECT step, value FROM history WHERE run = 'abc' AND metric = 'train/loss'" --format csv > loss.csv"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", nargs="?", metavar="QUERY", help="one SQL statement")
    parser.add_argument("--format", choices=("table", "csv", "json"), default="table", help="default table")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--url", help="the server to query, over HTTP")
    source.add_argument("--dsn", help="the Postgres to query")
    source.add_argument("--data", metavar="DIR", help="data directory of a server on this machine")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="the longest that a query may take; default 60"
    )


def run(options: argparse.Namespace) -> int:
    options.query = _checked(options.query)
    if options.timeout <= 0:
        raise SettingError("--timeout must be more than 0 seconds")
    url = _url(options)
    if url is None:
        return server_command("sql").run(options)
    variables = {name: os.environ[name] for name in _OF_CLIENT if name in os.environ}
    client = HttpClient(resolve(variables, url=url).endpoint, options.timeout + _GRACE_S)
    if options.query is not None:
        ask(client, options.query, options.format, options.timeout)
    else:
        SqlPrompt(lambda query: ask(client, query, options.format, options.timeout)).run()
    return 0


def _checked(query: str | None) -> str | None:
    """The query of the command line, else that of stdin; None: stdin is a terminal.

    Raises:
        SettingError: the query is empty, or is not UTF-8.
    """
    if query is None and not sys.stdin.isatty():
        query = sys.stdin.buffer.read().decode(errors="surrogateescape")
    if query is not None and any(
        "\ud800" <= char <= "\udfff" for char in query
    ):  # Python's form of bytes that are not UTF-8
        raise SettingError("the query is not UTF-8", hint="save the file as UTF-8")
    if query is not None and not query.strip().strip(";"):
        raise SettingError("no query was given", hint='stepwell sql "SELECT …"')
    return query


def _url(options: argparse.Namespace) -> str | None:
    """The URL of the server to ask; None: a Postgres is asked."""
    if options.url or options.dsn or (os.environ.get("STEPWELL_DSN") and not options.data):
        return str(options.url) if options.url else None
    here = None
    with contextlib.suppress(Error):  # the server's command reports it
        here = ServerFile.read(data_directory(options.data))
    url = None if options.data else os.environ.get("STEPWELL_URL")
    named = options.data or os.environ.get("STEPWELL_DATA")
    if here is None and not url and not named and _listens(DEFAULT_URL):
        return DEFAULT_URL  # another user's server: runs of programs without settings are there, too
    if here is None or (url and url.rstrip("/") != here.url):
        return url or None
    try:  # the Postgres of the server on this machine, which sends answers of any size
        server_command("sql")
    except SettingError:
        return here.url
    return None


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), _LOOK_S).close()
    except OSError:
        return False
    return True


COMMAND = Command(ABOUT, configure, run)
