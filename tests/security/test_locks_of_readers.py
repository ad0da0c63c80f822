"""Readers hold no lock that the server waits for, and cannot extend the privileges of their role."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest

from fixtures.ingest import Session, post, start_worker, stored_steps
from stepwell_ingest.delete.sweeper import Sweeper

pytestmark = pytest.mark.db

#: Every advisory lock that this or an earlier version has taken, as keys.
KEYS = """SELECT hashtextextended(n, 0) AS key FROM unnest(ARRAY[
    'stepwell.hot_ring', 'stepwell.reap', 'stepwell.ensure_partitions', 'stepwell.sweep', 'stepwell.collect']) n
UNION ALL SELECT hashtextextended(concat_ws(E'\\x01', 'team', 'mnist', 'run-' || n), 1) FROM generate_series(1, 3) n
UNION ALL SELECT hashtextextended(concat_ws('/', 'seal', r.run_id, w), 0) FROM stepwell.run r, generate_series(1, 3) w
UNION ALL SELECT x'7374657077656c6c'::bigint"""  # that of migrations: "stepwell"
#: Simulates a server whose role may not revoke privileges of PUBLIC.
GRANTS = """GRANT EXECUTE ON FUNCTION pg_advisory_lock(bigint) TO PUBLIC"""
RING = "hashtextextended('stepwell.hot_ring', 0)"
TABLES = ("lock", "hot_ring_lock", "run_being_made")
MODES = ("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE")
NEEDLESS = [
    "CREATE TEMP TABLE mine (x int)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT pg_advisory_lock(7)",
    "SELECT pg_advisory_xact_lock_shared(7, 7)",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "SELECT pg_notify('a', 'b')",
]


@asynccontextmanager
async def reader(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of the reader that has removed all limits that it may change."""
    connection = await asyncpg.connect(dsn, user="stepwell_reader")
    try:
        await connection.execute("SET default_transaction_read_only = off; SET statement_timeout = 0")
        yield connection
    finally:
        await connection.close()


