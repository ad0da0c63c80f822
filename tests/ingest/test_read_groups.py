"""Groups of runs: which runs belong together, how many they are, their means, and the filter that finds them again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fixtures.ingest import start_worker
from fixtures.reads import ask, fill
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

OPT, WIDTH, LOSS = "config.optim.name", "config.width", "summary_metrics.loss"
#: Name → config, and the last loss.
RUNS: dict[str, tuple[dict[str, Any], float | None]] = {
    "a": ({"optim": {"name": "adamw"}, "width": 64}, 1.0),
    "b": ({"optim": {"name": "adamw"}, "width": 64.0}, 2.0),
    "c": ({"optim": {"name": "adamw"}, "width": 128}, float("nan")),
    "d": ({"optim": {"name": "lion"}, "width": 64}, 0.5),
    "e": ({"optim": {"name": None}, "width": "wide", "huge": 1e300}, 1.7e308),
    "f": ({"sizes": [1, {"x": 2}], "width": "'); --"}, None),
}


@pytest.fixture(scope="module")
def project(any_shared_dsn: str) -> str:
    fill(
        any_shared_dsn,
        {
            name: ({"config": config, "tags": ["x"] if name < "c" else []}, {} if loss is None else {0: 9.0, 1: loss})
            for name, (config, loss) in RUNS.items()
        },
    )
    return any_shared_dsn


@pytest.fixture
async def worker(project: str) -> AsyncIterator[Worker]:
    async with start_worker(project) as worker:
        yield worker


async def groups(worker: Worker, **query: Any) -> dict[str, Any]:
    status, answer = await ask(worker, "/v1/groups", path="team/mnist", **query)
    assert status == 200, answer
    assert isinstance(answer, dict)
    return answer


async def test_groups_have_counts_and_means_of_finite_numbers(worker: Worker) -> None:
    answer = await groups(worker, by=OPT, mean=[LOSS, WIDTH], order="-created_at")
    found = {str(group["by"][0]): group for group in answer["groups"]}
    assert (answer["total"], answer["runs"]) == (3, 6)
    assert [group["by"] for group in answer["groups"]] == [[None], ["lion"], ["adamw"]]  # the newest run's first
    assert {name: group["runs"] for name, group in found.items()} == {"adamw": 3, "lion": 1, "None": 2}
    loss = found["adamw"]["means"][LOSS]
    assert (loss["mean"], loss["runs"]) == (1.5, 2)
    assert loss["deviation"] == pytest.approx(0.5**0.5)
    assert found["lion"]["means"][LOSS] == {"mean": 0.5, "deviation": None, "runs": 1}
    assert found["None"]["means"] == {}  # one is a text, one too large for a mean, one is missing


async def test_several_fields_make_groups_of_their_combinations(worker: Worker) -> None:
    answer = await groups(worker, by=[OPT, WIDTH], order=f"-{WIDTH}")
    found = [(group["by"], group["runs"]) for group in answer["groups"]]
    # Numbers, 64.0 beside 64, then texts.
    assert found[:3] == [(["adamw", 128], 1), (["adamw", 64], 2), (["lion", 64], 1)]
    assert {by[1] for by, _ in found[3:]} == {"'); --", "wide"}


@pytest.mark.parametrize(
    "by", [OPT, [OPT, WIDTH], "state", "tags", "config.sizes", "config.optim", LOSS, "config.huge", "last_step"]
)
async def test_the_filter_of_a_group_finds_its_runs(worker: Worker, by: str | list[str]) -> None:
    answer = await groups(worker, by=by)
    found: list[str] = []
    for group in answer["groups"]:
        status, page = await ask(worker, "/v1/runs", path="team/mnist", filters=group["filters"])
        assert status == 200, page
        assert page["total"] == group["runs"], group
        found += [run["id"] for run in page["runs"]]
    assert sorted(found) == sorted(RUNS)


async def test_groups_are_ordered_by_a_mean_or_by_their_values(worker: Worker) -> None:
    by_mean = await groups(worker, by=OPT, order=f"+{LOSS}")
    assert [group["by"][0] for group in by_mean["groups"]] == ["lion", "adamw", None]
    by_value = await groups(worker, by=OPT, order=f"-{OPT}")
    assert [group["by"][0] for group in by_value["groups"]] == ["lion", "adamw", None]


async def test_a_filter_and_a_limit_hold(worker: Worker) -> None:
    answer = await groups(worker, by=WIDTH, filters=json.dumps({OPT: "adamw"}), order=f"+{WIDTH}", limit=1)
    assert [(group["by"], group["runs"]) for group in answer["groups"]] == [([64], 2)]
    assert (answer["total"], answer["runs"]) == (2, 3)
    assert (await groups(worker, by=WIDTH, filters=json.dumps({OPT: "none"})))["groups"] == []


async def test_mistyped_field_gets_suggestions(worker: Worker) -> None:
    similar = {f"{OPT}x": [OPT]}
    assert (await groups(worker, by=f"{OPT}x"))["unknown"] == similar
    assert (await groups(worker, by="state", mean=f"{OPT}x"))["unknown"] == similar
    assert (await groups(worker, by="state", filters=json.dumps({f"{OPT}x": 1})))["unknown"] == similar
    assert "unknown" not in await groups(worker, by=OPT, mean=WIDTH)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, "by"),
        ({"by": "nonsense"}, "nonsense"),
        ({"by": "config."}, "config."),
        ({"by": "state", "mean": "r.run_id"}, "r.run_id"),
        ({"by": "state", "order": "drop"}, "drop"),
        ({"by": [f"config.k{i}" for i in range(6)]}, "by"),
    ],
)
async def test_what_cannot_be_grouped_is_refused_by_name(worker: Worker, query: dict[str, Any], named: str) -> None:
    status, answer = await ask(worker, "/v1/groups", path="team/mnist", **query)
    assert status == 400
    assert named in answer["error"]["message"]
