"""`POST /v1/sql` only reads, whatever the query: it cannot write, change its role, or exceed its limits."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import orjson
import pytest

from fixtures.ingest import eventually
from stepwell_ingest.config import Config, Sql
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

STATEMENTS_WITHOUT_ROWS = [
    "SET ROLE none",
    "RESET ROLE",
    "SET SESSION AUTHORIZATION DEFAULT",
    "RESET SESSION AUTHORIZATION",
    "SET statement_timeout = 0",
    "RESET ALL",
    "DISCARD ALL",
    "COMMIT",
    "ROLLBACK",
    "BEGIN READ WRITE",
    "COPY (SELECT 1) TO PROGRAM 'touch /tmp/stepwell-was-here'",
    "COPY (SELECT 1) TO STDOUT",
    "COPY run FROM STDIN",
    "CREATE TEMP TABLE mine AS SELECT 1 AS x",
    "CREATE TABLE public.mine (x int)",
    "SELECT 1 AS x INTO TEMP mine",
    "DO $$ BEGIN PERFORM 1; END $$",
    "PREPARE mine AS SELECT 1",
    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN mine",
    "NOTIFY mine",
    "LOCK TABLE run IN ACCESS SHARE MODE",
    "LOCK TABLE hot_ring_lock IN ROW EXCLUSIVE MODE",
    "SET default_transaction_read_only = off",
    "ANALYZE run",
    "DROP SCHEMA stepwell CASCADE",
    "ALTER ROLE stepwell_reader SET statement_timeout = 0",
    "VACUUM",
    "CHECKPOINT",
]
HOSTILE_QUERIES = [
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE run",
    "ROLLBACK; DELETE FROM run",
    "WITH gone AS (DELETE FROM run RETURNING 1) SELECT * FROM gone",
    "INSERT INTO run_name VALUES ('a', 'b', 'c') RETURNING 1",
    "DELETE FROM run RETURNING 1",
    "EXPLAIN ANALYZE DELETE FROM run",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT set_config('role', 'postgres', false)",
    "SELECT set_config('session_authorization', 'postgres', false)",
    "SELECT query_to_xml('DELETE FROM stepwell.run', true, true, '')",
    "SELECT query_to_xml('CREATE TEMP TABLE mine (x int)', true, true, '')",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT nextval('run_serial')",
    "SELECT ensure_partitions_v1('2031-01-01', 1)",
    "SELECT session FROM ledger",
    "SELECT pg_reload_conf()",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'stepwell_reader'",
    "SELECT 1\0; DROP TABLE run",
    "SELECT pg_advisory_lock(hashtextextended('stepwell.hot_ring', 0))",
    "SELECT pg_advisory_lock_shared(7)",
    "SELECT pg_try_advisory_lock(7, 7)",
    "SELECT pg_advisory_xact_lock(7)",
    "SELECT pg_try_advisory_xact_lock_shared(7)",
    "SELECT lo_create(0)",
    "SELECT lo_from_bytea(0, 'x')",
    "SELECT lo_put(1, 0, 'x')",
    "SELECT lo_open(1, 131072)",
    "SELECT lo_unlink(1)",
    "SELECT pg_logical_emit_message(false, 'a', 'b')",
    "SELECT pg_notify('a', 'b')",
    "SELECT query_to_xml('SELECT pg_advisory_lock(7)', true, true, '')",
    "SELECT query_to_xml('ALTER ROLE stepwell_reader SET statement_timeout = 0', true, true, '')",
    "SELECT query_to_xml('VACUUM', true, true, '')",
    "SELECT name FROM lock FOR UPDATE",
    "SELECT * FROM run_being_made",
    "SELECT hot_ring_v1()",
    "SELECT name FROM run FOR SHARE",
    "SELECT $1",
    "   ;",
]
WHO = "SELECT session_user AS login, current_user AS role"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stepwell sql over http' AND state = 'active'"


async def ask(worker: Worker, query: str, **body: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{worker.url}/v1/sql", json={"query": query, **body}) as reply,
    ):
        return reply.status, orjson.loads(await reply.read())


@asynccontextmanager
async def worker_with(server_dsn: str, **sql: Any) -> AsyncIterator[Worker]:
    worker = Worker(Config(server_dsn, port=0, sql=Sql(**sql)))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def test_session_cannot_leave_the_reader_role(any_worker: Worker) -> None:
    status, answer = await ask(any_worker, WHO)
    assert (status, answer["rows"]) == (200, [["stepwell_reader", "stepwell_reader"]])
    for name in ("role", "session_authorization"):
        for target in ("none", "default", "stepwell", "postgres", "stepwell_reader"):
            await ask(any_worker, f"SELECT set_config('{name}', '{target}', false)")
    assert (await ask(any_worker, WHO))[1]["rows"] == [["stepwell_reader", "stepwell_reader"]]


async def test_statement_without_rows_is_not_run(worker: Worker) -> None:
    answers = {statement: await ask(worker, statement) for statement in STATEMENTS_WITHOUT_ROWS}
    told = {
        statement: (status, answer.get("error", {}).get("message")) for statement, (status, answer) in answers.items()
    }
    assert told == dict.fromkeys(STATEMENTS_WITHOUT_ROWS, (400, "the statement cannot return rows, so it was not run"))


async def test_hostile_queries_are_refused(any_worker: Worker) -> None:
    answers = {query: await ask(any_worker, query) for query in HOSTILE_QUERIES}
    assert {query: answer for query, (status, answer) in answers.items() if status != 400} == {}


async def test_query_leaves_nothing_behind(any_worker: Worker) -> None:
    await ask(any_worker, "EXPLAIN ANALYZE CREATE TEMP TABLE mine AS SELECT 1")
    await ask(any_worker, "SELECT query_to_xml('EXPLAIN ANALYZE CREATE TEMP TABLE mine AS SELECT 1', true, true, '')")
    await ask(any_worker, "SELECT lo_from_bytea(0, 'x')")
    left = (
        "SELECT (SELECT count(*) FROM pg_class WHERE relname = 'mine'), (SELECT count(*) FROM pg_largeobject_metadata)"
    )
    assert (await ask(any_worker, left))[1]["rows"] == [[0, 0]]


async def test_settings_end_with_the_query(postgres_dsn: str) -> None:
    async with worker_with(postgres_dsn, connections=1, statement_s=7.0) as worker:
        status, _ = await ask(worker, "SELECT set_config('statement_timeout', '0', false)")
        assert status == 200
        assert (await ask(worker, "SHOW statement_timeout"))[1]["rows"] == [["7s"]]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT pg_sleep(60)",
        # The first batch removes the timeout of Postgres for the following ones.
        "SELECT CASE WHEN i = 1 THEN set_config('statement_timeout', '0', false) ELSE pg_sleep(60)::text END "
        "FROM generate_series(1, 9) i",
    ],
)
async def test_query_times_out(postgres_dsn: str, pg: asyncpg.Connection, query: str) -> None:
    async with worker_with(postgres_dsn, statement_s=0.5) as worker:
        status, answer = await ask(worker, query)
        assert answer["error"]["message"] == "the query took longer than 0.5 s"
        assert status == (200 if "rows" in answer else 400)
        await eventually(lambda: _idle(pg))


async def test_client_may_only_reduce_the_timeout(postgres_dsn: str) -> None:
    async with worker_with(postgres_dsn, statement_s=0.5) as worker:
        for timeout_s, shown in ((0.2, 0.2), (60, 0.5)):
            status, answer = await ask(worker, "SELECT pg_sleep(60)", timeout_s=timeout_s)
            assert (status, answer["error"]["message"]) == (400, f"the query took longer than {shown} s")


async def test_query_is_cancelled_on_disconnect(worker: Worker, pg: asyncpg.Connection) -> None:
    host, port = worker.url.removeprefix("http://").split(":")
    body = b'{"query": "SELECT pg_sleep(600)"}'
    head = f"POST /v1/sql HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head + body)
        await eventually(lambda: _busy(pg))
    await eventually(lambda: _idle(pg))


async def test_excess_queries_are_told_to_retry(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    async with worker_with(postgres_dsn, connections=1, wait_s=2.0) as worker:
        first = asyncio.create_task(ask(worker, "SELECT pg_sleep(600)"))
        await eventually(lambda: _busy(pg))
        status, answer = await ask(worker, "SELECT 1")
        assert (status, answer["error"]["code"], answer["error"]["message"]) == (
            503,
            "overloaded",
            "query limit reached",
        )
        first.cancel()
        await eventually(lambda: _idle(pg))


async def test_login_that_could_write_is_refused(postgres_dsn: str) -> None:
    async with worker_with(postgres_dsn, dsn=postgres_dsn) as worker:
        status, answer = await ask(worker, "SELECT 1")
        assert (status, answer["error"]["message"]) == (
            503,
            "SQL over HTTP is off: its login must be able to read, and to do nothing else",
        )


async def test_reader_member_login_is_accepted(postgres_dsn: str, pg: asyncpg.Connection) -> None:
    await pg.execute("CREATE ROLE sql_over_http_test LOGIN IN ROLE stepwell_reader")
    try:
        dsn = _as_user(postgres_dsn, "sql_over_http_test")
        async with worker_with(postgres_dsn, dsn=dsn) as worker:
            assert (await ask(worker, WHO))[1]["rows"] == [["sql_over_http_test", "sql_over_http_test"]]
            assert (await ask(worker, "SELECT count(*) FROM runs"))[1]["rows"] == [[0]]
            assert (await ask(worker, "SELECT set_config('role', 'postgres', false)"))[0] == 400
    finally:
        await pg.execute("DROP ROLE sql_over_http_test")


async def test_sql_dsn_is_not_shown() -> None:
    assert "secret" not in repr(dataclasses.replace(Config("x"), sql=Sql(dsn="postgresql://u:secret@h/d")))


async def _idle(pg: asyncpg.Connection) -> bool:
    return not await pg.fetchval(WAITING)


async def _busy(pg: asyncpg.Connection) -> bool:
    return bool(await pg.fetchval(WAITING))


def _as_user(dsn: str, user: str) -> str:
    """The DSN of the same database for another user."""
    parts = urlsplit(dsn)
    return parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}").geturl()