async def test_advisory_locks_do_not_stop_ingest(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    known, late = Session(run="run-1"), Session(run="run-2")
    async with start_worker(any_postgres_dsn) as worker:
        await post(worker, "/v1/attach", known.attach())
        await any_pg.execute(GRANTS)
        async with reader(any_postgres_dsn) as person:
            for row in await any_pg.fetch(KEYS):
                await person.execute("SELECT pg_advisory_lock($1)", row["key"])
            for session in (known, late):
                assert (await post(worker, "/v1/attach", session.attach()))[0] == 200
                assert (await post(worker, "/v1/frames", session.frame(10)))[0] == 200
            # Runs a turn of the ring, partitions, sealing, sweeping, and the start of another server.
            assert await any_pg.fetchval("SELECT stepwell.rotate_ring_v1(0, '0 s')") == 1
            await any_pg.execute("SELECT stepwell.ensure_partitions_v1('2031-01-01', 1)")
            run_id = await any_pg.fetchval("SELECT run_id FROM stepwell.run WHERE name = 'run-1'")
            assert await any_pg.fetchval("SELECT stepwell.claim_sealing_v1($1, 1)", run_id)
            assert await any_pg.fetchval("SELECT stepwell.delete_run_v1($1)", run_id)
            assert await Sweeper(any_pg).sweep() is not None
            await any_pg.execute("UPDATE stepwell.writer SET heartbeat_at = heartbeat_at - interval '1 hour'")
            assert await any_pg.fetchval("SELECT stepwell.reap_v1('1 min')") == 1
            async with start_worker(any_postgres_dsn) as another:
                assert (await post(another, "/v1/attach", Session(run="run-3").attach()))[0] == 200
            assert await person.fetchval("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND objsubid = 1")
    assert await stored_steps(any_pg, run="run-2") == list(range(10))


async def test_reader_cannot_lock_server_tables(any_postgres_dsn: str) -> None:
    async with start_worker(any_postgres_dsn), reader(any_postgres_dsn) as person:
        for table in TABLES:
            for statement in (f"SELECT FROM stepwell.{table}", f"DELETE FROM stepwell.{table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await person.execute(statement)
            for mode in MODES:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await person.execute(f"BEGIN; LOCK TABLE stepwell.{table} IN {mode} MODE")
                await person.execute("ROLLBACK")


@pytest.mark.parametrize("statement", NEEDLESS)
async def test_reader_has_minimal_privileges(any_postgres_dsn: str, statement: str) -> None:
    async with start_worker(any_postgres_dsn), reader(any_postgres_dsn) as person:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await person.execute(statement)


async def test_reader_cannot_vacuum(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    async with start_worker(any_postgres_dsn), reader(any_postgres_dsn) as person:
        for statement in ("VACUUM stepwell.run", "ANALYZE stepwell.run", "VACUUM FULL stepwell.run"):
            await person.execute(statement)  # Postgres warns, and skips the table
    counts = "SELECT vacuum_count + analyze_count FROM pg_stat_user_tables WHERE relname = 'run'"
    assert await any_pg.fetchval(counts) == 0


async def test_reader_role_settings_are_reset(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    database = await any_pg.fetchval("SELECT current_database()")
    async with start_worker(any_postgres_dsn), reader(any_postgres_dsn) as person:
        for where in ("", f"IN DATABASE {database} "):
            for setting in ("default_transaction_read_only = off", "statement_timeout = 0"):
                await person.execute(f"ALTER ROLE stepwell_reader {where}SET {setting}")
    async with start_worker(any_postgres_dsn):
        later = await asyncpg.connect(any_postgres_dsn, user="stepwell_reader")
        settings = "SELECT current_setting('default_transaction_read_only'), current_setting('statement_timeout')"
        assert tuple(await later.fetchrow(settings)) == ("on", "1min")
        await later.close()


async def test_shared_database_keeps_public_privileges(
    any_postgres_dsn: str, any_pg: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await any_pg.execute("CREATE TABLE public.of_another_program (x int)")
    async with start_worker(any_postgres_dsn) as worker:
        assert "stepwell_reader may do more than read" in caplog.text
        assert "pg_advisory_lock(bigint)" in caplog.text
        assert "temporary tables" in caplog.text
        # over HTTP, settings end with the query
        assert (await post(worker, "/v1/sql", {"query": "SELECT pg_advisory_lock(7)"}))[0] == 200
        await post(worker, "/v1/sql", {"query": "SELECT lo_create(0)"})  # from PostgreSQL 16 on, this is refused
        assert await any_pg.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0
        assert await any_pg.fetchval("SELECT count(*) FROM pg_largeobject_metadata") == 0
    async with reader(any_postgres_dsn) as person:
        await person.execute("SELECT pg_advisory_lock(7)")


async def test_server_without_superuser_warns(
    any_postgres_dsn: str, any_pg: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    database = await any_pg.fetchval("SELECT current_database()")
    await any_pg.execute(f"""
        DROP SCHEMA stepwell CASCADE; CREATE ROLE tenant LOGIN; GRANT CREATE ON SCHEMA public TO tenant;
        ALTER DATABASE {database} OWNER TO tenant; GRANT stepwell_reader TO tenant""")
    parts, session = urlsplit(any_postgres_dsn), Session()
    dsn = parts._replace(netloc=f"tenant@{parts.netloc.rpartition('@')[2]}").geturl()
    try:
        async with start_worker(dsn) as worker:
            assert "pg_advisory_lock(bigint)" in caplog.text
            assert "temporary tables" not in caplog.text  # the owner of a database may revoke these
            assert (await post(worker, "/v1/attach", session.attach()))[0] == 200
            assert (await post(worker, "/v1/frames", session.frame(10)))[0] == 200
            async with reader(any_postgres_dsn) as person:
                await person.execute(f"SELECT pg_advisory_lock({RING})")
                assert (await post(worker, "/v1/frames", session.frame(10)))[0] == 200
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await person.execute("CREATE TEMP TABLE mine (x int)")
    finally:
        await any_pg.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER; DROP OWNED BY tenant; DROP ROLE tenant")


async def test_migration_waits_for_older_servers(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    """Their transactions hold advisory locks, which count only if their role may write."""
    session = Session()
    async with start_worker(any_postgres_dsn) as worker:
        await post(worker, "/v1/attach", session.attach())
        await post(worker, "/v1/frames", session.frame())
        older = await asyncpg.connect(any_postgres_dsn)
        await older.execute(f"SELECT pg_advisory_lock_shared({RING})")  # a batch
        assert await any_pg.fetchval("SELECT stepwell.rotate_ring_v1(0, '0 s')") is None
        await older.execute(f"SELECT pg_advisory_unlock_shared({RING}); SELECT pg_advisory_lock({RING})")  # a turn
        async with any_pg.transaction():
            await any_pg.execute("SET LOCAL lock_timeout = '50ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await any_pg.execute("SELECT stepwell.hot_ring_v1()")
        await older.close()
        assert await any_pg.fetchval("SELECT stepwell.rotate_ring_v1(0, '0 s')") == 1
