"""`stepwell up --listen-sql`: psql and other clients read the embedded Postgres with a password, and only read."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psutil
import pytest

import stepwell
from fixtures.commands import Run, Server, running_server
from fixtures.postgres import temporary_directory
from stepwell_ingest.db.cluster import embedded_binaries

pytestmark = pytest.mark.db


class Listening(NamedTuple):
    """A server that SQL clients can reach."""

    server: Server
    port: int
    password: str


@pytest.fixture(scope="module")
def listening(command_environment: Mapping[str, str]) -> Iterator[Listening]:
    """A server with one run."""
    with (
        temporary_directory() as place,
        running_server(command_environment, place / "data", "--listen-sql", "127.0.0.1:0") as server,
    ):
        with stepwell.init(project="p", id="first", url=server.url, settings={"silent": True}) as run:
            run.log({"loss": 0.5})
        found = re.search(r"read postgresql://stepwell_sql@127\.0\.0\.1:(\d+)/stepwell", server.output)
        assert found, server.output
        yield Listening(server, int(found[1]), (server.data / "sql-password").read_text().strip())


async def connect(listening: Listening, **changes: Any) -> asyncpg.Connection:
    given = {"host": "127.0.0.1", "port": listening.port, "user": "stepwell_sql", "database": "stepwell"}
    return await asyncpg.connect(**{**given, "password": listening.password, **changes})


@pytest.fixture
async def client(listening: Listening) -> AsyncIterator[asyncpg.Connection]:
    """A client that has removed all limits that it may change."""
    connection = await connect(listening)
    await connection.execute("SET default_transaction_read_only = off; SET transaction_read_only = off")
    yield connection
    await connection.close()


async def test_clients_read_the_views(client: asyncpg.Connection) -> None:
    assert await client.fetchval("SELECT run FROM runs") == "first"
    assert await client.fetchval("SELECT value FROM history WHERE run = 'first' AND metric = 'loss'") == 0.5
    assert await client.fetchval("SELECT number FROM summary WHERE run = 'first' AND key = 'loss'") == 0.5
    assert await client.fetchval("SELECT count(*) FROM runs r, history_sample(r.run_id, 'loss', 8)") == 1


def test_psql_reads_the_views(listening: Listening) -> None:
    done = subprocess.run(
        [
            *(embedded_binaries() / "psql", "--no-psqlrc", "--no-password", "--csv", "--tuples-only"),
            *("--command", "SELECT run, state FROM runs", "--command", "SHOW default_transaction_read_only"),
            f"postgresql://stepwell_sql@127.0.0.1:{listening.port}/stepwell",
        ],
        env={"PATH": os.environ["PATH"], "PGPASSWORD": listening.password},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("first,finished\non\n", "")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM run",
        "UPDATE ledger SET next_seq = 0",
        "TRUNCATE hot_block_0",
        "CREATE TABLE stepwell.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE ROLE mine",
        "ALTER ROLE stepwell_sql SUPERUSER",
        "SET ROLE stepwell",
        "SET SESSION AUTHORIZATION stepwell",
        "SELECT session FROM ledger",
        "SELECT * FROM lock",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_read_file('postgresql.conf')",
        "SELECT pg_advisory_lock(1)",
        "COPY run TO PROGRAM 'cat'",
        "SELECT make_sql_login_v1('SCRAM-SHA-256')",
        "SELECT attach_v1('a', 'b', 'c', 'd', gen_random_uuid(), false, '{}')",
    ],
)
async def test_clients_change_nothing_and_see_no_secrets(client: asyncpg.Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await client.execute(statement)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"password": "wrong"}, asyncpg.InvalidPasswordError),
        ({"password": ""}, asyncpg.InvalidPasswordError),
        ({"user": "stepwell"}, asyncpg.InvalidAuthorizationSpecificationError),
        ({"user": "stepwell_reader"}, asyncpg.InvalidAuthorizationSpecificationError),
        ({"database": "postgres"}, asyncpg.InvalidAuthorizationSpecificationError),
    ],
)
async def test_other_logins_are_refused(
    listening: Listening, changes: dict[str, str], error: type[asyncpg.PostgresError]
) -> None:
    with pytest.raises(error):
        await connect(listening, **changes)


def test_password_is_only_in_its_file(listening: Listening) -> None:
    server = psutil.Process(listening.server.process.pid)
    arguments: list[str] = []
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend of Postgres may have ended
            arguments += process.cmdline()
    assert "127.0.0.1:0" in arguments
    assert listening.password not in " ".join(arguments) + listening.server.output
    data = listening.server.data
    assert (data / "sql-password").stat().st_mode & 0o777 == 0o600
    assert listening.password not in (data / "postgres.log").read_text()
    assert (data / "postgres" / "stepwell_hba.conf").read_text().splitlines() == [
        "local all all trust",
        "host stepwell stepwell_sql all scram-sha-256",
    ]


@pytest.mark.parametrize(
    ("password", "mode", "said"),
    [
        ("short\n", 0o600, "has no password of 12 or more printable ASCII characters"),
        ("", 0o600, "has no password of 12 or more"),
        ("long enough, but open\n", 0o644, "others could read or change the password"),
    ],
)
def test_unsafe_password_is_refused(
    stepwell_command: Run, data_place: Path, password: str, mode: int, said: str
) -> None:
    file = data_place / "sql-password"
    file.write_text(password)
    file.chmod(mode)
    done = stepwell_command("up", "--port", "0", "--data", data_place, "--listen-sql", "0.0.0.0:0")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Hint: " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--listen-sql", "5433"), 2, "must be HOST:PORT"),
        (("--listen-sql", "192.0.2.1:5433"), 1, "Postgres cannot listen on 192.0.2.1 port 5433"),
        (("--listen-sql", "127.0.0.1:0", "--dsn", "postgresql://x"), 1, "is for the Postgres that `stepwell up` runs"),
    ],
)
def test_impossible_address_is_refused(
    stepwell_command: Run, data_place: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = stepwell_command("up", "--port", "0", "--data", data_place / "data", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
