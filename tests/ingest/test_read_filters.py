"""Filters (as in MongoDB) and orders of run lists: matches and refusals; no text of a filter becomes SQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.ingest import start_worker
from fixtures.postgres import run_apart
from fixtures.reads import ask, fill
from stepwell.errors import UsageError
from stepwell_ingest.config import SealSettings
from stepwell_ingest.read.filters import FIELDS, compile_filter, parse_order
from stepwell_ingest.seal.summaries import Summaries
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

RUNS: dict[str, dict[str, Any]] = {
    "a": {"config": {"lr": 0.1, "model": {"depth": 2}, "opt": "adam", "a.b": 1}, "tags": ["x", "y"], "group": "g"},
    "b": {"config": {"lr": 0.01, "model": {"depth": 3}, "opt": "sgd", "flag": True}, "tags": ["y"], "job_type": "eval"},
    "c": {"config": {"lr": "auto", "none": None, "sizes": [1, 2]}, "notes": "the third"},
    "d": {"config": {}, "display_name": "Ünïcode %_'\""},
}
LAST = {"a": 0.5, "b": 0.25, "c": float("nan")}


@pytest.fixture(scope="module")
def project(any_shared_dsn: str) -> str:
    """Runs a, b, c and d; the summaries of a and c are stored, those of b and d are computed when they are read."""

    async def store_summaries() -> None:
        async with asyncpg.create_pool(any_shared_dsn, min_size=1) as connections:
            found = await connections.fetch("SELECT run_id FROM stepwell.run WHERE name IN ('a', 'c')")
            assert await Summaries(connections, SealSettings()).store([row["run_id"] for row in found]) == 2

    fill(
        any_shared_dsn,
        {
            name: (
                {"display_name": f"run {name}", "host": "h1", **info},
                {0: 9.0, 5: LAST[name]} if name in LAST else {},
            )
            for name, info in RUNS.items()
        },
    )
    run_apart(store_summaries())
    return any_shared_dsn


@pytest.fixture
async def worker(project: str) -> AsyncIterator[Worker]:
    async with start_worker(project) as worker:
        yield worker


async def names(worker: Worker, filters: Any = None, **query: Any) -> list[str]:
    if filters is not None:
        query["filters"] = json.dumps(filters)
    status, answer = await ask(worker, "/v1/runs", path="team/mnist", **query)
    assert status == 200, answer
    assert len(answer["runs"]) <= answer["total"]
    return [run["id"] for run in answer["runs"]]


FITTING = [
    ({}, "abcd"),
    ({"state": "running"}, "abcd"),
    ({"state": {"$ne": "running"}}, ""),
    ({"name": "b"}, "b"),
    ({"display_name": "run b"}, "b"),
    ({"displayName": {"$regex": "^run [ab]$"}}, "ab"),
    ({"display_name": "Ünïcode %_'\""}, "d"),
    ({"config.lr": 0.1}, "a"),
    ({"config.lr.value": 0.1}, "a"),
    ({"config.lr": {"$gt": 0.05}}, "a"),
    ({"config.lr": {"$gte": 0.01, "$lt": 0.1}}, "b"),
    ({"config.lr": {"$lt": "b"}}, "c"),
    ({"config.lr": {"$ne": 0.1}}, "bcd"),
    ({"config.lr": {"$in": [0.1, "auto"]}}, "ac"),
    ({"config.lr": {"$in": []}}, ""),
    ({"config.lr": {"$nin": [0.1, "auto"]}}, "bd"),
    ({"config.lr": {"$exists": True}}, "abc"),
    ({"config.lr": {"$exists": False}}, "d"),
    ({"config.none": None}, "abcd"),
    ({"config.none": {"$exists": True}}, "c"),
    ({"config.lr": None}, "d"),
    ({"config.flag": True}, "b"),
    ({"config.flag": 1}, ""),
    ({"config.model.depth": {"$gte": 3}}, "b"),
    ({"config.model": {"depth": 2}}, "a"),
    ({"config.a.b": 1}, "a"),
    ({"config.sizes": 2}, "c"),
    ({"config.sizes": [1, 2]}, "c"),
    ({"config.opt": {"$regex": "d"}}, "ab"),
    ({"config.opt": {"$not": {"$regex": "sg"}}}, "acd"),
    ({"tags": "y"}, "ab"),
    ({"tags": {"$in": ["x", "z"]}}, "a"),
    ({"tags": {"$ne": "x"}}, "bcd"),
    ({"group": "g"}, "a"),
    ({"jobType": "eval"}, "b"),
    ({"job_type": {"$exists": False}}, "acd"),
    ({"notes": {"$regex": "third"}}, "c"),
    ({"host": "h1"}, "abcd"),
    ({"username": None}, "abcd"),
    ({"duration": {"$lt": 3600}}, "abcd"),
    ({"created_at": {"$gt": "2020-01-01"}}, "abcd"),
    ({"createdAt": {"$lt": "2020-01-01T00:00:00Z"}}, ""),
    ({"heartbeat_at": {"$gte": "2020-01-01T00:00:00+02:00"}}, "abcd"),
    ({"summary_metrics.loss": {"$lt": 0.3}}, "b"),
    ({"summary_metrics.loss": "NaN"}, "c"),
    ({"summary_metrics.loss": {"$exists": False}}, "d"),
    ({"last_step": 5}, "abc"),
    ({"$or": [{"name": "a"}, {"config.lr": "auto"}]}, "ac"),
    ({"$and": [{"tags": "y"}, {"name": {"$ne": "a"}}]}, "b"),
    ({"$nor": [{"name": "a"}, {"name": "b"}]}, "cd"),
    ({"$not": {"config.lr": {"$gt": 0}}}, "cd"),
    ({"tags": "y", "config.opt": "adam"}, "a"),
]


async def test_filters_select_matching_runs(worker: Worker) -> None:
    found = [(filters, "".join(await names(worker, filters))) for filters, _ in FITTING]
    assert found == FITTING


async def test_not_is_the_complement(worker: Worker) -> None:
    for filters, expected in FITTING:
        opposite = await names(worker, {"$nor": [filters]})
        assert sorted([*expected, *opposite]) == list("abcd"), filters


ORDERS = {
    "+created_at": "abcd",
    "created_at": "abcd",
    "-created_at": "dcba",
    "-name": "dcba",
    "+summary_metrics.loss": "cbad",  # texts before numbers, as in jsonb; missing values last
    "-summary_metrics.loss": "abcd",
    "+config.model.depth": "abcd",
    "-config.model.depth.value": "badc",
    "+heartbeat_at": "abcd",
    "+finished_at": "abcd",  # no run has it
}


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
async def test_orders_are_paged(worker: Worker, limit: int) -> None:
    found = dict.fromkeys(ORDERS, "")
    for order in ORDERS:
        cursor: dict[str, str] = {}
        while True:
            _, answer = await ask(worker, "/v1/runs", path="team/mnist", order=order, limit=limit, **cursor)
            assert answer["total"] == 4
            found[order] += "".join(run["id"] for run in answer["runs"])
            if answer["next"] is None:
                break
            cursor = {"cursor": answer["next"]}
    assert found == ORDERS


@pytest.mark.parametrize(
    ("filters", "problem"),
    [
        ("{", "filters must be JSON"),
        ("[]", "a filter must be an object"),
        ('{"nope": 1}', "runs have no field 'nope'"),
        ('{"config": 1}', "runs have no field 'config'"),
        ('{"run_id; DROP TABLE x": 1}', "runs have no field"),
        ('{"$where": "1"}', r"a filter cannot begin with '\$where'"),
        ('{"state": {"$like": "x"}}', r"the operator '\$like' is not known"),
        ('{"state": {"$regex": 1}}', r"\$regex takes a string"),
        ('{"duration": {"$regex": "1"}}', r"\$regex cannot be applied to duration"),
        ('{"state": 1}', "state must be compared with a string"),
        ('{"duration": "long"}', "duration must be compared with a number"),
        ('{"created_at": {"$gt": "yesterday"}}', "created_at must be compared with a time"),
        ('{"config.lr": {"$gt": [1]}}', "must be compared with a number or a string"),
        ('{"name": {"$in": "a"}}', r"\$in takes a list"),
        ('{"$or": {"name": "a"}}', r"\$or takes a list"),
        ('{"$or": []}', r"\$or takes a list"),
        ('{"name": {"$not": "a"}}', r"\$not takes an object"),
        (json.dumps({"$and": [{"name": {"$in": ["x"] * 1001}}]}), "1000 values at most"),
        ('{"$not": ' * 30 + "{}" + "}" * 30, "20 levels deep"),
        ('{"name": {"$not": ' + '{"$not": ' * 30 + '{"$eq": "a"}' + "}" * 31 + "}", "20 levels deep"),
    ],
    ids=lambda value: value[:30],
)
def test_invalid_filter_is_named(filters: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        compile_filter(filters)


def test_invalid_order_is_named() -> None:
    for order in ("+nope", "config", "-config.", "name; DROP TABLE stepwell.run", ""):
        with pytest.raises(UsageError, match="runs cannot be ordered by"):
            parse_order(order)


async def test_hostile_value_is_a_value(worker: Worker) -> None:
    for value in ("(", "x\x00y", "'; DROP TABLE stepwell.run; --", "$1", "\\", "😀", "{}", "%s", "NULL"):
        for field in ("name", "config.lr", "tags", "summary_metrics.loss", f"config.{value}"):
            for operator in ("$eq", "$regex", "$gt", "$in"):
                filters = json.dumps({field: {operator: [value] if operator == "$in" else value}})
                status, answer = await ask(worker, "/v1/runs", path="team/mnist", filters=filters)
                # Postgres refuses NUL and invalid patterns; everything else is compared.
                assert status == 200 or (status, answer["error"]["code"]) == (400, "usage"), filters
    assert await names(worker) == list("abcd")


HOSTILE = st.text(st.characters(codec="utf-8"), max_size=20)


@settings(deadline=None, max_examples=300)
@given(
    st.recursive(
        st.dictionaries(
            st.one_of(HOSTILE, st.sampled_from([*FIELDS, "config.x", "summary_metrics.'x"])),
            st.one_of(
                HOSTILE, st.integers(), st.none(), st.dictionaries(st.sampled_from(["$eq", "$in", "$regex"]), HOSTILE)
            ),
            max_size=3,
        ),
        lambda inner: st.dictionaries(
            st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner, min_size=1, max_size=2)
        ),
        max_leaves=5,
    )
)
def test_filter_text_never_enters_the_sql(filters: dict[str, Any]) -> None:
    """The SQL consists of a fixed set of pieces, whatever the filter contains."""
    try:
        condition = compile_filter(filters)
    except UsageError:
        return
    known = " ".join(compile_pieces())
    assert all(part is None or part in known for part in condition.parts)
    assert sum(part is None for part in condition.parts) == len(condition.arguments)


def compile_pieces() -> list[str]:
    """All pieces of the SQL for filters with harmless values."""
    found: list[str] = []
    for name in [*FIELDS, "config.x", "summary_metrics.x"]:
        for value in ("x", 1, "2020-01-01", None):
            for query in (
                {name: value},
                {name: {"$in": [value, value]}},
                {name: {"$regex": "x"}},
                {name: {"$in": []}},
                {"$or": [{name: value}, {}]},
                {"$nor": [{name: value}, {"$and": [{name: value}, {}]}]},
                {name: value, "name": "x"},
            ):
                try:
                    found += [part for part in compile_filter(query).parts if part is not None]
                except UsageError:
                    continue
    return found


async def test_empty_page_has_the_total(worker: Worker) -> None:
    _, page = await ask(worker, "/v1/runs", path="team/mnist", order="+created_at", limit=2)
    narrower = {"order": "+created_at", "cursor": page["next"], "filters": '{"name": {"$in": ["a", "b"]}}'}
    _, answer = await ask(worker, "/v1/runs", path="team/mnist", **narrower)
    assert (answer["runs"], answer["next"], answer["total"]) == ([], None, 2)


async def test_cursors_of_other_lists_are_refused(worker: Worker) -> None:
    _, first = await ask(worker, "/v1/runs", path="team/mnist", order="+name", limit=1)
    for order, cursor in (
        ("-name", first["next"]),
        ("+name", "nonsense"),
        ("+name", "e30="),
        ("+name", "WzEsMiwzXQ=="),
    ):
        status, answer = await ask(worker, "/v1/runs", path="team/mnist", order=order, cursor=cursor)
        assert (status, answer["error"]["message"]) == (400, "this cursor belongs to another list")


async def test_missing_project_suggests_others(worker: Worker) -> None:
    status, answer = await ask(worker, "/v1/runs", path="team/nope")
    assert (status, answer["error"]["hint"]) == (404, "projects of 'team' include mnist")
    assert await names(worker, {"name": "nobody"}) == []
    status, answer = await ask(worker, "/v1/runs", path="team/nope", filters='{"config.lr": 1}')
    assert (status, answer["error"]["hint"]) == (404, "projects of 'team' include mnist")


@pytest.mark.parametrize(
    ("field", "similar"),
    [
        ("config.lrr", ["config.lr"]),
        ("config.lrr.value", ["config.lr"]),
        ("config.model.dept", ["config.model.depth"]),
        ("summary_metrics.los", ["summary_metrics.loss"]),
        ("config.zzzzzz", []),
        ("config.lr", None),
        ("config.model.depth", None),
        ("config.a.b", None),
        ("summary_metrics.loss", None),
    ],
)
async def test_mistyped_field_gets_suggestions(worker: Worker, field: str, similar: list[str] | None) -> None:
    expected = {"unknown": {field: similar}} if similar is not None else {}
    for query in ({"filters": json.dumps({"$and": [{"state": "running"}, {field: -1}]})}, {"order": f"-{field}"}):
        status, answer = await ask(worker, "/v1/runs", path="team/mnist", **query)
        assert status == 200
        assert {key: answer[key] for key in answer if key == "unknown"} == expected


async def test_run_has_links_and_metadata(worker: Worker) -> None:
    _, run = await ask(worker, "/v1/runs/team/mnist/a")
    assert (run["tags"], run["group"], run["config"]["lr"], run["metadata"]) == (["x", "y"], "g", 0.1, {"host": "h1"})
    for link in ("metrics", "summary", "objects", "history"):
        assert (await ask(worker, run["links"][link]))[0] == 200


async def test_run_without_a_writer_is_readable(worker: Worker, project: str) -> None:
    connection = await asyncpg.connect(project)
    await connection.execute(
        "WITH made AS (INSERT INTO stepwell.run (run_id, entity, project, name, state, slot) "
        "SELECT stepwell.new_run_id_v1(), 'team', 'bare', 'bare', 'finished', 0 RETURNING run_id) "
        "INSERT INTO stepwell.lineage (run_id, source_run_id) SELECT run_id, run_id FROM made"
    )
    await connection.close()
    status, answer = await ask(worker, "/v1/runs", path="team/bare")
    assert (status, [(run["id"], run["config"], run["metadata"]) for run in answer["runs"]]) == (
        200,
        [("bare", {}, {})],
    )
    status, run = await ask(worker, "/v1/runs/team/bare/bare")
    assert (status, run["display_name"], run["config"]) == (200, "bare", {})
