"""A background loop that ends unexpectedly ends its process: with a traceback in the log, not ready, and replaced."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import dataclasses
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from fixtures.ingest import PATIENCE_S, Session, eventually, get, post, stored_steps
from fixtures.live import listen
from fixtures.server import free_port
from stepwell.errors import UnavailableError
from stepwell_ingest.blobs import collector, intake
from stepwell_ingest.config import Config, Limits, Timeouts
from stepwell_ingest.config_json import encode
from stepwell_ingest.read import live
from stepwell_ingest.server import housekeeping, lifecycle, worker
from stepwell_ingest.server.children import Children
from stepwell_ingest.server.loops import Loops
from stepwell_ingest.server.serving import Stop, serve
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write import batcher, pace, pressure, quota

SERVER = Path(worker.__file__).parents[1]
#: The function that each loop of a worker calls in every round.
CALLS: dict[str, tuple[Any, str]] = {
    "copier 1": (batcher.Batcher, "next_batch"),
    "copier 2": (batcher.Batcher, "next_batch"),
    "pressure": (pressure, "postgres_errors"),
    "pace": (pace.Pace, "look"),
    "heartbeats": (lifecycle.Lifecycle, "beat"),
    "housekeeping": (housekeeping, "postgres_errors"),
    "quota": (quota.Quota, "look"),
    "uploads": (intake.incoming, "sweep"),
    "collector": (collector, "postgres_errors"),
    "live views": (live.Live, "_come"),
}
#: Tasks that end with a request, a connection or the start of the process.
SHORT_LIVED = {
    *("api/stream.py", "api/sql.py", "api/workspace.py", "api/replies.py", "write/grouping.py", "commands/up.py"),
    *("server/serving.py", "server/supervisor.py"),
    "read/live.py",  # reads one event; `Loops` starts the poller
    "access/keyring.py",  # one look-up, whose errors its callers get
    "server/loops.py",
    "server/children.py",  # a keeper, which handles all errors of a start
    "server/child.py",  # the sign of life, whose end the parent notices
}
#: A child whose loop ends in its first life only.
ENDS_ONCE = """
import asyncio, os
from stepwell_ingest.{module} import {owner}

original = {owner}.{method}

async def once(self, *arguments):
    try:
        os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return await original(self, *arguments)
    raise ZeroDivisionError("provoked")

{owner}.{method} = once
"""


def break_loop(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Makes the loop of that name raise an unexpected error."""
    owner, method = CALLS[name]
    original = getattr(owner, method)

    def broken(*arguments: Any, **named: Any) -> Any:
        task = asyncio.current_task()
        if task is not None and task.get_name() == name:
            raise ZeroDivisionError(f"provoked in {name}")
        return original(*arguments, **named)

    monkeypatch.setattr(owner, method, broken)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_EVERY_S", 0.05)
    monkeypatch.setattr(pressure, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(pace, "_EVERY_S", 0.05)
    monkeypatch.setattr(quota, "_EVERY_S", 0.05)
    monkeypatch.setattr(intake, "_SWEEP_EVERY_S", 0.05)
    monkeypatch.setattr(collector, "_LOOK_EVERY_S", 0.05)


@pytest.mark.db
@pytest.mark.parametrize("name", CALLS)
async def test_worker_ends_when_a_loop_ends(
    postgres_dsn: str,
    tmp_path: Path,
    name: str,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = Config(postgres_dsn, port=0, blobs=str(tmp_path), limits=Limits(points_per_run=10**9))
    served = Worker(dataclasses.replace(config, timeouts=Timeouts(beat_s=0.05)))
    answers: list[tuple[int, str]] = []
    drain = served.drain

    async def ask_and_drain(patience_s: float | None = None) -> None:
        status, body, _ = await get(served, "/readyz")
        answers.append((status, json.loads(body)["error"]["message"]))
        await drain(patience_s)

    monkeypatch.setattr(served, "drain", ask_and_drain)
    ready = asyncio.Event()
    serving = asyncio.create_task(serve(served, Stop(), lambda url: ready.set(), lambda: None))
    await ready.wait()
    session = Session()
    await post(served, "/v1/attach", session.attach())
    break_loop(monkeypatch, name)
    watching = asyncio.create_task(_watch(served)) if name == "live views" else None
    with pytest.raises(UnavailableError, match=f"the task '{name}' of this worker has ended unexpectedly"):
        async with asyncio.timeout(PATIENCE_S):
            while not serving.done():
                await _send(served, session)  # a copier returns for the next batch
                await asyncio.sleep(0.02)
            await serving
    if watching is not None:
        await asyncio.gather(watching, return_exceptions=True)
    assert answers == [(503, f"the task '{name}' of this worker has ended unexpectedly")]
    (record,) = [record for record in caplog.records if "has ended unexpectedly" in record.message]
    assert record.levelno == logging.ERROR
    assert f"'{name}'" in record.message
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ZeroDivisionError)


async def _send(served: Worker, session: Session) -> None:
    with contextlib.suppress(aiohttp.ClientError, OSError):  # it has ended
        await post(served, "/v1/frames", session.frame())


async def _watch(served: Worker) -> None:
    async with listen(served.url, "/v1/runs/team/mnist/run-1", ["loss"]) as events:
        while True:
            await events.next()


@pytest.mark.db
async def test_every_worker_loop_is_tested(postgres_dsn: str, tmp_path: Path) -> None:
    served = Worker(Config(postgres_dsn, port=0, blobs=str(tmp_path), limits=Limits(points_per_run=10**9)))
    await served.start()
    names = served.loops.names
    await served.stop()
    assert {*names, "live views"} == set(CALLS)


def test_server_starts_no_other_loops() -> None:
    found = {
        path.relative_to(SERVER).as_posix()
        for path in SERVER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute | ast.Name)
        and (node.attr if isinstance(node, ast.Attribute) else node.id) in ("create_task", "ensure_future")
    }
    assert found == SHORT_LIVED


