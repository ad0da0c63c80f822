"""migrate() on the oldest and the newest Postgres: repeated, concurrent, and on unsuitable databases."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest

import stepwell_schema
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_ingest.db.migrate import REPLACEABLE, migrate
from stepwell_schema import Migration, SqlFile

pytestmark = pytest.mark.db

Install = Callable[..., None]


@pytest.fixture
async def database(any_empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to an empty database."""
    connection = await asyncpg.connect(any_empty_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Replaces the files of the schema."""

    def files(kind: type[SqlFile], texts: dict[str, str]) -> list[SqlFile]:
        return [kind(name, sql, hashlib.sha256(sql.encode()).hexdigest()) for name, sql in texts.items()]

    def install(
        migrations: dict[str, str], functions: dict[str, str] | None = None, views: dict[str, str] | None = None
    ) -> None:
        monkeypatch.setattr(stepwell_schema, "migrations", lambda: files(Migration, migrations))
        monkeypatch.setattr(stepwell_schema, "functions", lambda: files(SqlFile, functions or {}))
        monkeypatch.setattr(stepwell_schema, "views", lambda: files(SqlFile, views or {}))

    return install


FIRST = {"0001_a": "CREATE TABLE stepwell.a (n int); INSERT INTO stepwell.a VALUES (1)"}
SECOND = {**FIRST, "0002_b": "CREATE TABLE stepwell.b (n int)"}


async def test_schema_is_applied_once(database: asyncpg.Connection) -> None:
    names = [file.name for file in stepwell_schema.migrations()]
    assert await migrate(database) == [*names, REPLACEABLE]
    recorded = dict(await database.fetch("SELECT name, checksum FROM stepwell.migration"))
    assert {file.name: file.checksum for file in stepwell_schema.migrations()}.items() <= recorded.items()
    assert await migrate(database) == []


async def test_two_servers_apply_the_schema_once(any_empty_dsn: str) -> None:
    connections = [await asyncpg.connect(any_empty_dsn) for _ in range(3)]
    applied = await asyncio.gather(*(migrate(connection) for connection in connections))
    assert sorted(map(bool, applied)) == [False, False, True]
    assert await connections[0].fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    for connection in connections:
        await connection.close()


async def test_only_missing_migrations_are_applied(database: asyncpg.Connection, install: Install) -> None:
    install(FIRST)
    assert await migrate(database) == ["0001_a", REPLACEABLE]
    install(SECOND)
    assert await migrate(database) == ["0002_b", REPLACEABLE]
    assert await database.fetchval("SELECT count(*) FROM stepwell.a") == 1


async def test_changed_functions_and_views_are_reapplied(database: asyncpg.Connection, install: Install) -> None:
    function = "CREATE OR REPLACE FUNCTION stepwell.f() RETURNS int LANGUAGE sql AS $$ SELECT %d $$"
    view = {"v": "CREATE OR REPLACE VIEW stepwell.v AS SELECT stepwell.f() AS n"}
    install(FIRST, {"f": function % 1}, view)
    await migrate(database)
    install(FIRST, {"f": function % 2}, view)
    assert await migrate(database) == [REPLACEABLE]
    assert await database.fetchval("SELECT n FROM stepwell.v") == 2


async def test_older_server_keeps_newer_functions(
    database: asyncpg.Connection, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    function = "CREATE OR REPLACE FUNCTION stepwell.f() RETURNS int LANGUAGE sql AS $$ SELECT %d $$"
    for version in (1, 2):
        install(FIRST, {"f": function % version})
        assert REPLACEABLE in await migrate(database)
    for _ in range(2):
        install(FIRST, {"f": function % 1})
        assert await migrate(database) == []
        assert await database.fetchval("SELECT stepwell.f()") == 2
    assert "upgrade Stepwell on this machine" in caplog.text
    install(FIRST, {"f": function % 2})
    assert await migrate(database) == []
    install(FIRST, {"f": function % 3})
    assert await migrate(database) == [REPLACEABLE]


async def test_upgrade_leaves_one_attach_function(database: asyncpg.Connection) -> None:
    """Two overloads that differ only in default arguments would make every call of an older server ambiguous."""
    await migrate(database)
    await database.execute(
        "CREATE FUNCTION stepwell.attach_v1(text, text, text, text, uuid, boolean, jsonb, text DEFAULT NULL, "
        "bigint DEFAULT NULL, text DEFAULT NULL, bigint DEFAULT NULL) RETURNS int LANGUAGE sql AS 'SELECT 1'"
    )
    await database.execute("UPDATE stepwell.migration SET checksum = '' WHERE name = $1", REPLACEABLE)
    assert await migrate(database) == [REPLACEABLE]
    assert await database.fetchval("SELECT count(*) FROM pg_proc WHERE proname = 'attach_v1'") == 1


async def test_name_without_schema_fails(database: asyncpg.Connection, install: Install) -> None:
    install({"0001_a": "CREATE TABLE a (n int)"})
    with pytest.raises(Error, match=r"0001_a\.sql could not be applied"):
        await migrate(database)


async def test_failing_file_is_rolled_back_and_named(database: asyncpg.Connection, install: Install) -> None:
    install({**FIRST, "0002_bad": "CREATE TABLE stepwell.b (n int); SELECT 1/0"})
    with pytest.raises(Error, match=r"0002_bad\.sql could not be applied \(22012: division by zero"):
        await migrate(database)
    assert await database.fetchval("SELECT to_regclass('stepwell.b')") is None
    assert await database.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
    install(SECOND)
    assert await migrate(database) == ["0002_b", REPLACEABLE]


async def test_edited_migration_is_refused(database: asyncpg.Connection, install: Install) -> None:
    install(FIRST)
    await migrate(database)
    install({"0001_a": "CREATE TABLE stepwell.a (n bigint)", "0002_b": "CREATE TABLE stepwell.b (n int)"})
    with pytest.raises(SettingError, match="0001_a was edited after it had been applied"):
        await migrate(database)
    assert await database.fetchval("SELECT to_regclass('stepwell.b')") is None


async def test_newer_database_is_refused(database: asyncpg.Connection, install: Install) -> None:
    install(SECOND)
    await migrate(database)
    install(FIRST)
    with pytest.raises(SettingError, match=r"newer version of Stepwell .*\n?.*0002_b.*\n.*upgrade Stepwell"):
        await migrate(database)


async def test_wait_for_a_locked_table_times_out(
    any_empty_dsn: str, database: asyncpg.Connection, install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell_ingest.db.migrate._DDL_LOCK_TIMEOUT", "200ms")
    install(FIRST)
    await migrate(database)
    install({**FIRST, "0002_alter": "ALTER TABLE stepwell.a ADD COLUMN m int"})
    other = await asyncpg.connect(any_empty_dsn)
    await other.execute("BEGIN; SELECT * FROM stepwell.a")
    with pytest.raises(UnavailableError, match=r"0002_alter\.sql waited 200ms for a table"):
        await migrate(database)
    await other.execute("ROLLBACK")
    await other.close()
    assert await migrate(database) == ["0002_alter", REPLACEABLE]


async def test_old_postgres_is_refused() -> None:
    class Old:
        async def fetchval(self, _: str) -> str:
            return "140011"

    with pytest.raises(SettingError, match="this server is PostgreSQL 14, but Stepwell needs 15 or newer"):
        await migrate(Old())
