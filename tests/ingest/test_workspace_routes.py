"""Data of pages besides charts: projects, metrics of several runs, the description of a run, live news."""

from __future__ import annotations

import asyncpg
import pytest

from fixtures.ingest import Session, eventually, post
from fixtures.live import listen
from fixtures.reads import RUN, ask, frame, run_path, store
from stepwell import wire
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def test_projects_list_newest_runs_first(any_worker: Worker) -> None:
    for project, run in (("old", "a"), ("new/ü", "b"), ("new/ü", "c")):
        await store(any_worker, Session(project=project, run=run))
    status, answer = await ask(any_worker, "/v1/projects")
    assert status == 200
    assert [(item["entity"], item["project"], item["runs"], item["running"]) for item in answer["projects"]] == [
        *(("team", "new/ü", 2, 2), ("team", "old", 1, 1)),
    ]
    assert (await ask(any_worker, "/v1/runs", path="team/new/ü"))[1]["total"] == 2


async def test_empty_server_has_no_projects(worker: Worker) -> None:
    assert await ask(worker, "/v1/projects") == (200, {"projects": []})


async def test_metrics_name_their_runs(any_worker: Worker) -> None:
    for run, keys in (("a", ["x", "y"]), ("b", ["x"]), ("c", ["z"])):
        session = Session(run=run)
        await store(any_worker, session, frame(session, [0], {key: [1] for key in keys}))
    status, answer = await ask(any_worker, "/v1/metrics", path="team/mnist", runs=["a", "b"])
    owners = {item["name"]: sorted(answer["runs"][at] for at in item["runs"]) for item in answer["metrics"]}
    assert (status, owners) == (200, {"x": ["a", "b"], "y": ["a"]})
    answer = (await ask(any_worker, "/v1/metrics", path="team/mnist"))[1]
    assert (answer["runs"], [item["name"] for item in answer["metrics"]]) == (["c", "b", "a"], ["x", "y", "z"])


async def test_hidden_metrics_are_marked(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0], {"x": [1], "debug/a": [1], "debug": [1]}))
    note = wire.Object(1, 0, "define", b'{"glob": "debug/*", "hidden": true}')
    await store(worker, session, wire.encode_notes(session.id, session.seq, [note]))
    answer = (await ask(worker, "/v1/metrics", path="team/mnist", runs="run-1"))[1]
    assert [item["name"] for item in answer["metrics"] if item.get("hidden")] == ["debug/a"]


async def test_metrics_come_with_the_axis_that_was_defined(worker: Worker) -> None:
    session = Session()
    await store(
        worker, session, frame(session, [0], {"epoch": [1], "val/a": [1], "val/b": [1], "val/deep/c": [1], "x": [1]})
    )
    for number, raw in enumerate(
        (
            b'{"glob": "val/*", "step_metric": "epoch"}',
            b'{"glob": "val/deep/*", "step_metric": "x"}',
            b'{"name": "val/b", "step_metric": "x"}',
            b'{"glob": "*", "step_metric": "epoch", "hidden": true}',
        )
    ):
        note = wire.Object(1, number, "define", raw)
        await store(worker, session, wire.encode_notes(session.id, session.seq, [note]))
        session.seq += 1
    answer = (await ask(worker, "/v1/metrics", path="team/mnist", runs="run-1"))[1]
    axes = {item["name"]: item.get("x") for item in answer["metrics"]}
    assert axes == {"epoch": None, "val/a": "epoch", "val/b": "x", "val/deep/c": "x", "x": "epoch"}


async def test_runs_include_requested_summary_values(any_worker: Worker) -> None:
    for run, value in (("a", 0.5), ("b", float("nan"))):
        session = Session(run=run)
        await store(any_worker, session, frame(session, [0], {"loss": [value], "other": [1]}))
    answer = (await ask(any_worker, "/v1/runs", path="team/mnist", summary=["loss", "no such"]))[1]
    assert [(run["id"], run["summary"]) for run in answer["runs"]] == [("a", {"loss": 0.5}), ("b", {"loss": "NaN"})]
    assert "summary" not in (await ask(any_worker, "/v1/runs", path="team/mnist"))[1]["runs"][0]


