"""Names, last values, buckets and objects of a run over HTTP."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any

import numpy as np
import pytest

from fixtures.ingest import Session
from fixtures.reads import RUN, ask, ask_batches, frame, run_path, store
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def test_names_are_sorted_with_section_sizes(worker: Worker) -> None:
    session = Session()
    names = ["loss", "train/loss", "train/acc", "train/deep/er", "Éa/b"]
    await store(worker, session, frame(session, [0], {name: [1.0] for name in names}))
    assert await ask(worker, f"{RUN}/metrics") == (
        200,
        {"metrics": sorted(names, key=str.encode), "sections": {"": 1, "train": 3, "Éa": 1}},
    )


async def test_fork_names_include_its_parents(worker: Worker) -> None:
    parent, child = Session(), Session(run="child")
    await store(worker, parent, frame(parent, [0], {"a": [1], "b": [1]}))
    await store(worker, child, frame(child, [1], {"b": [1], "c": [1]}), fork_run="run-1", fork_step=0)
    assert (await ask(worker, f"{run_path('child')}/metrics"))[1]["metrics"] == ["a", "b", "c"]


def without_row_keys(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without the step, the time and the duration of its last row."""
    return {key: value for key, value in summary.items() if key not in ("_step", "_timestamp", "_runtime")}


async def test_summary_has_the_last_value_of_each_key(any_worker: Worker) -> None:
    session = Session()
    await store(
        any_worker,
        session,
        frame(session, [0, 1], {"a": [1, 0.1], "gone": [1, math.nan]}, objects=[(0, "o", 1), (1, "o", {"x": 2**60})]),
        frame(session, [2], {"b": [math.inf]}),
    )
    expected = {"a": 0.1, "b": "Infinity", "gone": "NaN", "o": {"x": 2**60}}
    status, found = await ask(any_worker, f"{RUN}/summary")
    assert (status, without_row_keys(found)) == (200, expected)
    second = Session()
    await store(any_worker, second, frame(second, [1], {"a": [7]}))  # supersedes the points above
    assert without_row_keys((await ask(any_worker, f"{RUN}/summary"))[1]) == {"a": 7, "gone": 1, "o": 1}


async def test_empty_run_has_no_names_or_values(worker: Worker) -> None:
    await store(worker, Session())
    assert await ask(worker, f"{RUN}/metrics") == (200, {"metrics": [], "sections": {}})
    assert await ask(worker, f"{RUN}/summary") == (200, {})
    assert await ask(worker, f"{RUN}/objects") == (200, {"keys": []})


def numbers(batch: Any, name: str) -> list[Any]:
    return list(batch.numbers(name).tolist())


async def test_buckets_keep_spikes_nan_and_inf(any_worker: Worker) -> None:
    values = np.zeros(1000)
    values[[100, 200, 300, 301, 302]] = [1e9, -1e9, np.nan, np.inf, -np.inf]
    values[[900, 901]] = 1.7e308
    session = Session()
    await store(any_worker, session, frame(session, range(5, 1005), {"x": values, "y": values}))
    x, y, end = await ask_batches(any_worker, f"{RUN}/series", keys=["x", "y"], buckets=100)

    assert end.head["end"]
    assert [x.head["key"], y.head["key"]] == ["x", "y"]
    assert x.head["bucket_width"] == 16  # the smallest power of two with at most 100 buckets
    assert x.head["sampled"]["from"] == 1000
    assert "buckets of 16 steps" in x.head["sampled"]["by"]
    steps = numbers(x, "bucket_step")
    assert steps == list(range(0, 1008, 16))
    assert sum(numbers(x, "count")) == 1000
    assert (np.nanmin(x.numbers("min")), np.nanmax(x.numbers("max"))) == (-1e9, 1.7e308)
    assert np.isclose(np.nanmax(x.numbers("mean")), 1.7e308 / 8)  # a sum would overflow
    assert numbers(x, "max")[steps.index(96)] == 1e9  # step 105
    for kind, step in (("nans", 305), ("pos_infs", 306), ("neg_infs", 307)):
        assert sum(numbers(x, kind)) == numbers(x, kind)[steps.index(step // 16 * 16)] == 1
    assert (numbers(x, "first_step")[0], numbers(x, "last_step")[-1]) == (5, 1004)


async def test_buckets_by_writer_and_range(worker: Worker) -> None:
    for writer in ("0", "1"):
        session = Session(writer=writer)
        await store(worker, session, frame(session, range(100), {"x": np.full(100, float(writer))}))
    batch, _ = await ask_batches(worker, f"{RUN}/series", keys="x", buckets=10, min_step=20, max_step=40)
    assert batch.head["writers"] == ["0", "1"]
    assert batch.head["bucket_width"] == 2
    assert list(zip(numbers(batch, "writer"), numbers(batch, "bucket_step"), numbers(batch, "mean"), strict=True)) == [
        (writer, step, float(writer)) for writer in (0, 1) for step in range(20, 40, 2)
    ]


async def test_bucket_without_finite_values_has_counts(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0], {"x": [math.nan]}))
    status, answer = await ask(worker, f"{RUN}/series", keys="x", buckets=1)
    assert status == 200
    found = answer["items"][0]["columns"]
    assert (found["count"], found["nans"], found["min"], found["first"]) == ([1], [1], ["NaN"], ["NaN"])


