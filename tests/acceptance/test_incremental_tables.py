"""INCREMENTAL tables across resumes: the increments of all processes form one sequence on a real server."""

from __future__ import annotations

import urllib.request
from typing import Any

import orjson
import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.runs.run import Run

pytestmark = pytest.mark.db

Increment = tuple[int, int, int, list[list[Any]]]


def new_table() -> stepwell.Table:
    return stepwell.Table(columns=["n"], log_mode="INCREMENTAL")


def add(run: Run, table: stepwell.Table, *numbers: int, key: str = "t") -> None:
    """Logs the table after each row."""
    for number in numbers:
        table.add_data(number)
        run.log({key: table, "x": number})


def increments(server: Backend, key: str = "t") -> list[Increment]:
    """The shown increments as (step, increment_num, nrows, rows of its file); each lists the ones before it."""
    rows = server.query("SELECT step, value FROM stepwell.history_objects WHERE key = $1 ORDER BY step", key)
    found, paths = [], []
    for step, value in rows:
        assert value["previous_increments_paths"] == paths
        paths.append(value["path"])
        with urllib.request.urlopen(f"{server.url}/v1/blobs/{value['sha256']}") as reply:
            found.append((step, value["increment_num"], value["nrows"], orjson.loads(reply.read())["data"]))
    return found


def one_after_the_other(numbers: range) -> list[Increment]:
    return [(number, number, number + 1, [[number]]) for number in numbers]


@pytest.mark.parametrize("word", ["allow", "must"])
def test_resumed_run_continues_its_tables(file_server: Backend, start_run: StartRun, word: str) -> None:
    with start_run(file_server.url) as run:
        add(run, new_table(), 0, 1)
    for start in (2, 4):  # twice: a resumed run can be resumed again
        with start_run(file_server.url, resume=word) as run:
            add(run, new_table(), start, start + 1)
    assert increments(file_server) == one_after_the_other(range(6))


def test_nested_keys_continue_and_new_ones_start(file_server: Backend, start_run: StartRun) -> None:
    with start_run(file_server.url) as run:
        table = new_table()
        table.add_data(0)
        run.log({"eval": {"t": table}})
    with start_run(file_server.url, resume="must") as run:
        nested, other = new_table(), new_table()
        nested.add_data(1)
        other.add_data(1)
        run.log({"eval": {"t": nested}, "t": other})
    assert increments(file_server, "eval.t") == one_after_the_other(range(2))
    assert increments(file_server, "t") == [(1, 0, 1, [[1]])]


def test_rewound_run_continues_after_remaining_increments(file_server: Backend, start_run: StartRun) -> None:
    with start_run(file_server.url) as run:
        add(run, new_table(), 0, 1, 2, 3)
    with start_run(file_server.url, run_id=None, resume_from="run-1?_step=1") as run:
        add(run, new_table(), 2)
    assert increments(file_server) == one_after_the_other(range(3))


def test_restart_without_resume_starts_over(file_server: Backend, start_run: StartRun) -> None:
    """The restart supersedes everything from its first step on."""
    for _ in range(2):
        with start_run(file_server.url) as run:
            add(run, new_table(), 0, 1)
    assert increments(file_server) == one_after_the_other(range(2))


def test_each_writer_continues_its_own_table(file_server: Backend, start_run: StartRun) -> None:
    for resume, start in ((None, 0), ("must", 1)):
        for writer in "ab":
            with start_run(file_server.url, writer=writer, resume=resume) as run:
                add(run, new_table(), start, key=f"t_{writer}")
    assert increments(file_server, "t_a") == increments(file_server, "t_b") == one_after_the_other(range(2))


def test_second_table_continues_the_first(file_server: Backend, start_run: StartRun) -> None:
    with start_run(file_server.url) as run:
        add(run, new_table(), 0)
    with start_run(file_server.url, resume="allow") as run:
        add(run, new_table(), 1)
        add(run, new_table(), 2)
    assert increments(file_server) == one_after_the_other(range(3))
