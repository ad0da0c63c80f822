"""docs/sql.md: every example returns rows, every column is listed with its type, and \\d+ agrees."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import numpy as np
import pytest

from fixtures.histories import Histories

pytestmark = pytest.mark.db

TEXT = (Path(__file__).parents[2] / "docs" / "sql.md").read_text()
EXAMPLES = re.findall(r"^```sql\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
README = (Path(__file__).parents[2] / "README.md").read_text()
#: The statements of the README: in blocks of SQL, and as arguments of `stepwell sql`.
OF_README = [
    *(
        part
        for block in re.findall(r"^```sql\n(.*?)```", README, re.M | re.S)
        for part in block.split(";\n")
        if part.strip()
    ),
    *re.findall(r'^stepwell sql "(.*?)"', README, re.M | re.S),
]
#: The heading of each view or function, and (column, type, meaning) of its table.
SECTIONS = {
    head.strip("`"): re.findall(r"^\| `(\w+)` \| ([^|]+?) \| ([^|]*?) ?\|$", body.split("\n## ")[0], re.MULTILINE)
    for head, _, body in (section.partition("\n") for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:])
}
VIEWS = [name for name in SECTIONS if "(" not in name]
FUNCTIONS = [name for name in SECTIONS if "(" in name]


@pytest.fixture
async def reader(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The reader of a database with a bit of everything, half of it sealed."""
    pool = await asyncpg.create_pool(any_shared_dsn, min_size=1, max_size=2)
    if not await pool.fetchval("SELECT count(*) FROM stepwell.run"):
        await fill(Histories(pool))
    pool.terminate()
    connection = await asyncpg.connect(
        any_shared_dsn, user="stepwell_reader", server_settings={"search_path": "stepwell"}
    )
    yield connection
    await connection.close()


async def fill(made: Histories) -> None:
    await made.pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    digits = await made.attach("digits", "0")
    restarted = await made.attach("restarted", "0")
    for _ in range(2):
        await made.put(digits, ["train/loss", "val/accuracy"], np.random.default_rng(1).random((2, 50)))
        await made.put(restarted, ["train/loss"], np.ones((1, 20)))
        if digits.next_step == 50:
            await made.seal(whole=True)
    again = await made.attach("restarted", "0")
    again.next_step = 25
    await made.put(again, ["train/loss"], np.zeros((1, 5)))
    await made.pool.execute("""UPDATE stepwell.run SET config = '{"lr": 0.01}'""")
    await made.pool.execute(
        "INSERT INTO stepwell.hot_object VALUES ($1, 0, 3, $2, $3, now(), 'note', '\"warm-up is over\"')", *digits.key
    )
    await made.pool.execute(
        "INSERT INTO stepwell.note VALUES ($1, $2, $3, 0, 0, 0, now(), 'define', "
        """'{"name": "val/accuracy", "summary": ["max"], "goal": "maximize"}')""",
        *digits.key,
    )
    await made.pool.execute("INSERT INTO stepwell.blob VALUES (decode(repeat('ab', 32), 'hex'), 7)")
    for kind, note in {
        "console": '{"stream": "stdout", "number": 0, "times": [1e9], "lines": ["epoch 1"]}',
        "system": '{"time": 1e9, "metrics": {"system/cpu": 50.0}}',
        "metadata": '{"git": {"commit": "0123"}}',
        "file": f'{{"name": "model.pt", "size": 7, "sha256": "{"ab" * 32}"}}',
        "alert": '{"title": "low", "text": "", "level": "WARN", "wait_duration_s": 60}',
    }.items():
        await made.pool.execute(
            "INSERT INTO stepwell.note VALUES ($1, $2, $3, 0, 1, 0, now(), $4, $5)", *digits.key, kind, note
        )
    await made.pool.execute(
        "INSERT INTO stepwell.rejection VALUES ($1, $2, $3, 9, 'limit', 'too many metrics', 7, 0, 100, 106)",
        *digits.key,
    )


def test_every_view_and_function_has_an_example() -> None:
    for name in (name.partition("(")[0] for name in SECTIONS):
        assert any(re.search(rf"\b{name}\b", example) for example in EXAMPLES), name


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
async def test_every_example_returns_rows(reader: asyncpg.Connection, example: str) -> None:
    assert await reader.fetch(example)


@pytest.mark.parametrize("view", VIEWS)
async def test_view_columns_match_the_documented_table(reader: asyncpg.Connection, view: str) -> None:
    rows = await reader.fetch(
        "SELECT attname, format_type(atttypid, atttypmod), col_description(attrelid, attnum) "
        "FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum",
        view,
    )
    assert [(name, kind) for name, kind, _ in rows] == [(name, kind) for name, kind, _ in SECTIONS[view]]
    for (name, _, said), (_, _, meaning) in zip(rows, SECTIONS[view], strict=True):
        assert (said or "") == meaning.replace("`", "").replace("likewise", ""), name


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_function_signatures_match_the_documented_tables(reader: asyncpg.Connection, function: str) -> None:
    name = function.partition("(")[0]
    rows = await reader.fetch(
        "SELECT replace(pg_get_function_identity_arguments(oid), '\"', '') AS arguments, "
        "pg_get_function_result(oid) AS result, obj_description(oid) AS said "
        "FROM pg_proc WHERE proname = $1 AND pronamespace = 'stepwell'::regnamespace",
        name,
    )
    (row,) = [row for row in rows if f"{name}({row['arguments']})" == function]
    columns = ", ".join(f"{column} {kind}" for column, kind, _ in SECTIONS[function])
    result = row["result"].replace('"', "")
    assert result == (f"TABLE({columns})" if columns else "jsonb")
    assert row["said"]


async def test_every_view_and_function_has_a_comment(reader: asyncpg.Connection) -> None:
    views = await reader.fetch(
        "SELECT relname, obj_description(oid) FROM pg_class "
        "WHERE relnamespace = 'stepwell'::regnamespace AND relkind = 'v'"
    )
    assert {name for name, _ in views} == set(VIEWS)
    assert all(said for _, said in views)
    functions = await reader.fetch("SELECT proname FROM pg_proc WHERE pronamespace = 'stepwell'::regnamespace")
    open_ones = {name for (name,) in functions if not re.search(r"_v\d+$", name)}
    assert open_ones == {name.partition("(")[0] for name in FUNCTIONS}


@pytest.mark.parametrize("query", OF_README, ids=lambda query: query.strip().splitlines()[0][:50])
async def test_readme_queries_run(reader: asyncpg.Connection, query: str) -> None:
    await reader.fetch(query)


def test_readme_has_queries() -> None:
    assert len(OF_README) == 4
