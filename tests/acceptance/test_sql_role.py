"""`stepwell sql` reads as the reader role, and hostile SQL cannot escape it."""

from __future__ import annotations

import pytest

from fixtures.commands import Run, Server

pytestmark = pytest.mark.db


@pytest.mark.parametrize(
    "statement",
    [
        "DO $$ BEGIN RESET ROLE; DELETE FROM stepwell.run; END $$",
        "SET default_transaction_read_only = off",
        "COPY (SELECT 1) TO '/tmp/stepwell-was-here'",
        "RESET ROLE",
    ],
)
def test_statements_without_rows_are_not_run(stepwell_command: Run, server: Server, statement: str) -> None:
    done = stepwell_command("sql", statement, "--data", server.data)
    assert done.returncode == 1
    assert "the statement cannot return rows, so it was not run" in done.stderr


@pytest.mark.parametrize(
    "query",
    [
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT query_to_xml('DELETE FROM stepwell.run', true, true, '')",
        "SELECT set_config('role', 'none', false), query_to_xml('SELECT pg_read_file(''/x'')', true, true, '')",
        "SELECT set_config('session_authorization', 'stepwell', false)",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_from_bytea(0, 'x')",
        "SELECT session FROM ledger",
        "WITH gone AS (DELETE FROM run RETURNING 1) SELECT * FROM gone",
        "SELECT nextval('run_serial')",
        "SELECT ensure_partitions_v1('2031-01-01', 1)",
    ],
)
def test_hostile_queries_reach_nothing(stepwell_command: Run, server: Server, query: str) -> None:
    done = stepwell_command("sql", query, "--data", server.data)
    assert done.returncode == 1, done.stdout
    assert any(word in done.stderr for word in ("permission denied", "read-only", "read-write", "is not allowed"))


def test_queries_run_as_the_reader_role(stepwell_command: Run, server: Server) -> None:
    query = "SELECT session_user AS login, current_user AS role"
    done = stepwell_command("sql", query, "--format", "csv", "--data", server.data)
    assert done.stdout.split() == ["login,role", "stepwell_reader,stepwell_reader"]


def test_set_role_with_a_password_dsn(stepwell_command: Run, server: Server) -> None:
    dsn = server.dsn.replace("postgresql://stepwell@", "postgresql://stepwell:unused@")
    assert dsn != server.dsn
    query = "SELECT session_user AS login, current_user AS role"
    done = stepwell_command("sql", query, "--format", "csv", "--dsn", dsn)
    assert done.stdout.split() == ["login,role", "stepwell,stepwell_reader"]
