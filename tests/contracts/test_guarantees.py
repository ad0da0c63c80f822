"""docs/guarantees.md names existing tests, and its table lists every fault once."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
TEXT = (TESTS.parent / "docs" / "guarantees.md").read_text()
FAULTS = 52
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
ROWS = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$", TEXT, re.MULTILINE)


@lru_cache
def names_in(file: str) -> frozenset[str]:
    """The names of the tests in a file, including methods of classes."""
    path = TESTS / file
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_"))


def test_promises_name_existing_tests() -> None:
    gone = [f"{file}::{name}" for file, name in NAMED if name not in names_in(file)]
    assert gone == []


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^### ", TEXT.split("## The 52 faults")[0], flags=re.MULTILINE)[1:]
    assert promises
    assert [promise.splitlines()[0] for promise in promises if "::" not in promise] == []


def test_table_lists_every_fault_once() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, FAULTS + 1))


def test_faults_have_tests_or_say_why_not() -> None:
    odd = [int(number) for number, _, mark, tests in ROWS if mark.startswith("none") == bool(tests.strip())]
    assert odd == []
