"""`POST /v1/charts`: buckets of several runs and metrics in one answer."""

from __future__ import annotations

import math
from typing import Any

import aiohttp
import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.ingest import T0, Session
from fixtures.reads import frame, store
from stepwell.wire import columns
from stepwell.wire.columns import Batch
from stepwell_ingest.read.charts import merge_writers
from stepwell_ingest.server.worker import Worker

db = pytest.mark.db


async def charts(worker: Worker, *wanted: dict[str, Any], times: bool = False) -> list[Batch]:
    """The batches of an answer except the last one."""
    body = {"charts": list(wanted), "times": times}
    status, raw = await send(worker, orjson.dumps(body))
    assert status == 200, raw
    *batches, end = columns.split(raw)
    assert end.head.get("end") is True
    return batches


async def send(worker: Worker, body: bytes) -> tuple[int, bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{worker.url}/v1/charts?path=team/mnist", data=body) as reply,
    ):
        return reply.status, await reply.read()


def names(batch: Batch) -> list[str]:
    return [column.name for column in batch.columns]


@db
async def test_charts_are_in_the_requested_order(any_worker: Worker) -> None:
    for run in ("a", "b"):
        session = Session(run=run)
        await store(any_worker, session, frame(session, range(3), {"x": [1, 2, 3], "y": [4, 5, 6]}))
    found = await charts(any_worker, {"key": "y", "runs": ["b", "a"]}, {"key": "x", "runs": ["a"]})
    assert [(batch.head["chart"], batch.head["run"], batch.head["key"]) for batch in found] == [
        *((0, "b", "y"), (0, "a", "y"), (1, "a", "x")),
    ]
    assert [batch.numbers("first").tolist() for batch in found] == [[4, 5, 6], [4, 5, 6], [1, 2, 3]]


@db
async def test_mistyped_metric_gets_suggestions(worker: Worker) -> None:
    for run, key in (("a", "train/loss"), ("b", "train/acc")):
        session = Session(run=run)
        await store(worker, session, frame(session, range(3), {key: [1, 2, 3]}))
    asked = [{"key": key, "runs": ["a", "b"]} for key in ("train/los", "train/loss", "train/acc")]
    asked.append({"key": "train/loss", "runs": ["a"], "min_step": 100})  # nothing there, but the metric exists
    status, raw = await send(worker, orjson.dumps({"charts": asked}))
    *_, end = columns.split(raw)
    assert (status, end.head["unknown"]) == (200, {"train/los": ["train/loss", "train/acc"]})


@db
async def test_single_point_buckets_send_one_value(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0, 7, 500], {"x": [0.1, math.nan, 3]}))
    (batch,) = await charts(worker, {"key": "x", "runs": ["run-1"], "buckets": 1000})
    assert names(batch) == ["bucket", "first_step", "first"]
    assert batch.numbers("bucket").tolist() == [0, 7, 500]
    assert batch.head | {"bucket_width": 1, "origin": "0", "points": 3} == batch.head
    assert np.array_equal(batch.numbers("first"), [0.1, math.nan, 3], equal_nan=True)


@db
async def test_spike_is_kept_at_every_zoom(worker: Worker) -> None:
    values = np.sin(np.arange(20_000) / 100)
    values[12_345] = 99.5
    session = Session()
    await store(worker, session, frame(session, range(20_000), {"x": values}))
    (whole,) = await charts(worker, {"key": "x", "runs": ["run-1"], "buckets": 100})
    at = int(np.argmax(whole.numbers("max")))
    width = whole.head["bucket_width"]
    assert (whole.numbers("max")[at], width) == (99.5, 256)
    low = int(whole.numbers("bucket")[at]) * width
    (zoomed,) = await charts(worker, {"key": "x", "runs": ["run-1"], "min_step": low, "max_step": str(low + width)})
    assert zoomed.head["points"] == width
    best = int(np.argmax(zoomed.numbers("max")))
    step = int(zoomed.head["origin"]) + int(zoomed.numbers("bucket")[best]) * zoomed.head["bucket_width"]
    assert step <= 12_345 < step + zoomed.head["bucket_width"]


@db
async def test_merged_writers_name_the_extreme(any_worker: Worker) -> None:
    for writer in range(4):
        session = Session(writer=str(writer))
        values = np.full(64, float(writer))
        values[40] = 1000.0 if writer == 2 else values[40]
        await store(any_worker, session, frame(session, range(64), {"x": values}))
    (batch,) = await charts(any_worker, {"key": "x", "runs": ["run-1"], "buckets": 8})
    assert batch.head["writers"] == ["0", "1", "2", "3"]
    assert batch.numbers("count").tolist() == [32] * 8
    assert batch.numbers("mean").tolist() == [1.5] * 5 + [(1.5 * 32 - 2 + 1000) / 32] + [1.5] * 2
    assert batch.numbers("max").tolist() == [3.0] * 5 + [1000.0] + [3.0] * 2
    assert batch.numbers("max_writer").tolist() == [3] * 5 + [2] + [3] * 2
    assert batch.numbers("min_writer").tolist() == [0] * 8


@db
async def test_non_finite_values_are_counted_per_bucket(worker: Worker) -> None:
    values = np.arange(64.0)
    values[[5, 6, 50]] = [math.nan, math.inf, -math.inf]
    session = Session()
    await store(worker, session, frame(session, range(64), {"x": values, "nothing": np.full(64, math.nan)}))
    x, nothing = await charts(
        worker,
        {"key": "x", "runs": ["run-1"], "buckets": 8},
        {"key": "nothing", "runs": ["run-1"], "buckets": 8},
    )
    found = {column.name: column for column in x.columns}
    assert [(found[name].rows.tolist(), found[name].values.tolist()) for name in ("nans", "pos_infs", "neg_infs")] == [  # type: ignore[union-attr]
        *(([0], [1]), ([0], [1]), ([6], [1])),
    ]
    assert np.isnan(nothing.numbers("mean")).all()
    assert next(column for column in nothing.columns if column.name == "nans").values.tolist() == [8] * 8  # type: ignore[union-attr]


