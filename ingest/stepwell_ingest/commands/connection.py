"""The Postgres that a command means, and a connection to it with an error that helps when there is none."""

from __future__ import annotations

import os

import asyncpg

from stepwell.cli import ServerFile, data_directory
from stepwell.errors import UnavailableError
from stepwell_ingest.db.connect import command_connection

_CONNECT_S = 10.0


def find_dsn(argument: str | None, data_option: str | None) -> str:
    """The DSN that was given, else STEPWELL_DSN, else that of the server on this machine.

    Raises:
        UnavailableError: there is none.
        SettingError: the server's note of where it is cannot be read.
    """
    given = argument or (None if data_option else os.environ.get("STEPWELL_DSN"))
    if given:
        return given
    data = data_directory(data_option)
    found = ServerFile.read(data)
    if found is None:
        raise UnavailableError(
            f"no server runs on the data directory {data}",
            hint="start one with `stepwell up`; or name another directory with --data, or a Postgres with --dsn",
        )
    return found.dsn


async def connect(dsn: str, user: str | None = None, **settings: str) -> asyncpg.Connection:
    """A connection with these settings of Postgres.

    Args:
        user: another one than the DSN's.

    Raises:
        UnavailableError: Postgres cannot be reached.
    """
    try:
        return await command_connection(dsn, _CONNECT_S, user, settings)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        raise UnavailableError(
            "Postgres cannot be reached",
            detail=str(error) or type(error).__name__,
            hint="is `stepwell up` running? Another Postgres is named with --dsn",
        ) from error
