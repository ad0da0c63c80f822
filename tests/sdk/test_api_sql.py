"""`stepwell.Api().sql`: the rows of a query as Python values, from a real server."""

from __future__ import annotations

import math

import pytest

import stepwell
from fixtures.server import NOWHERE, Backend, StartRun
from stepwell.errors import UnavailableError, UsageError
from stepwell_ingest.config import Sql

pytestmark = pytest.mark.db


@pytest.fixture
def api(backend: Backend) -> stepwell.Api:
    return stepwell.Api({"base_url": backend.url})


def test_rows_are_dicts(api: stepwell.Api, backend: Backend, start_run: StartRun) -> None:
    run = start_run(backend.url, run_id="r1", config={"lr": 0.5})
    run.log({"loss": 0.25, "bad": math.nan})
    run.finish()
    (row,) = api.sql("SELECT run, config, run_id FROM runs")
    assert (row["run"], row["config"]) == ("r1", {"lr": 0.5})
    assert isinstance(row["run_id"], int)
    assert row["run_id"] > 2**53
    found = api.sql(f"SELECT metric, value FROM history WHERE run_id = {row['run_id']} ORDER BY metric")
    assert repr(found) == "[{'metric': 'bad', 'value': nan}, {'metric': 'loss', 'value': 0.25}]"
    assert api.sql("SELECT run FROM runs WHERE run = 'other'") == []


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        *(("9007199254740993", 2**53 + 1), ("sum(9007199254740993)", 2**53 + 1), ("1.5::numeric", 1.5)),
        *(("'-Infinity'::float8", -math.inf), ("1::float8", 1.0), ("NULL::bigint", None), ("true", True)),
        *(("'NaN'::text", "NaN"), ("'12'::text", "12"), ("'[1, {}]'::jsonb", [1, {}])),
    ],
)
def test_values_are_python_values(api: stepwell.Api, expression: str, value: object) -> None:
    (row,) = api.sql(f"SELECT {expression} AS x")
    assert repr(row) == repr({"x": value})


def test_query_errors_are_explained(api: stepwell.Api) -> None:
    with pytest.raises(UsageError, match="hist"):
        api.sql("SELECT * FROM hist")
    with pytest.raises(UsageError, match="two columns are called 'a'"):
        api.sql("SELECT 1 AS a, 2 AS a")
    with pytest.raises(UsageError, match="took longer"):
        api.sql("SELECT pg_sleep(30)", timeout_s=0.1)
    with pytest.raises(UnavailableError):
        stepwell.Api({"base_url": NOWHERE}, timeout=0.5).sql("SELECT 1")


def test_truncated_answer_is_an_error(api: stepwell.Api) -> None:
    assert len(api.sql("SELECT repeat('x', 1024) FROM generate_series(1, 5000)")) == 5000
    megabytes = Sql().answer_bytes // 2**20 + 1
    with pytest.raises(UsageError, match=r"more than the [0-9]+ rows"):
        api.sql(f"SELECT repeat('x', 1024 * 1024) FROM generate_series(1, {megabytes})")
