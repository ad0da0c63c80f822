"""Batches that fail permanently: the worker is not ready, and reports the cause in its log and to its senders."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass

import asyncpg
import pytest

from fixtures.ingest import PATIENCE_S, Session, get, post, start_worker, stored_steps
from stepwell.errors import UnavailableError
from stepwell_ingest.config import Timeouts
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.failures import Failures

CAUSE = UnavailableError("Postgres could not store a batch", detail="DiskFullError: no space left on device")
#: Ends the sessions of a worker, as a restart of Postgres with other settings does.
RECONNECT = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'stepwell'"""


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def test_failures_are_logged_periodically_until_resolved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    failures = Failures("batch was stored", 10.0, clock)
    told: dict[float, str] = {}
    for second in range(150):
        clock.now = float(second)
        failures.add(CAUSE)
        if caplog.records:
            told[clock.now] = caplog.messages[-1]
            caplog.clear()
        if second == 9:
            failures.check()
    with pytest.raises(UnavailableError, match="no batch was stored for 149 s: Postgres could not store a batch"):
        failures.check()
    assert list(told) == [10.0, 70.0, 130.0]
    cause = "Postgres could not store a batch (DiskFullError: no space left on device)"
    assert told[70.0] == (
        f"no batch was stored for 70 s, in which 71 tries have failed; senders keep their frames: {cause}"
    )
    failures.over()
    failures.over()
    failures.check()
    assert caplog.messages == [f"recovered: a batch was stored after 149 s and 150 failures; the last one: {cause}"]


def test_single_failure_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failures = Failures("batch was stored", 10.0, clock)
    for second in range(100):
        clock.now = float(second)
        failures.add(CAUSE)
        failures.over()
        failures.check()
    assert caplog.messages == []


def test_idle_worker_becomes_ready_again() -> None:
    """Otherwise a load balancer that sends only to ready workers would never send it anything again."""
    clock = Clock()
    failures = Failures("batch was stored", 10.0, clock)
    failures.add(CAUSE)
    clock.now = 20.0
    with pytest.raises(UnavailableError):
        failures.check()
    clock.now = 121.0
    failures.check()


@pytest.mark.db
@pytest.mark.parametrize(
    ("begin", "end", "says"),
    [
        (
            "ALTER TABLE stepwell.hot_object RENAME TO elsewhere",
            "ALTER TABLE stepwell.elsewhere RENAME TO hot_object",
            'UndefinedTableError: relation "stepwell.hot_object" does not exist',
        ),
        (
            "ALTER TABLE stepwell.ledger RENAME TO elsewhere",
            "ALTER TABLE stepwell.elsewhere RENAME TO ledger",
            'UndefinedTableError: relation "stepwell.ledger" does not exist',
        ),
        (
            "ALTER DATABASE {database} SET default_transaction_read_only = on; " + RECONNECT,
            "ALTER DATABASE {database} SET default_transaction_read_only = off; " + RECONNECT,
            "ReadOnlySQLTransactionError: cannot execute",
        ),
        (
            """CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS
                   $$ BEGIN RAISE EXCEPTION 'closed for stocktaking'; END $$;
               CREATE TRIGGER refuse BEFORE UPDATE ON stepwell.ledger EXECUTE FUNCTION public.refuse()""",
            "DROP FUNCTION public.refuse CASCADE",
            "RaiseError: closed for stocktaking",
        ),
    ],
    ids=["a table renamed", "the ledger renamed", "read-only", "a trigger that raises"],
)
async def test_lasting_failure_and_recovery_are_reported(
    any_postgres_dsn: str, any_pg: asyncpg.Connection, caplog: pytest.LogCaptureFixture, begin: str, end: str, says: str
) -> None:
    session, database = Session(), await any_pg.fetchval("SELECT current_database()")
    async with start_worker(any_postgres_dsn, timeouts=Timeouts(failing_s=0.0)) as worker:
        await post(worker, "/v1/attach", session.attach())
        frames = [session.frame(objects=[(seq, "note", "text")]) for seq in range(2)]
        await any_pg.execute(begin.format(database=database))
        error = await _first_of_this_cause(worker, frames[0], says)
        assert (error["code"], error["retryable"]) == ("unavailable", True)
        status, body, _ = await get(worker, "/readyz")
        assert (status, "no batch was stored for" in body or "no writer could attach for" in body) == (503, True)
        assert says in json.loads(body)["error"]["detail"]
        # Batches and attaches are told of once each; an attach may fail at first, on a connection that was ended.
        told = [
            record.getMessage().partition(" for ")[0] for record in caplog.records if record.levelno == logging.ERROR
        ]
        assert told
        assert len(told) == len(set(told)), told

        await any_pg.execute("SET default_transaction_read_only = off; " + end.format(database=database))
        caplog.clear()
        for frame in frames:
            while (await post(worker, "/v1/frames", frame))[0] != 200:
                pass
        assert (await get(worker, "/readyz"))[0] == 200
        assert "recovered: a batch was stored after" in caplog.text
    assert await stored_steps(any_pg) == [0, 1]


async def _first_of_this_cause(worker: Worker, frame: bytes, says: str) -> dict[str, object]:
    error: dict[str, object] = {"detail": ""}
    async with asyncio.timeout(PATIENCE_S):
        while says not in str(error["detail"]):  # messages about the ended session come first
            status, reply, _ = await post(worker, "/v1/frames", frame)
            error = reply["error"]
            assert status == 503
    return error


@pytest.mark.db
async def test_failed_attaches_are_reported(
    any_postgres_dsn: str, any_pg: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Senders that cannot attach send no batches that could fail."""
    async with start_worker(any_postgres_dsn, timeouts=Timeouts(failing_s=0.0)) as worker:
        await any_pg.execute("ALTER TABLE stepwell.writer RENAME TO elsewhere")
        assert (await post(worker, "/v1/attach", Session().attach()))[0] == 503
        status, body, _ = await get(worker, "/readyz")
        assert (status, "no writer could attach for 0 s" in body, "stepwell.writer" in body) == (503, True, True)
        await any_pg.execute("ALTER TABLE stepwell.elsewhere RENAME TO writer")
        assert (await post(worker, "/v1/attach", Session().attach()))[0] == 200
        assert (await get(worker, "/readyz"))[0] == 200
        assert "recovered: a writer could attach after" in caplog.text


@pytest.mark.db
async def test_database_timeouts_do_not_end_batches(any_postgres_dsn: str, any_pg: asyncpg.Connection) -> None:
    """Timeouts that are set for all sessions of the database or the role."""
    session, database = Session(), await any_pg.fetchval("SELECT current_database()")
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        await any_pg.execute(f"ALTER DATABASE {database} SET {name} = 1")
    async with start_worker(any_postgres_dsn) as worker:
        assert (await post(worker, "/v1/attach", session.attach()))[0] == 200
        assert (await post(worker, "/v1/frames", session.frame(2000)))[0] == 200
    assert await stored_steps(any_pg) == list(range(2000))
