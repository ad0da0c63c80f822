"""`stepwell.Api().run()`: reading one run, against a real server."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.cli import main
from stepwell.errors import CommError, Error, NotFoundError, UnavailableError, UsageError

pytestmark = pytest.mark.db


@pytest.fixture
def api(backend: Backend) -> stepwell.Api:
    return stepwell.Api({"base_url": backend.url})


@pytest.fixture
def logged(backend: Backend, start_run: StartRun, api: stepwell.Api) -> Any:
    """A run of 10 steps: loss at each, acc at every other, a note at step 3."""
    run = start_run(backend.url, config={"lr": 0.1, "_internal": 1, "model": {"depth": 2}}, name="first try")
    for step in range(10):
        data: dict[str, Any] = {"loss": 1 / (step + 1)}
        if step % 2 == 0:
            data["acc"] = float(step)
        if step == 3:
            data["note"] = "x"
        run.log(data)
    run.finish()
    return api.run("run-1")


def test_attributes_match_the_run(logged: Any, backend: Backend) -> None:
    assert (logged.id, logged.name, logged.state, logged.exit_code) == ("run-1", "first try", "finished", 0)
    assert logged.path == ["default", "uncategorized", "run-1"]
    assert logged.config == {"lr": 0.1, "model": {"depth": 2}}
    assert logged.rawconfig == {"lr": 0.1, "_internal": 1, "model": {"depth": 2}}
    assert logged.lastHistoryStep == 9
    assert logged.history_keys == ["acc", "loss", "note"]
    assert logged.url == f"{backend.url}/default/uncategorized/runs/run-1"
    assert logged.tags == []
    assert logged.notes is logged.group is logged.job_type is None
    assert logged.metadata["python"]
    assert pd.Timestamp(logged.created_at).tz is not None
    assert repr(logged) == "<Run default/uncategorized/run-1 (finished)>"


def test_summary_has_the_last_value_of_each_key(logged: Any) -> None:
    assert dict(logged.summary) == logged.summary_metrics
    shown = {key: value for key, value in logged.summary.items() if not key.startswith("_")}
    assert shown == {"loss": 0.1, "acc": 8.0, "note": "x"}
    assert logged.summary.get("nothing") is None


def test_load_refreshes(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    run = start_run(backend.url)
    run.log({"a": 1})
    run.flush(10)
    seen = api.run("run-1")
    assert seen.state == "running"
    assert seen.summary["a"] == 1
    run.log({"a": 2})
    run.finish()
    seen.load()
    assert (seen.state, seen.summary["a"]) == ("finished", 2)


def test_history_is_a_dataframe(logged: Any) -> None:
    frame = logged.history()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == ["_step", "acc", "loss", "note", "_timestamp", "_runtime"]
    assert frame["loss"].tolist() == [1 / (step + 1) for step in range(10)]
    assert frame["acc"].isna().tolist() == [step % 2 == 1 for step in range(10)]
    assert frame["note"].tolist()[2:4] == [None, "x"]
    assert (frame["_runtime"] >= 0).all()
    assert (frame["_runtime"] < 60).all()
    assert frame.attrs["stepwell"] == {"sampled": None}


def test_history_with_keys(logged: Any) -> None:
    frame = logged.history(keys=["acc", "loss"])
    assert list(frame.columns) == ["_step", "acc", "loss"]
    assert frame["_step"].tolist() == [0, 2, 4, 6, 8]
    assert logged.history(keys=["nobody"]).empty
    assert list(logged.history(keys=["loss", "_timestamp"]).columns) == ["_step", "loss", "_timestamp"]


def test_history_without_pandas_is_a_list(logged: Any) -> None:
    rows = logged.history(pandas=False)
    assert rows[1].keys() == {"_step", "loss", "_timestamp", "_runtime"}
    assert rows[3]["note"] == "x"
    assert logged.history(keys=["acc"], pandas=False) == [{"_step": s, "acc": float(s)} for s in range(0, 10, 2)]


def test_x_axis_orders_rows(logged: Any) -> None:
    frame = logged.history(keys=["acc"], x_axis="loss")
    assert list(frame.columns) == ["_step", "acc", "loss"]
    assert frame["_step"].tolist() == [8, 6, 4, 2, 0]
    assert [row["_step"] for row in logged.history(keys=["acc"], x_axis="loss", pandas=False)] == [8, 6, 4, 2, 0]


def test_invalid_keys_behave_as_in_wandb(logged: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert logged.history(keys="loss") == []
    assert "keys must be a list of names" in caplog.text
    assert logged.history(keys=["loss"], stream="system") == []
    with pytest.raises(UsageError, match="keys must be a list of names"):
        logged.scan_history(keys="loss")
    with pytest.raises(UsageError, match="page_size"):
        logged.scan_history(page_size=0)


def test_sampled_history_keeps_spikes(
    backend: Backend, start_run: StartRun, api: stepwell.Api, caplog: pytest.LogCaptureFixture
) -> None:
    run = start_run(backend.url)
    odd = {7_001: 1e9, 7_002: -1e9, 12_345: math.nan, 15_000: math.inf, 15_001: -math.inf}
    for step in range(20_000):
        run.log({"x": odd.get(step, 0.5)})
    run.finish()
    with caplog.at_level(logging.WARNING):
        frame = api.run("run-1").history(samples=200, keys=["x"])
    assert len(frame) <= 260
    values = dict(zip(frame["_step"], frame["x"], strict=True))
    assert {step: values[step] for step in odd if not math.isnan(odd[step])} == {
        step: value for step, value in odd.items() if not math.isnan(value)
    }
    assert math.isnan(values[12_345])
    assert values[0] == values[19_999] == 0.5
    sampled = frame.attrs["stepwell"]["sampled"]
    assert (sampled["from"], sampled["from_rows"], sampled["rows"]) == (20_000, 20_000, len(frame))
    assert f"returned {len(frame)} of 20000 rows" in caplog.text


def test_scan_history_can_be_repeated(logged: Any) -> None:
    scan = logged.scan_history(keys=["acc"], page_size=2)
    expected = [{"_step": step, "acc": float(step)} for step in range(0, 10, 2)]
    assert list(scan) == list(scan) == expected
    assert next(scan) == expected[0]
    assert next(scan) == expected[1]
    whole = list(logged.scan_history(min_step=2, max_step=4))
    assert [(row["_step"], row["loss"]) for row in whole] == [(2, 1 / 3), (3, 1 / 4)]
    assert list(logged.scan_history(min_step=10)) == []


def test_integers_of_any_size_round_trip(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    run = start_run(backend.url)
    run.log({"big": 2**53 + 1})
    run.log({"big": 2**80})
    run.log({"big": 7})
    run.finish()
    assert [row["big"] for row in api.run("run-1").scan_history(["big"])] == [2**53 + 1, 2**80, 7]
    assert api.run("run-1").history(keys=["big"])["big"].tolist() == [2**53 + 1, 2**80, 7]


def test_series_are_bit_exact_arrays(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    bits = np.array([0x7FF8000000000001, 0xFFF0000000000000, 1 << 63, 1, 0x7FEFFFFFFFFFFFFF], np.uint64)
    run = start_run(backend.url)
    for value in bits.view(np.float64).tolist():
        run.log({"x": value})
    run.finish()
    series = api.run("run-1").series("x")
    assert series.values.view(np.uint64).tolist() == bits.tolist()
    assert series.steps.tolist() == [0, 1, 2, 3, 4]
    assert (series.values.dtype, series.steps.dtype, series.writers) == (np.float64, np.int64, ["0"])
    some = api.run("run-1").series("x", min_step=1, max_step=3)
    assert some.steps.tolist() == [1, 2]
    assert len(api.run("run-1").series("nobody").values) == 0


def test_names_are_replaced_as_when_they_were_logged(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    run = start_run(backend.url)
    run.log({"bad\ud800\0": 1.5})
    run.flush(10)
    read = api.run("run-1")
    assert read.series("bad\ud800\0").values.tolist() == [1.5]
    assert [row["bad\ufffd\ufffd"] for row in read.history(keys=["bad\ud800\0"], pandas=False)] == [1.5]
    with pytest.raises(stepwell.CommError, match="there is no run"):
        api.run("run-\ud800")


def test_late_writer_is_distinguished(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    first = start_run(backend.url, writer="0")
    first.log({"x": 0.0})
    first.flush(10)
    seen = api.run("run-1")
    second = start_run(backend.url, writer="1")
    second.log({"x": 1.0})
    second.flush(10)
    assert seen.history(keys=["x"], pandas=False) == [
        {"_step": 0, "_writer": "0", "x": 0.0},
        {"_step": 0, "_writer": "1", "x": 1.0},
    ]


def test_rows_name_their_writer(backend: Backend, start_run: StartRun, api: stepwell.Api, tmp_path: Path) -> None:
    for writer in ("1", "0"):
        run = start_run(backend.url, writer=writer, dir=tmp_path / writer)
        run.log({"x": int(writer)})
        run.finish()
    run = api.run("run-1")
    assert list(run.scan_history(["x"])) == [
        {"_step": 0, "_writer": "0", "x": 0.0},
        {"_step": 0, "_writer": "1", "x": 1.0},
    ]
    assert run.history(keys=["x"])["_writer"].tolist() == ["0", "1"]
    series = run.series("x")
    assert [series.writers[number] for number in series.writer] == ["0", "1"]


def test_arrow_and_polars_distinguish_null_and_nan(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    run = start_run(backend.url)
    run.log({"x": math.nan, "note": [1]})
    run.log({"y": 2})
    run.finish()
    table = api.run("run-1").history_arrow()
    assert table.schema.field("x").type == pa.float64()
    assert table.schema.field("note").type == pa.string()
    assert table["x"].null_count == 1
    assert math.isnan(table["x"][0].as_py())
    assert table["note"].to_pylist() == ["[1]", None]
    assert table["_step"].to_pylist() == [0, 1]
    assert table.schema.metadata[b"stepwell"] == b'{"sampled":null}'
    frame = api.run("run-1").to_polars(["y"])
    assert frame.equals(pl.DataFrame({"_step": [1], "y": [2.0]}))


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hides a library."""

    def hide(name: str) -> None:
        import sys

        monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_missing_library_is_named(logged: Any, without: Any, caplog: pytest.LogCaptureFixture) -> None:
    without("pyarrow")
    with pytest.raises(UsageError, match="pip install pyarrow"):
        logged.history_arrow()
    without("polars")
    with pytest.raises(UsageError, match="pip install polars pyarrow"):
        logged.to_polars()
    without("pandas")
    assert isinstance(logged.history(), list)
    assert "pandas is not installed" in caplog.text