async def test_run_keeps_its_slot_when_others_are_deleted(worker: Worker, postgres_dsn: str) -> None:
    for run in ("a", "b", "c"):
        await store(worker, Session(run=run))
    await store(worker, Session(project="other", run="first"))
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute("DELETE FROM stepwell.run WHERE name = 'b'")
    await connection.close()
    await store(worker, Session(run="d"))
    answer = (await ask(worker, "/v1/runs", path="team/mnist"))[1]
    assert [(run["id"], run["slot"]) for run in answer["runs"]] == [("a", 0), ("c", 2), ("d", 3)]
    assert (await ask(worker, run_path("first", project="other")))[1]["slot"] == 0


async def test_writers_report_their_position(any_worker: Worker) -> None:
    for writer, last in (("0", 9), ("1", 4)):
        session = Session(writer=writer)
        await store(any_worker, session, frame(session, range(last + 1), {"x": range(last + 1)}))
    answer = (await ask(any_worker, f"{RUN}/writers"))[1]
    assert [(item["name"], item["state"], item["last_step"], item["points"]) for item in answer["writers"]] == [
        *(("0", "running", 9, 10), ("1", "running", 4, 5)),
    ]


async def test_rejections_give_the_reason(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [5], {"x": [1]}))
    status, _, _ = await post(worker, "/v1/frames", frame(session, [5], {"x": [2]}))
    assert status == 422
    (item,) = (await ask(worker, f"{RUN}/rejections"))[1]["rejections"]
    assert (item["writer"], item["code"], item["points"], item["first_step"]) == ("0", "step_order", 1, 5)
    assert item["message"]


@pytest.mark.parametrize("name", ["writers", "rejections", "alerts", "files", "metadata", "console"])
async def test_missing_run_is_404(worker: Worker, name: str) -> None:
    status, answer = await ask(worker, f"{run_path('nowhere')}/{name}")
    assert (status, answer["error"]["code"]) == (404, "not_found")


async def test_console_is_paged_from_the_end(any_worker: Worker) -> None:
    session = Session()
    await store(any_worker, session)
    for number in range(0, 10, 2):
        raw = f'{{"stream": "stdout", "number": {number}, "lines": ["{number}", "<b>"], "times": [1.5, 2.5]}}'
        note = wire.Object(0, number, "console", raw.encode())
        await store(any_worker, session, wire.encode_notes(session.id, session.seq, [note]))
        session.seq += 1
    answer = (await ask(any_worker, f"{RUN}/console", limit=2))[1]
    assert [part["number"] for part in answer["parts"]] == [6, 8]
    assert answer["parts"][0] == {
        "writer": "0",
        "epoch": 1,
        "stream": "stdout",
        "number": 6,
        "lines": ["6", "<b>"],
        "times": [1.5, 2.5],
    }
    found = [8, 6]
    while answer["earlier"] is not None:
        answer = (await ask(any_worker, f"{RUN}/console", limit=2, cursor=answer["earlier"]))[1]
        found += [part["number"] for part in reversed(answer["parts"])]
    assert found == [8, 6, 4, 2, 0]
    status, answer = await ask(any_worker, f"{RUN}/console", cursor="nonsense")
    assert (status, "cursor" in answer["error"]["message"]) == (400, True)


async def test_one_connection_carries_news_of_several_runs(worker: Worker) -> None:
    sessions = {run: Session(run=run) for run in ("a", "b")}
    for session in sessions.values():
        await store(worker, session)
    query = [("path", "team/mnist"), *(("runs", run) for run in ("a", "b", "gone"))]
    async with listen(worker.url, "/v1", more=query) as events:
        first = [await events.next() for _ in range(3)]
        assert sorted((kind, data["run"]) for kind, _, data in first) == [
            *(("error", "gone"), ("start", "a"), ("start", "b")),
        ]
        await store(worker, sessions["b"], frame(sessions["b"], [3], {"x": [1]}))
        kind, _, data = await events.next()
        assert (kind, data["run"], data["moved"]) == ("delta", "b", [{"writer": "0", "from_step": 3, "to_step": 3}])
        assert "rows" not in data


async def test_disconnected_live_reader_leaves_no_listener(worker: Worker) -> None:
    await store(worker, Session())
    async with listen(worker.url, "/v1", more=[("path", "team/mnist"), ("runs", "run-1")]) as events:
        await events.next()
        assert worker.services.live.listeners == 1
    await eventually(lambda: worker.services.live.listeners == 0)
