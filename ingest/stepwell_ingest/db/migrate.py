"""Brings a database to the schema that this version of Stepwell needs.

Runs before everything that queries the database; `stepwell up` waits for it. Receives a connection that may create
objects, and the files of `stepwell_schema`; returns the names of the applied files, which are recorded in
`stepwell.migration`. Promises: each file is applied whole or not at all, however many servers start together, and a
database that does not fit this version is refused before anything changes.

Migrations run once, in order, each in its own transaction. Functions and views are applied again, all in one
transaction, when one of their files has changed or a migration has run (it may have dropped objects that depend on a
table). Those of a newer version stay: they serve older servers, too, until these are upgraded. All files run with
`search_path = pg_catalog`, so a name without its schema fails here and not for some reader with another path.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence

import asyncpg

import stepwell_schema
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_schema import SqlFile

__all__ = ["REPLACEABLE", "migrate"]

# The row with the checksum of all functions and views. No migration can have this name: it has no number.
REPLACEABLE = "replaceable"

_SERVER_VERSION_MIN = 150000
# Any constant: "stepwell" as the bytes of a 64-bit integer.
_LOCK_KEY = int.from_bytes(b"stepwell")
_LOCK_POLL_S = 0.1
_LOCK_WARN_S = 5.0
# DDL queues in front of all later queries on its table, so it must not wait long behind an old one.
_DDL_LOCK_TIMEOUT = "5s"

# Whether a role that may migrate holds the lock. Any role can take an advisory lock, even one that can only read.
_SERVERS_HOLD = """
SELECT EXISTS (
    SELECT FROM pg_locks k
    JOIN pg_database d ON d.oid = k.database AND d.datname = current_database()
    JOIN pg_stat_activity a ON a.pid = k.pid
    WHERE k.locktype = 'advisory' AND k.granted AND k.objsubid = 1
      AND k.classid::bigint = (($1::bigint >> 32) & 4294967295) AND k.objid::bigint = ($1::bigint & 4294967295)
      AND CASE WHEN to_regclass('stepwell.migration') IS NULL
               THEN has_database_privilege(a.usesysid, current_database(), 'CREATE')
               ELSE has_table_privilege(a.usesysid, to_regclass('stepwell.migration'), 'INSERT') END)