@db
async def test_bucket_times_are_those_of_the_first_point(any_worker: Worker) -> None:
    session = Session()
    await store(any_worker, session, frame(session, range(100, 400), {"x": np.arange(300.0)}))
    (batch,) = await charts(any_worker, {"key": "x", "runs": ["run-1"], "buckets": 10}, times=True)
    first = int(batch.head["origin"]) + batch.numbers("bucket") * batch.head["bucket_width"]
    first = first + batch.numbers("first_step")
    assert first[0] == 100
    assert batch.numbers("time").tolist() == [(T0 + step) / 1e6 for step in first.tolist()]


@db
async def test_steps_near_the_largest_are_exact(worker: Worker) -> None:
    top = 2**63 - 1
    session = Session()
    await store(worker, session, frame(session, [top - 3, top - 1], {"x": [1, 2]}))
    (batch,) = await charts(worker, {"key": "x", "runs": ["run-1"]}, times=True)
    assert int(batch.head["origin"]) == top - 3
    assert batch.numbers("bucket").tolist() == [0, 2]
    (batch,) = await charts(worker, {"key": "x", "runs": ["run-1"], "min_step": str(top - 2), "max_step": str(top)})
    assert (batch.head["origin"], batch.rows) == (str(top - 1), 1)


@db
async def test_missing_runs_and_metrics_are_reported(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0], {"x": [1]}))
    found = await charts(worker, {"key": "x", "runs": ["gone", "run-1"]}, {"key": "no such", "runs": ["run-1"]})
    assert [batch.rows for batch in found] == [0, 1, 0]
    assert found[0].head["error"]["code"] == "not_found"
    assert "error" not in found[2].head
    assert found[2].head["points"] == 0


@db
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (b"{", "must be JSON"),
        (b"[]", "a list of charts"),
        (b'{"charts": {}}', "a list of charts"),
        (b'{"charts": [{"key": "x"}]}', "a list of runs"),
        (b'{"charts": [{"key": "x", "runs": [], "buckets": 0}]}', "'buckets' must be"),
        (b'{"charts": [{"key": "x", "runs": [], "min_step": -1}]}', "'min_step' must be"),
        (b'{"charts": [{"key": "x", "runs": [], "max_step": "9223372036854775808"}]}', "'max_step'"),
    ],
)
async def test_invalid_body_names_the_field(worker: Worker, body: bytes, wanted: str) -> None:
    status, raw = await send(worker, body)
    assert status == 400
    assert wanted in orjson.loads(raw)["error"]["message"]


@db
async def test_too_many_series_are_refused(worker: Worker) -> None:
    wanted = {"key": "x", "runs": [f"run-{number}" for number in range(1001)]}
    status, raw = await send(worker, orjson.dumps({"charts": [wanted]}))
    assert (status, "1000 series" in orjson.loads(raw)["error"]["message"]) == (400, True)


VALUES = st.floats(width=64) | st.sampled_from([math.nan, math.inf, -math.inf, 1.7e308, -1.7e308])


@given(st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=2, max_size=5))
def test_merged_statistics_cover_all_points(given_values: list[list[float]]) -> None:
    """Each writer's points are one bucket; the merged bucket must equal the bucket of all points."""
    writers = [str(number) for number in range(len(given_values))]
    finite = [[value for value in values if math.isfinite(value)] for values in given_values]

    def mean(values: list[float]) -> float:
        return sum(value / len(values) for value in values) if values else math.nan

    def counted(test: Any) -> Any:
        return np.array([sum(map(test, values)) for values in given_values])

    merged = merge_writers(
        8,
        writers,
        np.arange(len(writers)),
        {
            "bucket_step": np.zeros(len(writers), np.int64),
            "count": np.array([len(values) for values in given_values]),
            "first_step": np.arange(len(writers)),
            "last_step": np.arange(len(writers)) + 2,
            "nans": counted(math.isnan),
            "pos_infs": counted(lambda value: value == math.inf),
            "neg_infs": counted(lambda value: value == -math.inf),
        },
        {
            "min": np.array([min(values, default=math.nan) for values in finite]),
            "max": np.array([max(values, default=math.nan) for values in finite]),
            "mean": np.array([mean(values) for values in finite]),
            "first": np.array([values[0] for values in given_values]),
            "last": np.array([values[-1] for values in given_values]),
        },
    )
    together = [value for values in finite for value in values]
    assert merged.integers["count"].tolist() == [sum(map(len, given_values))]
    assert np.array_equal(merged.doubles["first"], [given_values[0][0]], equal_nan=True)
    assert np.array_equal(merged.doubles["last"], [given_values[-1][-1]], equal_nan=True)
    if not together:
        assert np.isnan([merged.doubles[name][0] for name in ("min", "max", "mean")]).all()
        return
    assert (merged.doubles["min"][0], merged.doubles["max"][0]) == (min(together), max(together))
    assert min(together) in finite[merged.min_writer[0]]  # type: ignore[index]
    assert max(together) in finite[merged.max_writer[0]]  # type: ignore[index]
    size = max(map(abs, together))
    assert math.isclose(merged.doubles["mean"][0], mean(together), rel_tol=1e-9, abs_tol=size * 1e-9)
