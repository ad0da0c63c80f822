"""Rows read after waiting for a lock are current, whatever the default isolation of the database or the role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from fixtures.ingest import eventually
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.db.connect import command_connection, maintenance_connection, seal_pool, write_pool

pytestmark = pytest.mark.db

MAKE = "SELECT stepwell.attach_v1('team', 'mnist', $1, '0', gen_random_uuid(), false, '{}'"
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def strict(postgres_dsn: str) -> str:
    """A database with the strictest isolation level as its default."""
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    await connection.execute(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = ''serializable''', "
        "current_database()); END $$"
    )
    await connection.close()
    return postgres_dsn


@asynccontextmanager
async def of_pool(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Connection]:
    async with pool.acquire() as connection:
        yield connection
    pool.terminate()


def single(dsn: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    return {
        "sweep": lambda: maintenance_connection(dsn, "sweep", 5),
        "delete": lambda: command_connection(dsn, 5, None, {}),
        "write": lambda: write_pool(dsn, Limits(), Timeouts()),
        "seal": lambda: seal_pool(dsn, 5),
    }


@pytest.mark.parametrize("kind", ["sweep", "delete", "write", "seal"])
async def test_parent_is_not_deleted_under_its_fork(strict: str, kind: str) -> None:
    """The fork is made while the delete waits for the run."""
    async with AsyncExitStack() as stack:
        opened = await single(strict)[kind]()
        if isinstance(opened, asyncpg.Pool):
            deleting = await stack.enter_async_context(of_pool(opened))
        else:
            deleting = opened
            stack.push_async_callback(opened.close)
        forking = await asyncpg.connect(strict)
        stack.push_async_callback(forking.close)
        await forking.execute(f"{MAKE})", "parent")
        async with forking.transaction(isolation="read_committed"):
            await forking.execute(f"{MAKE}, fork_run => 'parent', fork_step_ => 3)", "child")
            query = "SELECT stepwell.delete_run_v1(run_id) FROM stepwell.run WHERE name = 'parent'"
            delete = asyncio.create_task(deleting.fetchval(query))

            async def waits() -> bool:
                return bool(await forking.fetchval(WAITS))

            await eventually(waits)
        with pytest.raises(asyncpg.PostgresError) as raised:
            await delete
        assert raised.value.sqlstate == "ST021"
        assert await forking.fetchval("SELECT count(*) FROM stepwell.run") == 2