"""
# Held while a file is applied: it also excludes servers that go on because only a reader holds the advisory lock.
_ALONE = "LOCK TABLE stepwell.migration IN SHARE ROW EXCLUSIVE MODE"
_BOOTSTRAP = """
CREATE SCHEMA IF NOT EXISTS stepwell;
CREATE TABLE IF NOT EXISTS stepwell.migration (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stepwell.migration IS 'SQL files that were applied to this database';
CREATE TABLE IF NOT EXISTS stepwell.replaced (
    checksum text PRIMARY KEY,
    replaced_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stepwell.replaced IS 'checksums of functions and views that newer ones have replaced';
"""
_RECORD = """
INSERT INTO stepwell.migration (name, checksum) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = now()
"""

# Functions and views that were replaced by newer ones: an older server that starts again must not restore them.
_WAS_REPLACED = "SELECT EXISTS (SELECT FROM stepwell.replaced WHERE checksum = $1)"
_REPLACE = """
INSERT INTO stepwell.replaced (checksum)
SELECT checksum FROM stepwell.migration WHERE name = 'replaceable' AND checksum <> $1 ON CONFLICT DO NOTHING
"""

_log = logging.getLogger(__name__)


async def migrate(connection: asyncpg.Connection) -> list[str]:
    """Applies the missing migrations, functions and views.

    Args:
        connection: a direct connection, not one through a pooler that shares sessions: a session lock excludes other
            servers.

    Returns:
        The names of the applied files, in order; `replaceable` stands for the functions and views. Empty when the
        database was up to date.

    Raises:
        SettingError: the server is older than PostgreSQL 15, or a newer Stepwell or an edited migration was applied.
        UnavailableError: another transaction has locked a table; a later retry helps.
        Error: a file failed; its transaction was rolled back.
    """
    version = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
    if version < _SERVER_VERSION_MIN:
        raise SettingError(
            f"this server is PostgreSQL {version // 10000}, but Stepwell needs 15 or newer",
            hint="upgrade it, or leave --dsn out: stepwell up then starts a Postgres of its own",
        )
    await _lock(connection)
    try:
        return await _apply_missing(connection)
    finally:
        # A lost connection has released its lock.
        if not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_KEY)


async def _apply_missing(connection: asyncpg.Connection) -> list[str]:
    # Checked first, so that an up-to-date database requires no right to create anything.
    if await connection.fetchval("SELECT to_regclass('stepwell.replaced') IS NULL"):
        await connection.execute(_BOOTSTRAP)
    recorded = dict(await connection.fetch("SELECT name, checksum FROM stepwell.migration"))
    known = stepwell_schema.migrations()
    _check(known, recorded)
    names = []
    for file in known:
        if file.name not in recorded:
            await _apply(connection, file.name, file.checksum, [file], None)
            names.append(file.name)
    replaceable: list[SqlFile] = [*stepwell_schema.functions(), *stepwell_schema.views()]
    checksum = hashlib.sha256("\n".join(f"{file.name} {file.checksum}" for file in replaceable).encode()).hexdigest()
    known_checksum = recorded.get(REPLACEABLE)
    if not names and known_checksum != checksum and await connection.fetchval(_WAS_REPLACED, checksum):
        _log.warning("this database keeps the functions of a newer version; upgrade Stepwell on this machine")
    elif names or known_checksum != checksum:
        await _apply(connection, REPLACEABLE, checksum, replaceable, known_checksum)
        names.append(REPLACEABLE)
    return names


def _check(known: Sequence[SqlFile], recorded: dict[str, str]) -> None:
    expected = {file.name: file.checksum for file in known}
    if unknown := sorted(recorded.keys() - expected.keys() - {REPLACEABLE}):
        raise SettingError(
            "a newer version of Stepwell has changed this database",
            detail=f"unknown migrations: {', '.join(unknown)}",
            hint="upgrade Stepwell on this machine",
        )
    if changed := [name for name in expected if recorded.get(name, expected[name]) != expected[name]]:
        raise SettingError(
            f"the migration {changed[0]} was edited after it had been applied to this database",
            detail=f"recorded checksum {recorded[changed[0]][:12]}, the file's is {expected[changed[0]][:12]}",
            hint="install a released version of Stepwell; a changed schema needs a new migration",
        )


async def _apply(
    connection: asyncpg.Connection, name: str, checksum: str, files: Sequence[SqlFile], seen: str | None
) -> None:
    """Applies files in one transaction, unless another server has done so since the recorded checksum was `seen`."""
    place = name
    try:
        async with connection.transaction():
            await connection.execute(
                f"SET LOCAL lock_timeout = '{_DDL_LOCK_TIMEOUT}'; "
                "SET LOCAL statement_timeout = 0; SET LOCAL search_path = pg_catalog; " + _ALONE
            )
            recorded = await connection.fetchval("SELECT checksum FROM stepwell.migration WHERE name = $1", name)
            if recorded == checksum != seen:
                return
            for file in files:
                place = f"{file.name}.sql"
                await connection.execute(file.sql)
            if name == REPLACEABLE:
                await connection.execute(_REPLACE, checksum)
            await connection.execute(_RECORD, name, checksum)
    except asyncpg.LockNotAvailableError as error:
        raise UnavailableError(
            f"{place} waited {_DDL_LOCK_TIMEOUT} for a table that another transaction has locked",
            detail=str(error),
            hint="look for long transactions in pg_stat_activity, then start again",
        ) from error
    except asyncpg.PostgresError as error:
        raise Error(f"{place} could not be applied", detail=_describe(error)) from error
    _log.info("applied %s", name)


def _describe(error: asyncpg.PostgresError) -> str:
    position = f", at character {error.position}" if error.position else ""
    return f"{error.sqlstate}: {error}{position}"


async def _lock(connection: asyncpg.Connection) -> None:
    # Polled, since a waiting pg_advisory_lock is subject to a role's statement_timeout or lock_timeout.
    waited_s = 0.0
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
        if not await connection.fetchval(_SERVERS_HOLD, _LOCK_KEY):
            return  # it was released meanwhile, or a reader has it
        if waited_s <= _LOCK_WARN_S < waited_s + _LOCK_POLL_S:
            _log.warning("waiting for another server that migrates this database")
        await asyncio.sleep(_LOCK_POLL_S)
        waited_s += _LOCK_POLL_S
