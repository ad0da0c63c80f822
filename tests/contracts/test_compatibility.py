"""docs/compatibility.md names a test for each of its rows, and each of them exists."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
#: The tables before that have no column for tests.
TEXT = (TESTS.parent / "docs" / "compatibility.md").read_text().partition("## Values, media and plots")[2]
ROWS = [
    line
    for line in TEXT.splitlines()
    if line.startswith("|") and not re.match(r"\|[-|]+\|$|\| (value)? ?\| here", line)
]


@lru_cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_there_are_rows() -> None:
    assert len(ROWS) > 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_row_names_a_test_that_exists(row: str) -> None:
    cells = row.strip("|").split("|")
    found = re.fullmatch(r" `([\w/]+\.py)::(\w+)` ", cells[-1])
    assert len(cells) == 3
    assert found is not None
    assert found[2] in names_in(found[1])