def test_missing_run_is_a_comm_error(logged: Any, api: stepwell.Api) -> None:
    assert logged
    with pytest.raises(
        CommError, match=r"no run 'run-2' in default/uncategorized\s+Hint: runs .* include run-1"
    ) as caught:
        api.run("run-2")
    assert isinstance(caught.value, NotFoundError | LookupError | Error)
    with pytest.raises(NotFoundError, match="projects of 'default' include uncategorized"):
        api.run("other/run-1")
    with pytest.raises(NotFoundError, match="entities of this server include default"):
        api.run("nobody/other/run-1")


@pytest.mark.parametrize(
    "path", ["run-1", "uncategorized/run-1", "default/uncategorized/run-1", "/default/uncategorized/runs/run-1"]
)
def test_path_may_omit_defaults(logged: Any, api: stepwell.Api, path: str) -> None:
    assert api.run(path).path == logged.path


@pytest.mark.parametrize("path", ["", "/", "a/b/c/d", "a/b/c/d/e", 7])
def test_path_without_a_run_is_refused(path: Any) -> None:
    with pytest.raises(UsageError, match="entity/project/id"):
        stepwell.Api().run(path)


def test_unreachable_server_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"http://127.0.0.1:9 cannot be reached[\s\S]*STEPWELL_URL"):
        stepwell.Api({"base_url": "http://127.0.0.1:9"}).run("x")


