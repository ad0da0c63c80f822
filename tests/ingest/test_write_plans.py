"""Statements of the write path are planned once, by index, even on a database whose tables were empty at that time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest

from fixtures.plans import nodes
from stepwell_ingest.config import Limits, Timeouts
from stepwell_ingest.db.connect import write_pool
from stepwell_schema import queries

pytestmark = pytest.mark.db

#: Statements with arrays of rows, and the number of their parameters.
OF_ROWS = {"move_ledger": 12, "lock_superseded": 4, "supersede": 4}


@pytest.fixture
async def writing(postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    pool = await write_pool(postgres_dsn, Limits(), Timeouts())
    async with pool.acquire() as connection:
        yield connection
    pool.terminate()


@pytest.mark.parametrize("name", OF_ROWS)
async def test_statement_is_planned_once(writing: asyncpg.Connection, name: str) -> None:
    statement = await writing.prepare(queries("write")[name])
    for _ in range(7):
        await statement.fetch(*[[]] * OF_ROWS[name])
    planned = await writing.fetchrow(
        "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE name = $1", statement.get_name()
    )
    assert tuple(planned) == (7, 0)


@pytest.mark.parametrize("name", [*OF_ROWS, "cursors_by_session", "stored_by_session"])
async def test_plan_reads_no_whole_table(writing: asyncpg.Connection, name: str) -> None:
    await writing.execute(f"PREPARE planned AS {queries('write')[name]}")
    arrays = ", ".join(["'{}'"] * OF_ROWS.get(name, 1))
    (found,) = json.loads(await writing.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned({arrays})"))
    reads = [node for node in nodes(found["Plan"]) if "Relation Name" in node and node["Node Type"] != "ModifyTable"]
    assert reads
    for node in reads:
        assert any("Index Cond" in part for part in nodes(node)), f"{node['Node Type']} of {node['Relation Name']}"
