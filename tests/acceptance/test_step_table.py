"""Steps and commits: the rows in memory and in SQL after sequences of `run.log()` calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import stepwell
from fixtures.postgres import Clusters
from fixtures.server import PATIENCE_S, Backend, StartRun
from fixtures.step_table import STEP_TABLE, Sequence
from stepwell import testing
from stepwell.runs.run import Run


@pytest.fixture(scope="module")
def one_backend(clusters: Clusters) -> Iterator[Backend]:
    """One server for all rows of the table; each row is a separate run."""
    with clusters.database("18-embedded") as dsn:
        backend = Backend(dsn)
        backend.start()
        yield backend
        backend.stop()


def log(run: Run, sequence: Sequence) -> None:
    for data, how in sequence.calls:
        given = dict(data)
        assert run.log(given, **how) is None  # type: ignore[func-returns-value]  # that is what is tested
        assert given == data


@pytest.mark.parametrize("sequence", STEP_TABLE, ids=str)
def test_memory_rows_match_the_table(sequence: Sequence, caplog: pytest.LogCaptureFixture) -> None:
    with testing.capture() as logged, caplog.at_level(logging.WARNING, "stepwell"):
        run = stepwell.init()
        log(run, sequence)
        assert run.step == sequence.step
        run.finish()
    assert logged.history == [{"_step": step, **row} for step, row in sequence.rows.items()]
    assert len(caplog.messages) == sequence.dropped
    assert all("steps must increase" in message and "define_metric" in message for message in caplog.messages)


@pytest.mark.db
@pytest.mark.parametrize("sequence", STEP_TABLE, ids=str)
def test_sql_rows_match_the_table(sequence: Sequence, one_backend: Backend, tmp_path: Path) -> None:
    """SQL has no rows without points, but their steps are used all the same."""
    run_id = f"sequence-{STEP_TABLE.index(sequence)}"
    run = stepwell.init(project="steps", id=run_id, url=one_backend.url, dir=tmp_path)
    log(run, sequence)
    assert run.step == sequence.step
    run.finish()
    assert run.stats is not None
    assert run.stats.steps_back == sequence.dropped
    rows: dict[int, dict[str, float]] = {}
    for _, metric, step, value in one_backend.points(run_id):
        assert metric not in rows.setdefault(step, {})
        rows[step][metric] = value
    assert rows == {step: row for step, row in sequence.rows.items() if row}


@pytest.mark.db
def test_point_is_in_sql_without_flush(backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url)
    run.log({"a": 1})
    deadline = time.monotonic() + PATIENCE_S
    while run.durable_step is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert backend.points("run-1") == [("0", "a", 0, 1.0)]


def test_key_order_does_not_matter() -> None:
    with testing.capture() as logged:
        run = stepwell.init()
        run.log({"a": 1, "b": 2})
        run.log({"b": 2, "a": 1})
    first, second = (dict(row, _step=0) for row in logged.history)
    assert first == second