def test_overrides_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_ENTITY", "team")
    monkeypatch.setenv("STEPWELL_PROJECT", "mnist")
    monkeypatch.setenv("STEPWELL_URL", "http://there:1")
    monkeypatch.setenv("STEPWELL_RESUME", "must")  # a setting for runs that log
    assert stepwell.Api({"project": "p"}).settings == {"entity": "team", "project": "p", "base_url": "http://there:1"}
    with pytest.raises(stepwell.Error, match="unknown override 'projct'"):
        stepwell.Api({"projct": "p"})


def test_interrupted_read_continues(backend: Backend, start_run: StartRun, api: stepwell.Api) -> None:
    """The server restarts during a scan, which returns every row once."""
    run = start_run(backend.url)
    for step in range(1000):
        run.log({"x": float(step)})
    run.finish()
    rows = iter(api.run("run-1").scan_history(["x"]))
    found = [next(rows) for _ in range(10)]
    backend.kill()
    backend.start()
    found += list(rows)
    assert [row["_step"] for row in found] == list(range(1000))


def test_runtime_counts_from_process_start(backend: Backend, tmp_path: Path) -> None:
    """An offline run that is synced: the server learns of it long after its rows were logged."""
    with stepwell.init("mnist", id="late", mode="offline", dir=tmp_path) as run:
        run.log({"loss": 1.0})
        time.sleep(0.1)
        run.log({"loss": 0.5})
    time.sleep(0.5)
    assert main(["sync", str(tmp_path), "--url", backend.url]) == 0
    read = stepwell.Api({"base_url": backend.url}).run("mnist/late")
    first, second = read.history(pandas=False)
    assert 0 <= first["_runtime"] < second["_runtime"] < 0.5
    assert second["_runtime"] == pytest.approx(second["_timestamp"] - run._session.started_at, abs=1e-5)
