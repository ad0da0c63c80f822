"""stepwell_reader sees the whole contract and nothing that allows logging, and cannot change anything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories
from stepwell_ingest.db.migrate import migrate

pytestmark = pytest.mark.db

READS = [
    *(
        f"SELECT * FROM stepwell.{view}"
        for view in ("history", "history_superseded", "history_objects", "runs", "rejections")
    ),
    "SELECT * FROM stepwell.history WHERE run = 'fork'",
    "SELECT * FROM stepwell.history_between(0, 5)",
    "SELECT s.* FROM stepwell.run r, stepwell.history_sample(r.run_id, 'loss', 10) s",
    "SELECT w.* FROM stepwell.run r, stepwell.history_wide(r.run_id, '{loss,acc}') w",
    "SELECT a.* FROM stepwell.run r, stepwell.history_position(r.run_id) p, stepwell.history_asof(p) a",
]
NOT_READ = ("history_superseded", "history_objects", "rejections")


@pytest.fixture
async def reader(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A reader of a half-sealed run, which has removed all limits that it may change."""
    pool = await asyncpg.create_pool(any_postgres_dsn, min_size=1, max_size=2)
    await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    made = Histories(pool)
    stored = await made.attach("run", "0")
    for _ in range(2):
        await made.put(stored, ["loss", "acc"], np.arange(8.0).reshape(2, 4))
        if not stored.next_step > 4:
            await made.seal(whole=True)
    await made.attach("fork", "0", fork_run="run", fork_step_=5)
    pool.terminate()
    connection = await asyncpg.connect(any_postgres_dsn, user="stepwell_reader")
    await connection.execute("SET default_transaction_read_only = off; SET transaction_read_only = off")
    yield connection
    await connection.close()


@pytest.mark.parametrize("query", READS)
async def test_reader_can_read_the_whole_contract(reader: asyncpg.Connection, query: str) -> None:
    rows = await reader.fetch(query)
    assert bool(rows) is not query.endswith(NOT_READ)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM stepwell.run",
        "TRUNCATE stepwell.hot_block_0",
        "INSERT INTO stepwell.lineage VALUES (1, 1, 1)",
        "UPDATE stepwell.ledger SET next_seq = 0",
        "SELECT session FROM stepwell.ledger",
        "SELECT * FROM stepwell.ledger",
        "SELECT stepwell.attach_v1('a', 'b', 'c', 'd', gen_random_uuid(), false, '{}')",
        "SELECT stepwell.ensure_partitions_v1('2031-01-01', 1)",
        "SELECT stepwell.new_run_id_v1()",
        "CREATE TABLE stepwell.mine ()",
        "CREATE SCHEMA mine",
        "CREATE ROLE mine",
        "COPY stepwell.run TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
        "SET ROLE stepwell",
        "SET SESSION AUTHORIZATION stepwell",
        "ALTER ROLE stepwell_reader SUPERUSER",
    ],
)
async def test_reader_cannot_write_or_log(reader: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.execute(statement)


async def test_login_is_read_only_and_has_a_timeout(any_postgres_dsn: str) -> None:
    connection = await asyncpg.connect(any_postgres_dsn, user="stepwell_reader")
    assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
    assert await connection.fetchval("SHOW statement_timeout") == "1min"
    await connection.close()


@pytest.mark.parametrize("may", ["NOCREATEROLE", "CREATEROLE"])
async def test_server_starts_without_superuser_rights(any_empty_dsn: str, may: str) -> None:
    admin = await asyncpg.connect(any_empty_dsn)
    database = await admin.fetchval("SELECT current_database()")
    role = f"owner_{database}"
    await admin.execute(f"CREATE ROLE {role} LOGIN {may}; ALTER DATABASE {database} OWNER TO {role}")
    try:
        connection = await asyncpg.connect(any_empty_dsn, user=role)
        assert "replaceable" in await migrate(connection)
        assert await connection.fetchval("SELECT stepwell.grant_reader_v1()")
        await connection.close()
        reads = await asyncpg.connect(any_empty_dsn, user="stepwell_reader")
        assert await reads.fetch("SELECT * FROM stepwell.history") == []
        await reads.close()
    finally:
        await admin.execute(f"REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}")
        await admin.close()
