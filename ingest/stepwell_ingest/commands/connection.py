"""Finds the Postgres that a command should use, and connects to it, with helpful errors."""

from __future__ import annotations

import os

import asyncpg

from stepwell.cli import ServerFile, data_directory
from stepwell.errors import UnavailableError
from stepwell_ingest.db.connect import command_connection

_CONNECT_S = 10.0


def find_dsn(argument: str | None, data_option: str | None) -> str:
    """The given DSN, else STEPWELL_DSN, else the DSN of the server on this machine.

    Raises:
        UnavailableError: no server runs here, and no DSN was given.
        SettingError: the file with the server's address cannot be read.
    """
    given = argument or (None if data_option else os.environ.get("STEPWELL_DSN"))
    if given:
        return given
    data = data_directory(data_option)
    found = ServerFile.read(data)
    if found is None:
        raise UnavailableError(
            f"no server runs on the data directory {data}",
            hint="start one with `stepwell up`, or name another directory with --data, a Postgres with --dsn, or (for "
            "`stepwell sql`) a server elsewhere with STEPWELL_URL",
        )
    return found.dsn


async def connect(dsn: str, user: str | None = None, **settings: str) -> asyncpg.Connection:
    """Connects to Postgres with these session settings.

    Args:
        user: the role to log in as; None: the DSN's.
        settings: session settings of Postgres, by name.

    Raises:
        UnavailableError: Postgres cannot be reached.
    """
    try:
        return await command_connection(dsn, _CONNECT_S, user, settings)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(
            "Postgres cannot be reached",
            detail=str(error) or type(error).__name__,
            hint="is `stepwell up` running? Use --dsn for another Postgres",
        ) from error
