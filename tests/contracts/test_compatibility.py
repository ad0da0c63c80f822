"""docs/compatibility.md names existing tests for each row, and its table of steps equals that of the tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from fixtures.step_table import STEP_TABLE

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "compatibility.md").read_text()
#: The sections of the document.
HEADINGS = [
    "Steps and commits",
    "Additional fields of a row",
    "Keys and nesting",
    "Errors",
    "Summary",
    "define_metric",
    "Config",
    "init",
    "The end of a run",
    "Names, tags and the rest of a run",
    "Resume, rewind, fork",
    "Modes",
    "Libraries that log to wandb by themselves",
    "Other recorded data",
    "Values, media and plots",
]

Row = list[str]


def cells(line: str) -> Row:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables(text: str) -> Iterator[list[Row]]:
    """The rows of each table, starting with the header."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, line, *rows = map(cells, block.splitlines())
        assert set("".join(line)) == {"-"}
        yield [head, *rows]


TABLES = list(tables(TEXT))
ROWS = [row for table in TABLES for row in table[1:]]


@lru_cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_document_covers_every_topic() -> None:
    assert re.findall(r"^## (.*)$", TEXT, re.MULTILINE) == HEADINGS
    assert len(ROWS) > 200


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table[1][0][:40])
def test_tables_have_tests_and_complete_rows(table: list[Row]) -> None:
    head, *rows = table
    assert head[-1] == "test"
    assert {len(row) for row in rows} == {len(head)}
    assert all(row[-2] or row[-3] for row in rows)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_rows_name_existing_tests(row: Row) -> None:
    for name in row[-1].split("<br>"):
        found = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", name)
        assert found is not None, name
        assert found[2] in names_in(found[1]), name


def test_documented_steps_match_the_tests() -> None:
    shown = [(row.name, row.shown_rows or "–", str(row.step)) for row in STEP_TABLE]
    assert len(shown) == 14
    assert [(calls.strip("`"), rows, step) for calls, rows, step, *_ in TABLES[0][1:]] == shown