@pytest.mark.parametrize("how", ["returns", "is cancelled"])
async def test_returned_or_cancelled_loop_has_ended(how: str, caplog: pytest.LogCaptureFixture) -> None:
    async def rest() -> None:
        await asyncio.sleep(0 if how == "returns" else 3600)

    loops, asked = Loops(), asyncio.Event()
    task = loops.start("idler", rest())
    if how != "returns":
        await asyncio.sleep(0)
        task.cancel()
    failure = await loops.watch(asked)
    assert failure is not None
    assert failure.detail == ("it returned" if how == "returns" else "it was cancelled")
    with pytest.raises(UnavailableError, match="'idler'"):
        loops.check()
    assert "the task 'idler' has ended unexpectedly" in caplog.text
    await loops.stop()


async def test_stopped_loops_have_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    loops, asked = Loops(), asyncio.Event()
    loops.start("idler", asyncio.sleep(3600))
    await loops.start("done", asyncio.sleep(0), may_return=True)
    asked.set()
    assert await loops.watch(asked) is None
    await loops.stop()
    loops.check()
    assert caplog.records == []


@pytest.fixture
async def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Children, list[str]]]:
    """The children of this process, and the log messages about them."""
    said: list[str] = []
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    kept = Children(said.append)
    yield kept, said
    await kept.kill()


def _ends_once(place: Path, module: str, owner: str, method: str) -> None:
    names = {"module": module, "owner": owner, "method": method, "mark": str(place / "ended")}
    (place / "sitecustomize.py").write_text(ENDS_ONCE.format(**names))


@pytest.mark.db
async def test_failed_worker_process_is_replaced(
    postgres_dsn: str,
    pg: asyncpg.Connection,
    keep: tuple[Children, list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    _ends_once(tmp_path, "server.lifecycle", "Lifecycle", "beat")
    (children, said), session = keep, Session()
    config = Config(postgres_dsn, port=free_port(), timeouts=Timeouts(beat_s=0.3))
    answer = await children.start("worker", "stepwell_ingest.server.worker_process", encode(config))
    await eventually(lambda: len(said) == 1)
    assert said[0].endswith("ended with exit code 1; starting another one")
    assert "ZeroDivisionError: provoked" in capfd.readouterr().err
    async with aiohttp.ClientSession(answer["url"]) as http:
        await eventually(lambda: _stores(http, session))
    assert await stored_steps(pg) == [0]


async def _stores(http: aiohttp.ClientSession, session: Session) -> bool:
    try:
        await http.post("/v1/attach", json=session.attach())
        reply = await http.post("/v1/frames", data=Session(id=session.id).frame())
    except aiohttp.ClientConnectorError:
        return False
    return reply.status == 200


@pytest.mark.db
async def test_failed_sealer_process_is_replaced(
    postgres_dsn: str, pg: asyncpg.Connection, keep: tuple[Children, list[str]], tmp_path: Path
) -> None:
    _ends_once(tmp_path, "seal.keeper", "Keeper", "look")
    children, said = keep
    await children.start("sealer", "stepwell_ingest.server.sealer_process", encode(Config(postgres_dsn)))
    await eventually(lambda: len(said) == 1)
    assert said[0].endswith("ended with exit code 1; starting another one")

    async def seals() -> bool:
        ours = "datname = current_database() AND application_name = 'stepwell seal'"
        return bool(await pg.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"))

    await eventually(seals)


async def test_failed_process_start_is_retried(
    keep: tuple[Children, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no more processes; the keeper continues."""
    (tmp_path / "stands_ready.py").write_text("import sys; print('{}', flush=True); sys.stdin.read()")
    children, said = keep
    spawn, refused = asyncio.create_subprocess_exec, [BlockingIOError(11, "Resource temporarily unavailable")]

    async def sometimes(*arguments: Any, **options: Any) -> Any:
        if len(started) and refused:
            raise refused.pop()
        started.append(await spawn(*arguments, **options))
        return started[-1]

    started: list[asyncio.subprocess.Process] = []
    monkeypatch.setattr(asyncio, "create_subprocess_exec", sometimes)
    await children.start("worker", "stands_ready", b"{}\n")
    started[0].kill()
    await eventually(lambda: len(started) == 2)
    assert "a new process did not start; trying again in 2 s: a worker process cannot be started" in said[1]
    assert "Resource temporarily unavailable" in said[1]
