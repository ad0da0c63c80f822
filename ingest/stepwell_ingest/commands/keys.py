"""`stepwell keys`: makes, lists and revokes API keys, in the database of a server.

Works on the database itself: everyone who can connect to it as the server does is an administrator, so no first key is
needed. Promises to print a key once, on stdout only, and to store only its SHA-256.
"""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stepwell.cli import Command, table
from stepwell.errors import NotFoundError, SettingError, UnavailableError
from stepwell_ingest.access.key import PREFIX, make_key
from stepwell_ingest.access.rights import Role, Scope, parse_scope
from stepwell_ingest.commands.actor import actor
from stepwell_ingest.commands.connection import connect, find_dsn
from stepwell_ingest.delete.plan import parse_age
from stepwell_ingest.server import loop
from stepwell_schema import queries

_MAX_NAME = 128

ABOUT = """make, list and revoke API keys

  stepwell keys create team                          # may log to all projects of the entity `team`
  stepwell keys create team/mnist --role reader      # may read one project, and do nothing else
  stepwell keys create --server --role admin         # may do everything on this server
  stepwell keys list
  stepwell keys revoke AbCd12EfGh34
  stepwell keys log                                  # who made and revoked keys, and who deleted runs

A key is shown once; the server stores only its SHA-256. A server asks for keys when it is started with
`stepwell up --require-keys`. A revoked key is refused within 5 seconds, and its open streams are closed."""


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|list|revoke|log")
    create = actions.add_parser("create", help="make a key, and print it")
    create.add_argument("scope", nargs="?", metavar="ENTITY[/PROJECT]", help="where the key is valid")
    create.add_argument("--server", action="store_true", help="the key is valid on the whole server")
    create.add_argument(
        "--role", type=Role, choices=list(Role), default=Role.WRITER, help="what the key allows; default %(default)s"
    )
    create.add_argument("--name", help="what the key is for, as shown in lists; default: role and scope")
    create.add_argument(
        "--expires", metavar="AGE", help="how long the key is valid, such as 90d or 12w; default: it does not expire"
    )
    listing = actions.add_parser("list", help="list all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="revoke a key for good")
    revoke.add_argument("id", metavar="ID", help="the id that `stepwell keys list` shows")
    log = actions.add_parser("log", help="show the last entries of the audit log")
    log.add_argument("--limit", type=int, default=100, metavar="N", help="how many entries; default %(default)s")
    for action in (create, listing, revoke, log):
        action.add_argument("--dsn", help="the Postgres; default STEPWELL_DSN, else that of the server on this machine")
        action.add_argument("--data", metavar="DIR", help="data directory of a server on this machine")


def run(options: argparse.Namespace) -> int:
    if options.action == "create":
        scope, name, valid = _scope(options), _name(options), _valid(options.expires)
        return loop.run(_create(find_dsn(options.dsn, options.data), options.role, scope, name, valid))
    if options.action == "revoke":
        return loop.run(_revoke(find_dsn(options.dsn, options.data), options.id))
    if options.action == "log":
        return loop.run(_log(find_dsn(options.dsn, options.data), options.limit))
    return loop.run(_list(find_dsn(options.dsn, options.data)))


def _scope(options: argparse.Namespace) -> Scope:
    if bool(options.scope) == bool(options.server):
        raise SettingError(
            "a key is valid either in an entity or project, or on the whole server",
            detail="both were given" if options.server else "neither was given",
            hint="stepwell keys create ENTITY, ENTITY/PROJECT, or --server",
        )
    return Scope() if options.server else parse_scope(options.scope)


def _name(options: argparse.Namespace) -> str:
    name: str = options.name or f"{options.role} of {options.scope or 'the server'}"[:_MAX_NAME]
    if not name.isprintable() or not name.strip() or len(name) > _MAX_NAME:
        raise SettingError(
            f"the name of a key has 1 to {_MAX_NAME} printable characters", detail=f"it is {name[:80]!r}"
        )
    return name


def _valid(age: str | None) -> datetime.timedelta | None:
    return None if age is None else parse_age(age)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(dsn, application_name="stepwell keys", TimeZone="UTC")
    try:
        yield connection
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError) as error:
        raise UnavailableError(
            "this database has no keys yet", hint="start this version of the server once: `stepwell up`"
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnavailableError(
            "the role that the command connects as may not manage keys",
            detail=str(error),
            hint="use the DSN of the server itself",
        ) from error
    finally:
        await connection.close(timeout=5)


async def _create(dsn: str, role: Role, scope: Scope, name: str, valid: datetime.timedelta | None) -> int:
    key = make_key()
    row = (key.id, key.digest, name, role.value, scope.entity, scope.project, actor("keys"), valid)
    async with _connected(dsn) as connection:
        expires = await connection.fetchval(queries("access")["create_key"], *row)
    until = f"until {expires:%Y-%m-%d %H:%M} UTC" if expires else "without expiry"
    sys.stderr.write(
        f"stepwell: key {key.id}, {role} in {scope}, {until}\n"
        "  The key itself is shown only once. Give it to its user over a secure channel: `stepwell login` stores it,\n"
        "  STEPWELL_API_KEY passes it to a process.\n"
    )
    print(key.text, flush=True)
    return 0


async def _list(dsn: str) -> int:
    async with _connected(dsn) as connection:
        rows = await connection.fetch(queries("access")["list_keys"])
    if not rows:
        print("there are no keys; `stepwell keys create` makes one")
        return 0
    head = ("id", "name", "role", "where", "created", "expires", "last used", "state")
    cells = [
        (
            *(row["key_id"], row["name"], row["role"], str(Scope(row["entity"], row["project"]))),
            *(_day(row["created_at"]), _day(row["expires_at"]), _day(row["last_used_at"])),
            "revoked" if row["revoked_at"] else "expired" if row["expired"] else "valid",
        )
        for row in rows
    ]
    print(table(head, cells))
    return 0


async def _revoke(dsn: str, given: str) -> int:
    key_id = given.removeprefix(PREFIX)[: len(make_key().id)]
    async with _connected(dsn) as connection:
        name = await connection.fetchval(queries("access")["revoke_key"], key_id, actor("keys"))
        known = await connection.fetch(queries("access")["list_keys"]) if name is None else []
    if name is None:
        if any(row["key_id"] == key_id for row in known):
            print(f"key {key_id} was revoked already")
            return 0
        raise NotFoundError(f"there is no key {key_id!r}", hint="`stepwell keys list` shows the ids")
    print(f"key {key_id} ({name}) is revoked; servers refuse it within 5 seconds")
    return 0


async def _log(dsn: str, limit: int) -> int:
    async with _connected(dsn) as connection:
        rows = await connection.fetch(queries("access")["audit"], max(0, limit))
    head = ("at", "who", "what", "of")
    print(table(head, [(_day(row["at"]), row["actor"], row["action"], _subject(row)) for row in reversed(rows)]))
    return 0


def _subject(row: asyncpg.Record) -> str:
    """The key or run that an entry is about."""
    path = "/".join(filter(None, (row["entity"], row["project"], row["run"])))
    if row["key_id"] is None:
        return path
    return f"{row['key_id']} ({row['name']}), {row['role']} in {path or Scope()}"


def _day(at: datetime.datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M}" if at else "never"


COMMAND = Command(ABOUT, configure, run)
