"""A note, config or object that is stored in an unexpected form affects only itself.

Rows are inserted directly into the tables, as by an older version or by somebody's SQL. All ways to read are compared
before and after, on PostgreSQL 15 and 18.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg
import orjson
import pytest
from yarl import URL

from fixtures.ingest import Session, start_worker
from fixtures.live import listen, note, picture
from fixtures.reads import ask_batches, frame, rows_of, run_path, store
from stepwell_ingest.delete.plan import plan_project, plan_runs
from stepwell_ingest.server.worker import Worker
from stepwell_schema import queries

pytestmark = pytest.mark.db

KINDS = (
    "config",
    "meta",
    "summary",
    "define",
    "object",
    "system",
    "console",
    "metadata",
    "file",
    "alert",
    "unheard-of",
)
#: More levels than orjson writes (254), more than it reads (1,024), and about as many as Postgres accepts.
DEPTHS = (300, 1_100, 4_000)
DIGITS = "1" + "0" * 400


def deep(levels: int) -> str:
    return "[" * levels + "1" + "]" * levels


NO_OBJECTS = ["5", '"text"', "null", "true", "[]", '[{"set": {"x": 1}}]', deep(300), DIGITS]
WRONG = {
    "config": ['{"set": 5}', '{"set": [1]}', '{"unset": {"lr": 1}}', '{"set": null, "unset": "lr"}'],
    "meta": ['{"tags": {"a": 1}}', '{"tags": [1, null, ["x"]]}', '{"job_type": {"a": [1]}}'],
    "summary": ['{"set": 5}', '{"unset": [null, 5, {"a": 1}]}'],
    "define": ['{"name": 5, "summary": {"a": 1}}', '{"glob": null}', '{"name": ["x"], "summary": ["min", 5, null]}'],
    "system": ['{"metrics": 5}', '{"metrics": {"cpu": [1]}, "time": "now"}', f'{{"metrics": {{"cpu": {DIGITS}}}}}'],
    "console": ['{"lines": 5, "number": "x", "times": {}}', '{"lines": [1, null], "number": -1, "times": ["a"]}'],
    "metadata": ['{"host": [1]}'],
    "file": ['{"name": 5, "sha256": 5}', '{"name": "a", "sha256": "%s"}' % ("A" * 64), '{"name": null}'],
    "alert": ['{"title": 5, "level": [1], "wait_duration_s": "long"}'],
    "object": [
        *('{"key": "x", "time": 1, "value": 1}', '{"key": "x", "step": 1, "time": 1}', '{"step": 1, "value": 1}'),
        *('{"key": ["x"], "step": 1, "time": 1, "value": 1}', '{"key": null, "step": 1, "time": 1, "value": 1}'),
        *(
            f'{{"key": "x", "step": {step}, "time": 1, "value": 1}}'
            for step in ('"1"', "1.5", "-1", "9223372036854775807", DIGITS)
        ),
        *(
            f'{{"key": "x", "step": 20, "time": {time}, "value": 1}}'
            for time in ('"now"', "-1", "1e30", DIGITS, "null")
        ),
    ],
}
DEEP = {
    "config": '{"set": {"odd": %s}}',
    "meta": '{"notes": %s}',
    "summary": '{"set": {"odd": %s}}',
    "system": '{"metrics": {"odd": %s}}',
    "console": '{"lines": [%s], "times": %s}',
    "metadata": '{"odd": %s}',
    "alert": '{"title": %s}',
    "define": '{"name": %s, "summary": ["min"]}',
    "object": '{"key": "odd", "step": 1, "time": 1, "value": {"_type": "histogram", "x": %s}}',
}

#: Every view of the SQL contract.
VIEWS = (
    *("runs", "history", "history_objects", "history_superseded", "metrics", "summary", "definitions", "console"),
    *("system", "metadata", "files", "alerts", "rejections"),
)
RUN = run_path("run-1", project="odd")
PATHS = [
    *(RUN + name for name in ("", "/metrics", "/summary", "/objects", "/objects?key=text", "/objects?key=odd")),
    *(
        RUN + name
        for name in ("/system", "/system?samples=10", "/history", "/history?samples=500", "/series?keys=loss")
    ),
    *(RUN + f"/{name}" for name in ("writers", "rejections", "alerts", "files", "metadata", "console")),
    *("/v1/runs?path=team/odd&summary=loss&summary=odd", "/v1/runs?path=team/odd&order=-config.odd"),
    "/v1/runs?path=team/odd&order=summary_metrics.odd&filters=" + quote('{"config.odd": {"$exists": true}}'),
    *("/v1/projects", "/v1/metrics?path=team/odd", "/v1/status?sizes"),
]
#: Fields of a run that a note may change, and counts of stored rows.
SAID_ANEW = {
    "meta": {"display_name", "notes", "tags", "group", "job_type", "objects", "heartbeat_at"},
    "metadata": {"host", "objects", "heartbeat_at"},
    # at a separate step, with a key that is new to the run
    "object": {"objects", "heartbeat_at", "_step", "_timestamp", "_runtime", "last_object"},
}


def hostile(kind: str) -> list[str]:
    """The values of notes of a kind, as JSON."""
    found = [*NO_OBJECTS, *WRONG.get(kind, [])]
    if kind in DEEP:
        found += [DEEP[kind].replace("%s", inside) for inside in (DIGITS, *map(deep, DEPTHS))]
    return found


@pytest.fixture
async def worker(any_shared_dsn: str) -> AsyncIterator[Worker]:
    async with start_worker(any_shared_dsn) as worker:
        yield worker


@pytest.fixture
async def pg(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_shared_dsn)
    yield connection
    await connection.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_bad_note_affects_only_itself(worker: Worker, pg: asyncpg.Connection, kind: str) -> None:
    run_id = await _runs(worker, pg)
    before = await _everything(worker, pg)
    values = hostile(kind)
    await pg.executemany(
        "INSERT INTO stepwell.note (run_id, writer_id, epoch, seq, ord, step, time, kind, value) "
        "VALUES ($1, 1, 1, 100, $2, 1, to_timestamp(1700000000), $3, $4::text::jsonb)",
        [(run_id, number, kind, value) for number, value in enumerate(values)],
    )
    after = await _everything(worker, pg)
    assert _missing(before, after, SAID_ANEW.get(kind, {"objects", "heartbeat_at"})) == []
    if kind in ("config", "summary", "metadata"):
        assert "nested more than 100 levels deep" in str(after)
    async with listen(worker.url, RUN, ["loss", "odd"]) as events:
        assert (await events.next())[0] == "start"
    await pg.execute("DELETE FROM stepwell.note WHERE run_id = $1 AND seq = 100", run_id)


@pytest.mark.parametrize(
    "value", ["5", "null", "[]", deep(1_100), f'{{"odd": {deep(300)}}}', f'{{"started_at": {DIGITS}}}']
)
async def test_bad_config_info_or_object_affects_only_itself(
    worker: Worker, pg: asyncpg.Connection, value: str
) -> None:
    run_id = await _runs(worker, pg)
    before = await _everything(worker, pg)
    kept = [await pg.fetchval(f"SELECT {column}::text FROM stepwell.{where}", run_id) for where, column in PLACES]
    for where, column in PLACES:
        await pg.execute(_change(where, column), run_id, value)
    after = await _everything(worker, pg)
    own = {"config", "metadata", "host", "objects", "heartbeat_at", "username", "started_at", "_runtime", "other"}
    assert _missing(before, after, own) == []
    for (where, column), text in zip(PLACES, kept, strict=True):
        await pg.execute(_change(where, column), run_id, text)


PLACES = (
    ("run WHERE run_id = $1", "config"),
    ("writer WHERE run_id = $1", "info"),
    ("hot_object WHERE run_id = $1 AND key = 'other' AND step = 3", "value"),
)


def _change(where: str, column: str) -> str:
    table, _, condition = where.partition(" WHERE ")
    return f"UPDATE stepwell.{table} SET {column} = $2::text::jsonb WHERE {condition}"


async def _runs(worker: Worker, pg: asyncpg.Connection) -> int:
    """Makes two runs of a project, with some of everything; returns the run_id of the first."""
    found = await pg.fetchval("SELECT run_id FROM stepwell.run WHERE project = 'odd' AND name = 'run-1'")
    if found is not None:
        return int(found)
    for name in ("run-1", "run-2"):
        session = Session(project="odd", run=name)
        steps = list(range(1, 9))
        objects = [
            (step, key, f"{word} {step}") for step in steps for key, word in (("other", "beside"), ("text", "word"))
        ]
        info = {"host": "node-1", "started_at": 1.6e9, "config": {"lr": 0.1, "net": {"depth": 3}}}
        await store(
            worker,
            session,
            frame(
                session,
                steps,
                {"loss": [1.0 / step for step in steps], "acc": [float(step) for step in steps]},
                objects=sorted(objects),
            ),
            note(
                session,
                ("config", {"set": {"batch": 32}}),
                ("summary", {"set": {"best": 0.5}}),
                ("meta", {"name": name.title()}),
            ),
            note(session, ("system", {"time": 1.7e9, "metrics": {"cpu": 0.5}}), ("metadata", {"argv": ["train.py"]})),
            note(session, ("console", {"stream": "stdout", "number": 1, "lines": ["hello"], "times": [1.7e9]})),
            note(
                session,
                ("alert", {"title": "look", "text": "here", "level": "INFO"}),
                ("define", {"name": "acc", "summary": ["max"]}),
            ),
            picture(session, (3, "histogram", {"_type": "histogram", "values": [1, 2]})),
            info=info,
        )
    return int(await pg.fetchval("SELECT run_id FROM stepwell.run WHERE project = 'odd' AND name = 'run-1'"))


async def _everything(worker: Worker, pg: asyncpg.Connection) -> dict[str, Any]:
    """The results of all reads of the project, which must succeed and be valid JSON."""
    found: dict[str, Any] = {}
    async with aiohttp.ClientSession(headers={"Accept": "application/json"}) as http:
        for path in PATHS:
            async with http.get(URL(worker.url + path, encoded=True)) as reply:
                raw = await reply.read()
                assert reply.status == 200, (path, raw[:500])
                found[path] = orjson.loads(raw)
                assert "error" not in found[path], (path, raw[-500:])
        for view in VIEWS:
            query = f"SELECT * FROM {view} WHERE project = 'odd' ORDER BY 1, 2, 3"
            async with http.post(f"{worker.url}/v1/sql", json={"query": query}) as reply:
                raw = await reply.read()
                assert reply.status == 200, (view, raw[:500])
                assert b'"truncated":false' in raw, (view, raw[-500:])
        charts = {"charts": [{"key": "loss", "runs": ["run-1", "run-2"]}]}
        async with http.post(f"{worker.url}/v1/charts?path=team/odd", json=charts) as reply:
            assert reply.status == 200
            found["charts"] = orjson.loads(await reply.read())
    rows = rows_of(await ask_batches(worker, f"{RUN}/history"))  # the data that `stepwell.Api` and exports read
    found["rows"] = [{**row, "_writer": row["_writer"]} for row in rows]
    for name in ("run-1", "Run-1") if await _is_called(pg, "Run-1") else ("run-1",):
        found["plan"] = [item.path for item in (await plan_runs(pg, [f"odd/{name}"])).targets]
    found["plan of all"] = [item.path for item in (await plan_project(pg, "team/odd")).targets]
    found["about"] = bool(
        await pg.fetchrow(
            queries("write")["about"],
            await pg.fetchval("SELECT run_id FROM stepwell.run WHERE project = 'odd' AND name = 'run-1'"),
            1,
        )
    )
    return found


async def _is_called(pg: asyncpg.Connection, name: str) -> bool:
    return bool(await pg.fetchval("SELECT true FROM stepwell.runs WHERE project = 'odd' AND display_name = $1", name))


def _missing(before: Any, after: Any, own: Collection[str], path: str = "") -> list[str]:
    """The places at which `after` lacks something that `before` has; fields named in `own` may change."""
    match before:
        case dict():
            return [
                lack
                for key, value in before.items()
                if key not in own
                and key not in ("elapsed_ms", "next", "storage", "size_bytes", "total", "sampled", "rows_sent")
                and key != "unknown"  # names that no run had before
                for lack in (
                    _missing(value, after[key], own, f"{path}.{key}")
                    if isinstance(after, dict) and key in after
                    else [f"{path}.{key}"]
                )
            ]
        case list():
            if not isinstance(after, list):
                return [path]
            return [f"{path}[{item!r}]"[:300] for item in before if all(_missing(item, other, own) for other in after)]
        case _:
            return [] if before == after else [f"{path}: {before!r} != {after!r}"[:300]]
