"""Every statement that the server can send is accepted by the oldest and the newest supported PostgreSQL.

Named queries are prepared in test_contract.py, and bodies of SQL functions and views are checked when they are created.
This module checks the others: the statements inside PL/pgSQL functions, constants in Python, and the queries that
filters and orders of run lists are compiled to.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

import stepwell_ingest
import stepwell_schema
from fixtures.statements import declared, statements
from stepwell_ingest.read.filters import FIELDS, compile_filter, parse_order

pytestmark = pytest.mark.db

FILTERS = [
    *({name: {"$exists": True}} for name in FIELDS),
    {"config.lr": {"$gte": 0.1, "$ne": "x", "$in": [1, None], "$regex": "^a"}},
    {"summary_metrics.loss": {"$lt": 0.1}, "$or": [{"state": "finished"}, {"$not": {"tags": "best"}}]},
    {"created_at": {"$gt": "2026-01-01"}, "duration": {"$lte": 5}},
]
ORDERS = [*FIELDS, "config.lr.value", "summary_metrics.loss"]


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection with the search path of the schema's files, with which a name without its schema fails."""
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"search_path": "pg_catalog"})
    yield connection
    await connection.close()


def constants(node: ast.AST) -> Iterator[str]:
    """The string constants of a module, except parts of f-strings."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.JoinedStr):
        for child in ast.iter_child_nodes(node):
            yield from constants(child)


async def test_statements_in_functions(connection: asyncpg.Connection) -> None:
    functions = await connection.fetch("""
        SELECT p.proname, p.prosrc, p.proargnames AS names,
               ARRAY(SELECT format_type(t, NULL) FROM unnest(coalesce(p.proallargtypes, p.proargtypes)) t) AS types
        FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE p.pronamespace = 'stepwell'::regnamespace AND l.lanname = 'plpgsql'""")
    failed, checked = [], 0
    for name, body, names, types in functions:
        variables = {"found": "boolean"} | dict(zip(names or (), types, strict=True)) | declared(body)
        parameters = ", ".join(f'"{variable}" {kind}' for variable, kind in variables.items())
        for statement in statements(body):
            checked += 1
            check = f"CREATE FUNCTION pg_temp.{name} ({parameters}) RETURNS void LANGUAGE sql AS $_${statement}$_$"
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(check)
            except asyncpg.PostgresError as error:
                failed.append(f"{name}: {error}\n    {statement}")
            await transaction.rollback()
    assert not failed, "\n".join(failed)
    assert checked > 100


def test_statements_of_a_body() -> None:
    body = """
#variable_conflict use_column
DECLARE
    n   bigint := 1;   -- a; comment
    row stepwell.run;
BEGIN
    IF n = CASE WHEN n > 0 THEN 1 END THEN
        SELECT r.* INTO row FROM stepwell.run r;
    ELSIF n IN (2, 3) THEN
        PERFORM f('a;b');
    END IF;
    FOR i IN 0 .. n - 1 LOOP
        n := n + i;
    END LOOP;
    INSERT INTO t (x) VALUES (n) RETURNING x INTO n;
    EXECUTE format('TRUNCATE %s', n) USING n;
    RAISE EXCEPTION 'no %', n USING ERRCODE = 'ST001';
    RETURN QUERY SELECT 1;
EXCEPTION WHEN unique_violation THEN
    RETURN;
END
"""
    assert declared(body) == {"n": "bigint", "row": "stepwell . run", "i": "integer"}
    assert statements(body) == [
        *("SELECT n = CASE WHEN n > 0 THEN 1 END", "SELECT r . * FROM stepwell . run r", "SELECT n IN ( 2 , 3 )"),
        *("SELECT f ( 'a;b' )", "SELECT 0 , n - 1", "SELECT n + i", "INSERT INTO t ( x ) VALUES ( n ) RETURNING x "),
        *("SELECT format ( 'TRUNCATE %s' , n ) , n", "SELECT 'no %' , n , 'ST001'", "SELECT 1"),
    ]


async def test_statements_in_python(connection: asyncpg.Connection) -> None:
    found = [
        (path.name, text)
        for path in sorted(Path(stepwell_ingest.__file__).parent.rglob("*.py"))
        for text in constants(ast.parse(path.read_text()))
        if re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE) (?!\d)", text)  # "UPDATE 1" is a command tag
        if "$$" not in text  # which is a part of a query; see test_orders_of_run_lists
    ]
    assert len(found) > 5
    failed = []
    for place, statement in found:
        try:
            await connection.prepare(statement)
        except asyncpg.PostgresError as error:
            failed.append(f"{place}: {error}\n    {statement}")
    assert not failed, "\n".join(failed)


@pytest.mark.parametrize("order", ORDERS)
async def test_orders_of_run_lists(connection: asyncpg.Connection, order: str) -> None:
    parsed = parse_order(f"-{order}")
    base = stepwell_schema.queries("read")["runs"].removesuffix(";")
    await connection.prepare(
        f"SELECT ({parsed.sql.replace('$$', '$3')})::{parsed.type} AS sort_key FROM ({base}) r ORDER BY 1"
    )


@pytest.mark.parametrize("where", FILTERS, ids=json.dumps)
async def test_filters_of_run_lists(connection: asyncpg.Connection, where: dict[str, object]) -> None:
    base = stepwell_schema.queries("read")["runs"].removesuffix(";")
    await connection.prepare(f"SELECT r.* FROM ({base}) r WHERE {compile_filter(json.dumps(where)).sql_from(3)}")
