"""`stepwell.Api().runs()`: a sequence of the matching runs, loaded as they are accessed."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

import stepwell
from fixtures.server import Backend, StartRun
from stepwell.api._http import Client
from stepwell.errors import NotFoundError, UsageError

pytestmark = pytest.mark.db


@pytest.fixture
def api(backend: Backend, start_run: StartRun) -> stepwell.Api:
    """Five runs, r0 to r4; each has logged its number, and r4 has failed."""
    for number in range(5):
        run = start_run(backend.url, run_id=f"r{number}", config={"number": number})
        run.log({"x": number})
        run.finish(1 if number == 4 else 0)
    return stepwell.Api({"base_url": backend.url})


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requested paths."""
    seen: list[Any] = []
    asked = Client.get_json

    def get_json(self: Client, path: Any, query: Any = None) -> Any:
        seen.append("/".join(path))
        return asked(self, path, query)

    monkeypatch.setattr(Client, "get_json", get_json)
    return seen


def ids(runs: Any) -> list[str]:
    return [run.id for run in runs]


def test_runs_are_a_lazy_sequence(api: stepwell.Api, requests: list[Any]) -> None:
    runs = api.runs(per_page=2)
    assert requests == []
    assert len(runs) == 5
    assert runs[1].id == "r1"
    assert len(requests) == 1
    assert ids(runs) == [f"r{number}" for number in range(5)]
    assert (runs[-1].id, ids(runs[1:3])) == ("r4", ["r1", "r2"])
    assert len(requests) == 3
    with pytest.raises(IndexError):
        _ = runs[5]


def test_listed_runs_need_no_extra_request(api: stepwell.Api, requests: list[Any]) -> None:
    run = api.runs()[3]
    assert (run.config, run.state, run.lastHistoryStep) == ({"number": 3}, "finished", 0)
    assert requests == ["v1/runs"]


def test_filters_and_order(api: stepwell.Api) -> None:
    assert ids(api.runs(filters={"config.number": {"$gte": 2}}, order="-config.number")) == ["r4", "r3", "r2"]
    assert ids(api.runs(filters={"state": "failed"})) == ["r4"]
    assert ids(api.runs(filters={"summary_metrics.x": {"$in": [0, 3]}})) == ["r0", "r3"]
    assert ids(api.runs(order="-created_at")[:2]) == ["r4", "r3"]
    nobody = api.runs(filters={"name": "nobody"})
    assert (len(nobody), list(nobody)) == (0, [])


@pytest.mark.parametrize("path", [None, "uncategorized", "default/uncategorized"])
def test_path_may_omit_defaults(api: stepwell.Api, path: str | None) -> None:
    assert len(api.runs(path)) == 5


def test_histories_contain_run_ids(api: stepwell.Api) -> None:
    runs = api.runs(filters={"config.number": {"$lt": 2}})
    expected = [{"run_id": f"r{n}", "_step": 0, "x": float(n)} for n in range(2)]
    assert runs.histories(keys=["x"]) == expected
    assert runs.histories(keys=["x"], format="pandas").equals(pd.DataFrame(expected))
    assert runs.histories(keys=["x"], format="polars").equals(pl.DataFrame(expected))
    with pytest.raises(UsageError, match="default, pandas or polars"):
        runs.histories(format="csv")  # type: ignore[arg-type]  # that is what is tested


def test_errors_are_explained(api: stepwell.Api) -> None:
    with pytest.raises(NotFoundError, match="projects of 'default' include uncategorized"):
        len(api.runs("default/nobody"))
    with pytest.raises(UsageError, match="no field 'colour'"):
        list(api.runs(filters={"colour": "red"}))
    with pytest.raises(UsageError, match="cannot be ordered by"):
        list(api.runs(order="colour"))
    with pytest.raises(UsageError, match="per_page"):
        api.runs(per_page=0)
    with pytest.raises(UsageError, match="serializable as JSON"):
        api.runs(filters={"state": {1, 2}})
    with pytest.raises(UsageError, match="too many parts"):
        api.runs("a/b/c")
