"""`stepwell sql` where only STEPWELL_URL is known: the output of a direct connection, from a server over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

import stepwell
from fixtures.commands import Run, Server
from stepwell.cli import main
from stepwell.commands import sql
from stepwell_ingest.config import Config, Sql
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

#: Values that JSON, float64 or a careless program would change.
VALUES = """SELECT 9007199254740993 AS big, -9223372036854775808 AS least,
    0.1234567890123456789012345::numeric AS exact,
    12345678901234567890123456789::numeric AS whole, 'NaN'::float8 AS nan, '-Infinity'::float4 AS inf, 0.1::float8 AS f,
    NULL AS nothing, true AS yes, '2026-01-02 03:04:05.000006+00'::timestamptz AS at, '2026-01-02'::date AS day,
    interval '1 day 2 hours' AS span, '\\x00ff'::bytea AS bytes, ARRAY[1, 9223372036854775807] AS numbers,
    '{"a": [1, null], "b": 9223372036854775808123}'::jsonb AS doc, E'a,"b"\\n ü' AS text, ARRAY['x', NULL] AS texts,
    gen.n FROM generate_series(1, 3) AS gen (n)"""


Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def ask(at_url: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """`stepwell sql` in this process, with no settings but the URL."""
    for name in [name for name in os.environ if name.startswith("STEPWELL_")]:
        monkeypatch.delenv(name)
    for name, value in at_url.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = main(["sql", *arguments])
        return subprocess.CompletedProcess(arguments, code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def at_url(server: Server) -> dict[str, str]:
    with stepwell.init(
        project="far", id="first", name="silver-harbour", url=server.url, settings={"silent": True}
    ) as run:
        run.log({"train/loss": 0.5, "eval/loss": 0.7})
    return {"STEPWELL_URL": server.url, "STEPWELL_DATA": "/nowhere"}


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_output_equals_that_of_a_direct_connection(
    stepwell_command: Run, server: Server, ask: Ask, format_: str
) -> None:
    direct = stepwell_command("sql", VALUES, "--format", format_, "--data", server.data)
    done = ask(VALUES, "--format", format_)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == direct.stdout


def test_big_integers_keep_all_digits(ask: Ask) -> None:
    done = ask(VALUES, "--format", "json")
    row = json.loads(done.stdout)[0]
    assert (row["big"], row["least"], row["numbers"]) == (9007199254740993, -(2**63), [1, 2**63 - 1])
    assert row["doc"]["b"] == 9223372036854775808123
    assert row["whole"] == 12345678901234567890123456789
    done = ask(VALUES, "--format", "csv")
    assert "9007199254740993,-9223372036854775808,0.1234567890123456789012345,12345678901234567890123456789," in (
        done.stdout
    )


def test_sdk_alone_suffices(stepwell_command: Run, at_url: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "asyncpg.py").write_text("raise ModuleNotFoundError(\"No module named 'asyncpg'\", name='asyncpg')")
    query = "SELECT run, session_user AS login FROM runs WHERE project = 'far'"
    done = stepwell_command("sql", query, "--format", "csv", environment=at_url, cwd=tmp_path)
    assert done.stdout == "run,login\nfirst,stepwell_reader\n"


def test_url_of_the_local_server_uses_its_postgres(stepwell_command: Run, server: Server) -> None:
    query = "SELECT current_setting('application_name') AS via"
    both = {"STEPWELL_URL": server.url, "STEPWELL_DATA": str(server.data)}
    assert stepwell_command("sql", query, "--format", "csv", environment=both).stdout == "via\nstepwell sql\n"
    done = stepwell_command("sql", query, "--format", "csv", "--url", server.url, environment=both)
    assert done.stdout == "via\nstepwell sql over http\n"


def test_server_of_another_user_is_asked_at_the_default_url(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("STEPWELL_URL", "STEPWELL_DSN", "STEPWELL_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sql, "data_directory", lambda _: tmp_path)  # in which this user runs no server
    monkeypatch.setattr(sql, "DEFAULT_URL", server.url)
    command = ["sql", "SELECT current_setting('application_name') AS via", "--format", "csv"]
    assert main(command) == 0
    assert capsys.readouterr().out == "via\nstepwell sql over http\n"
    monkeypatch.setenv("STEPWELL_DATA", str(tmp_path))
    assert main(command) == 1
    assert capsys.readouterr().err.startswith(f"stepwell: no server runs on the data directory {tmp_path}")


def test_empty_result(ask: Ask) -> None:
    for format_, shown in (("table", "a\n─\n(0 rows)\n"), ("csv", "a\n"), ("json", "[]\n")):
        done = ask("SELECT 1 AS a WHERE false", "--format", format_)
        assert done.stdout == shown


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "SELECT avg(value) FROM history WHERE metric = 'train/los'",
            "no metric 'train/los'; similar names: train/loss",
        ),
        ("SELECT * FROM runs WHERE run = 'frst'", "there is no run 'frst'; similar names: first"),
    ],
)
def test_empty_result_suggests_names(ask: Ask, query: str, said: str) -> None:
    done = ask(query)
    assert done.returncode == 0
    assert said in done.stderr


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT metrc FROM history", ["line 1: SELECT metrc", "               ^", "similar names: metric"]),
        ("SELECT 1 / (5000 - i) FROM generate_series(1, 9000) i", ["division by zero"]),
        ("SET ROLE none", ["the statement cannot return rows, so it was not run"]),
        ("SELECT pg_sleep(9)", ["the query took longer than 0.5 s"]),
    ],
)
def test_server_errors_are_shown(ask: Ask, query: str, said: list[str]) -> None:
    done = ask(query, "--timeout", "0.5")
    assert done.returncode == 1
    assert all(text in done.stderr for text in said), done.stderr
    assert "Traceback" not in done.stderr


def test_unreachable_server(ask: Ask) -> None:
    done = ask("SELECT 1", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "the server at http://127.0.0.1:9 cannot be reached" in done.stderr


async def test_ctrl_c_cancels_the_query(
    command_environment: dict[str, str], server: Server, at_url: dict[str, str]
) -> None:
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()"
    busy += " AND state = 'active'"
    connection = await asyncpg.connect(server.dsn)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stepwell", "sql", "SELECT pg_sleep(600)"),
        stdin=subprocess.DEVNULL,
        env=command_environment | at_url,
    )
    try:
        await _until(connection, busy, 1)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 130
        await _until(connection, busy, 0)
    finally:
        if process.returncode is None:
            process.kill()
        await connection.close()


async def _until(connection: asyncpg.Connection, query: str, count: int) -> None:
    deadline = time.monotonic() + 20
    while await connection.fetchval(query) != count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_truncated_answer_is_an_error(ask: Ask, postgres_dsn: str) -> None:
    worker = Worker(Config(postgres_dsn, port=0, sql=Sql(rows=3)))
    await worker.start()
    try:
        for format_, shown in (("csv", "n\n1\n2\n3\n"), ("json", '[{"n": 1},\n {"n": 2},\n {"n": 3}]\n')):
            query = ("SELECT generate_series(1, 9) AS n", "--format", format_, "--url", worker.url)
            done = await asyncio.to_thread(ask, *query)
            assert (done.returncode, done.stdout) == (1, shown)
            assert "one answer of the server holds only these 3" in done.stderr
    finally:
        await worker.stop()
