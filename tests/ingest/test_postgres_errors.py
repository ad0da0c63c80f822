"""Hints for errors of Postgres: only those for temporary errors promise an end."""

from __future__ import annotations

import asyncpg
import pytest

from stepwell.errors import UnavailableError
from stepwell_ingest.config import Reads
from stepwell_ingest.db.connect import read_pool
from stepwell_ingest.db.errors import hint_for, postgres_errors
from stepwell_ingest.read.database import Database

pytestmark = pytest.mark.db

PASSES = "tries succeed again as soon as Postgres is reachable"
MISTAKES = {
    "an undefined function": "SELECT stepwell.nothing_v1()",
    "a function that this version does not have": "SELECT min(B'1')",
    "an undefined table": "SELECT FROM stepwell.nothing",
    "an undefined column": "SELECT nothing FROM stepwell.run",
    "a syntax error": "SELEKT 1",
    "types that do not fit": "SELECT 1 + 'x'::text",
    "an ambiguous column": "SELECT run_id FROM stepwell.run, stepwell.writer",
    "two rows where one is wanted": "SELECT (SELECT g FROM generate_series(1, 2) g)",
    "a feature that is not supported": "SELECT count(*) OVER () FROM stepwell.run FOR UPDATE",
    "an exception that nobody expects": "DO $$ BEGIN RAISE 'x'; END $$",
}


@pytest.mark.parametrize("statement", MISTAKES.values(), ids=MISTAKES)
async def test_bugs_are_not_retryable(any_shared_dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(any_shared_dsn)
    try:
        with pytest.raises(UnavailableError) as caught, postgres_errors("store a batch"):
            await connection.execute(statement)
    finally:
        await connection.close()
    assert PASSES not in str(caught.value)
    assert "report it" in (caught.value.hint or "")
    assert caught.value.retryable  # no logged value is discarded because of it


async def test_bugs_in_reads_are_not_retryable(any_shared_dsn: str) -> None:
    database = Database(await read_pool(any_shared_dsn, Reads(), 5.0), Reads())
    try:
        with pytest.raises(UnavailableError, match="report it") as caught:
            async with database.snapshot() as connection:
                await connection.fetch(MISTAKES["an undefined function"])
        assert PASSES not in str(caught.value)
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (asyncpg.ConnectionDoesNotExistError("closed in the middle"), PASSES),
        (asyncpg.InterfaceError("connection is closed"), PASSES),
        (asyncpg.CannotConnectNowError("starting up"), PASSES),
        (asyncpg.AdminShutdownError("terminating"), PASSES),
        (asyncpg.DeadlockDetectedError("deadlock"), PASSES),
        (ConnectionRefusedError(), PASSES),
        (TimeoutError(), PASSES),
        (asyncpg.DiskFullError("no space left"), "free some space"),
        (asyncpg.TooManyConnectionsError("sorry"), "connections"),
        (asyncpg.ReadOnlySQLTransactionError("read-only"), "accepts no writes"),
        (asyncpg.InsufficientPrivilegeError("denied"), "grant"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_server_states_have_hints(error: Exception, hint: str) -> None:
    assert hint in hint_for(error)
    assert "report it" not in hint_for(error)
