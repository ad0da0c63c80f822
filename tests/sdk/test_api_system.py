"""`run.history(stream="system")`: the system metrics of a run's hosts, in scripts and in SQL."""

from __future__ import annotations

import logging
import math
from typing import Any

import orjson
import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.errors import UsageError

pytestmark = pytest.mark.db

T0 = 1_800_000_000


@pytest.fixture
def api(backend: Backend) -> stepwell.Api:
    return stepwell.Api({"base_url": backend.url})


def measured(run: Any, time: float, **metrics: Any) -> None:
    """Notes a measurement like the measuring thread does."""
    named = {f"system/{name}": value for name, value in metrics.items()}
    run._stage.note("system", orjson.dumps({"time": time, "metrics": named}))


@pytest.fixture
def logged(backend: Backend, start_run: StartRun, api: stepwell.Api) -> Any:
    """Two measurements, two steps, and invalid measurements."""
    run = start_run(backend.url)
    run.log({"loss": 1, "system/mine": 50})
    measured(run, T0 + 15, cpu=20, memory=50)
    measured(run, T0, cpu=10, odd="x")
    measured(run, T0 + 30, odd=None)
    run.mark_preempting()
    run.log({"loss": 2})
    run.finish()
    return api.run("run-1")


@pytest.mark.parametrize("stream", ["system", "events"])
def test_system_stream_equals_the_view(logged: Any, backend: Backend, stream: str) -> None:
    frame = logged.history(stream=stream)
    assert list(frame.columns) == ["system/cpu", "system/memory", "_timestamp", "_runtime"]
    assert frame["system/cpu"].tolist() == [10, 20]
    assert frame["system/memory"].isna().tolist() == [True, False]
    assert frame["_timestamp"].tolist() == [T0, T0 + 15]
    (began,) = backend.query("SELECT (info->>'started_at')::float8 FROM stepwell.writer")[0]
    assert frame["_runtime"].tolist() == pytest.approx([T0 - began, T0 + 15 - began])
    assert frame.attrs["stepwell"] == {"sampled": None}
    rows = backend.query("SELECT extract(epoch FROM time)::float8, metric, value FROM stepwell.system ORDER BY 1, 2")
    melted = frame.melt("_timestamp", ["system/cpu", "system/memory"]).dropna().sort_values(["_timestamp", "variable"])
    assert [tuple(row) for row in melted.itertuples(index=False)] == rows


def test_default_stream_excludes_system_metrics(logged: Any) -> None:
    assert list(logged.history().columns) == ["_step", "loss", "system/mine", "_timestamp", "_runtime"]


def test_system_stream_without_pandas_is_a_list(logged: Any) -> None:
    rows = logged.history(stream="system", pandas=False)
    assert [set(row) - {"_timestamp", "_runtime"} for row in rows] == [{"system/cpu"}, {"system/cpu", "system/memory"}]


def test_scan_has_every_row(logged: Any) -> None:
    assert list(logged.scan_history(stream="system")) == logged.history(stream="system", pandas=False)
    assert next(logged.scan_history(stream="events"))["system/cpu"] == 10


def test_run_without_measurements_is_empty(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    start_run(backend.url).finish()
    frame = api.run("run-1").history(stream="system")
    assert frame.empty
    assert list(frame.columns) == ["_timestamp", "_runtime"]


def test_rows_name_their_writer(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    for number, writer in enumerate("ab"):
        run = start_run(backend.url, writer=writer)
        measured(run, T0 + number, cpu=number)
        measured(run, T0, load=math.pi)
        run.finish()
    frame = api.run("run-1").history(stream="system")
    assert frame["_writer"].tolist() == ["a", "a", "b", "b"]
    assert frame["_timestamp"].tolist() == [T0, T0, T0, T0 + 1]
    assert frame["system/load"].dropna().tolist() == [math.pi, math.pi]
    rows = api.runs("default/uncategorized").histories(stream="system")
    assert [(row["run_id"], row["_writer"]) for row in rows] == [("run-1", name) for name in "aabb"]


def test_sample_reports_omitted_rows(
    backend: Backend, start_run: StartRun, api: stepwell.Api, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(backend.url)
    for number in range(1000):
        measured(run, T0 + number, cpu=number)
    run.finish()
    seen = api.run("run-1")
    with caplog.at_level(logging.WARNING):
        frame = seen.history(samples=10, stream="system")
    assert frame["system/cpu"].tolist() == [*range(0, 1000, 100), 999]
    assert frame.attrs["stepwell"]["sampled"] == {"from_rows": 1000, "rows": 11, "by": "order"}
    assert "returned 11 of 1000 rows" in caplog.text
    assert len(seen.history(samples=1000, stream="system")) == 1000
    assert [row["system/cpu"] for row in seen.scan_history(stream="system")] == list(range(1000))


def test_unsupported_arguments_are_errors(logged: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert logged.history(keys=["loss"], stream="system") == []
    assert "keys and stream='system' are mutually exclusive" in caplog.text
    with pytest.raises(UsageError, match="there is no stream 'gpu'"):
        logged.history(stream="gpu")
    with pytest.raises(UsageError, match="has no steps"):
        logged.scan_history(min_step=5, stream="system")
    with pytest.raises(UsageError, match="has no steps"):
        logged.scan_history(keys=["loss"], stream="events")
    with pytest.raises(UsageError, match="samples"):
        logged.history(samples=0, stream="system")
