"""After a restore into a cluster without the reader role, the next start of a server gives the role its rights."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from fixtures.postgres import temporary_directory
from stepwell.cli import main
from stepwell_ingest.config import Config
from stepwell_ingest.db import binaries
from stepwell_ingest.db.cluster import Cluster, ClusterSettings, embedded_binaries
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

SMALL = ClusterSettings(shared_buffers_mb=16, max_wal_size_mb=64, min_wal_size_mb=32, extra={"fsync": "off"})
COUNT = "SELECT count(*) FROM stepwell.runs"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Cluster]:
    """A cluster that no server has used."""
    with temporary_directory() as place, Cluster(place / "data", embedded_binaries(), SMALL) as cluster:
        yield cluster


@pytest.fixture
async def restored(pg_cluster: Cluster, postgres_dsn: str, elsewhere: Cluster) -> str:
    """The DSN of a database with a run, dumped and restored as docs/operations.md says."""
    admin = await asyncpg.connect(postgres_dsn)
    await admin.execute("INSERT INTO stepwell.run (run_id, entity, project, name) VALUES (1, 'e', 'p', 'kept')")
    await admin.close()
    await _run("pg_dump", "--format=custom", f"--file={elsewhere.data_dir.parent / 'dump'}", _libpq(postgres_dsn))
    admin = await asyncpg.connect(elsewhere.dsn("postgres"))
    await admin.execute("DROP DATABASE stepwell WITH (FORCE)")
    await admin.execute("DROP ROLE IF EXISTS stepwell_reader")
    await admin.execute("CREATE DATABASE stepwell")
    await admin.close()
    target = _libpq(elsewhere.dsn())
    dump = str(elsewhere.data_dir.parent / "dump")
    await _run("pg_restore", "--no-owner", "--no-privileges", "--exit-on-error", f"--dbname={target}", dump)
    return elsewhere.dsn()


def _libpq(dsn: str) -> str:
    parts = urlsplit(dsn)
    options = parse_qs(parts.query)
    return f"host={options['host'][0]} port={options['port'][0]} user=stepwell dbname={parts.path[1:]}"


async def _run(program: str, *arguments: str) -> None:
    command = [str(embedded_binaries() / program), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await process.communicate()
    assert process.returncode == 0, told.decode()


async def test_next_start_restores_the_reader(restored: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await asyncpg.connect(restored, user="stepwell_reader")
    worker = Worker(Config(restored, port=0))
    with caplog.at_level(logging.WARNING):
        await worker.start()
    await worker.stop()
    assert "stepwell_reader" not in caplog.text
    reader = await asyncpg.connect(restored, user="stepwell_reader")
    assert await reader.fetchval(COUNT) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch("SELECT session FROM stepwell.ledger")
    await reader.close()
    admin = await asyncpg.connect(restored)
    assert await admin.fetchval("SELECT stepwell.reader_lacks_v1()") == []
    await admin.close()


async def test_reading_as_the_owner_is_told(restored: str, capsys: pytest.CaptureFixture[str]) -> None:
    query = ("SELECT session_user AS login, current_user AS role", "--format", "csv")
    assert await asyncio.to_thread(main, ["sql", *query, "--dsn", restored]) == 0
    out, told = capsys.readouterr()
    assert out.split() == ["login,role", "stepwell,stepwell"]
    assert "reading as the role stepwell, which may also write: stepwell_reader is missing" in told
    connection = await asyncpg.connect(restored)
    assert await connection.fetchval("SELECT stepwell.restore_reader_v1()") == []
    await connection.close()
    assert await asyncio.to_thread(main, ["sql", *query, "--dsn", restored]) == 0
    out, told = capsys.readouterr()
    assert (out.split()[1], told) == ("stepwell_reader,stepwell_reader", "")


async def test_missing_grants_are_found_and_restored(any_postgres_dsn: str) -> None:
    admin = await asyncpg.connect(any_postgres_dsn)
    assert await admin.fetchval("SELECT stepwell.reader_lacks_v1()") == []
    await admin.execute("REVOKE ALL ON stepwell.runs, stepwell.chunk FROM stepwell_reader")
    await admin.execute("REVOKE USAGE ON SCHEMA stepwell FROM stepwell_reader")
    lacks = await admin.fetchval("SELECT stepwell.reader_lacks_v1()")
    assert sorted(lacks) == ["chunk", "runs", "the schema stepwell"]
    assert await admin.fetchval("SELECT stepwell.restore_reader_v1()") == []
    await admin.close()
    reader = await asyncpg.connect(any_postgres_dsn, user="stepwell_reader")
    assert await reader.fetchval(COUNT) == 0
    await reader.close()


async def test_server_that_may_not_restore_them_warns(any_postgres_dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its role owns the database, and may not create or grant to stepwell_reader's objects of another owner."""
    admin = await asyncpg.connect(any_postgres_dsn)
    role = f"helper_{await admin.fetchval('SELECT current_database()')}"
    await admin.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA stepwell TO {role}")
    await admin.execute("REVOKE ALL ON stepwell.runs FROM stepwell_reader")
    try:
        helper = await asyncpg.connect(any_postgres_dsn, user=role)
        assert await helper.fetchval("SELECT stepwell.restore_reader_v1()") == ["runs"]
        await helper.close()
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()


async def test_login_of_sql_clients_is_made_again(any_postgres_dsn: str) -> None:
    admin = await asyncpg.connect(any_postgres_dsn)
    make = "SELECT stepwell.make_sql_login_v1($1)"
    settings = "SELECT s.setconfig, a.rolpassword, a.rolconnlimit FROM pg_authid a JOIN pg_db_role_setting s ON "
    settings += "s.setrole = a.oid WHERE a.rolname = 'stepwell_sql'"
    verifiers = [f"SCRAM-SHA-256$4096:{'A' * 24}${letter * 43}=:{'B' * 43}=" for letter in "CD"]
    try:
        await admin.execute(make, verifiers[0])
        first = await admin.fetchrow(settings)
        await admin.execute("ALTER ROLE stepwell_sql SET default_transaction_read_only = off")
        await admin.execute(make, verifiers[1])
        second = await admin.fetchrow(settings)
        assert (first[0], first[1], first[2]) == (second[0], verifiers[0], 20)
        assert second[1] == verifiers[1]
        assert "default_transaction_read_only=on" in second[0]
        assert await admin.fetchval("SELECT pg_has_role('stepwell_sql', 'stepwell_reader', 'MEMBER')")
    finally:
        await admin.execute("DROP ROLE IF EXISTS stepwell_sql")
        await admin.close()


def test_programs_are_there() -> None:
    """pg_dump and pg_restore come with the embedded Postgres, as docs/operations.md says."""
    for program in ("pg_dump", "pg_restore", "psql"):
        assert Path(embedded_binaries(), program).exists()
    assert binaries.major(binaries.version(embedded_binaries())) == "18"