async def test_unknown_metric_gets_suggestions(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, range(5), {"train/loss": range(5)}, objects=[(0, "pictures", 1)]))
    for buckets in ({}, {"buckets": 5}):
        _, answer = await ask(worker, f"{RUN}/series", keys=["train/loss", "train/los"], **buckets)
        assert answer["unknown"] == {"train/los": ["train/loss"]}
        assert "unknown" not in (await ask(worker, f"{RUN}/series", keys="train/loss", min_step=100, **buckets))[1]
    _, answer = await ask(worker, f"{RUN}/objects", key="picture")
    assert (answer["values"], answer["unknown"]) == ([], {"picture": ["pictures"]})
    assert "unknown" not in (await ask(worker, f"{RUN}/objects", key="pictures", min_step=1))[1]


async def test_objects_are_paged_in_order(any_worker: Worker) -> None:
    for writer in ("0", "1"):
        session = Session(writer=writer)
        objects = [(step, "o", {"w": writer, "big": 2**60}) for step in range(5)] + [(0, "other", None)]
        await store(
            any_worker,
            session,
            frame(session, range(5), {"x": range(5)}, objects=sorted(objects, key=itemgetter(0, 1))),
        )
    assert (await ask(any_worker, f"{RUN}/objects"))[1]["keys"] == [
        {"key": "o", "count": 10, "first_step": 0, "last_step": 4},
        {"key": "other", "count": 2, "first_step": 0, "last_step": 0},
    ]
    found, cursor = [], {}
    while True:
        _, answer = await ask(any_worker, f"{RUN}/objects", key="o", limit=3, min_step=1, **cursor)
        found += answer["values"]
        if answer["next"] is None:
            break
        cursor = {"cursor": answer["next"]}
    assert [(item["step"], item["writer"]) for item in found] == [(s, w) for s in range(1, 5) for w in ("0", "1")]
    assert found[0]["value"] == {"w": "0", "big": 2**60}
    status, answer = await ask(any_worker, f"{RUN}/objects", key="o", cursor="nonsense")
    assert (status, answer["error"]["code"]) == (400, "usage")


@pytest.mark.parametrize("name", ["a/b", "ünï cödé", "100%", "..", "a?b&c=d", "%2F", "+ +"])
async def test_runs_with_any_name_are_found(worker: Worker, name: str) -> None:
    session = Session(run=name, project="p q")
    await store(worker, session, frame(session, [0], {"x": [1]}))
    status, answer = await ask(worker, f"{run_path(name, project='p q')}/summary")
    assert (status, without_row_keys(answer)) == (200, {"x": 1})


@pytest.mark.parametrize(
    ("path", "query", "problem"),
    [
        (f"{RUN}/history", {"min_step": "x"}, "'min_step' must be a whole number from 0"),
        (f"{RUN}/history", {"min_step": -1}, "'min_step' must be a whole number from 0"),
        (f"{RUN}/history", {"max_step": 2**63}, "'max_step' must be a whole number from 0"),
        (f"{RUN}/history", {"max_step": "1e3"}, "'max_step' must be a whole number"),
        (f"{RUN}/history", {"samples": 0}, "'samples' must be a whole number from 1 to 100000"),
        (f"{RUN}/history", {"limit": ["1", "2"]}, "the parameter 'limit' may be given only once"),
        (f"{RUN}/history", {"kyes": "x"}, "unknown parameter 'kyes'"),
        (f"{RUN}/history", {"keys": [f"k{i}" for i in range(1001)]}, "'keys' may be repeated 1000 times at most"),
        (f"{RUN}/history", {"times": "maybe"}, "'times' must be one of true, false"),
        (f"{RUN}/series", {}, "missing parameter 'keys'"),
        (f"{RUN}/series", {"keys": "x", "buckets": 10**9}, "'buckets' must be a whole number from 1 to 20000"),
        (f"{RUN}/summary", {"x": 1}, "unknown parameter 'x'"),
        ("/v1/runs", {}, "missing parameter 'path'"),
        ("/v1/runs", {"path": "team"}, "'path' must be entity/project"),
        ("/v1/runs", {"path": "/b/c"}, "'path' must be entity/project"),
    ],
)
async def test_invalid_parameters_are_400_and_named(
    worker: Worker, path: str, query: dict[str, Any], problem: str
) -> None:
    await store(worker, Session())
    status, answer = await ask(worker, path, **query)
    assert status == 400
    assert problem in answer["error"]["message"]


async def test_missing_run_is_404_with_suggestions(worker: Worker) -> None:
    status, answer = await ask(worker, f"{RUN}/history")
    assert (status, answer["error"]["hint"]) == (404, "no run was ever logged to this server")
    await store(worker, Session(run="run-2"))
    for route in ("", "/metrics", "/summary", "/objects", "/history", "/series"):
        query = {"keys": "x"} if route == "/series" else {}
        status, answer = await ask(worker, f"{RUN}{route}", **query)
        assert (status, answer["error"]["code"]) == (404, "not_found")
        assert answer["error"]["hint"] == "runs of team/mnist include run-2"
    await store(worker, Session(run="run-3"), info={"display_name": "the third"})
    status, answer = await ask(worker, RUN)
    assert answer["error"]["hint"] == "runs of team/mnist include run-3 (the third), run-2"
