"""The attach message over a real connection: a config of any size, and rejections whose acknowledgement was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from fixtures.ingest import Client, Session, make_frame, post
from fixtures.server import QUICK, Backend, StartRun
from fixtures.spools import IDENTITY
from stepwell import wire
from stepwell.commands.sync import Delivery
from stepwell.delivery.outbox import Outbox
from stepwell.delivery.stream import Stream
from stepwell.runs.run import Run
from stepwell.settings import Limits, resolve
from stepwell.spool import Spool
from stepwell.transport.endpoint import Endpoint
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

LARGE = {f"layer-{number}": "x" * 1000 for number in range(300)}


def test_large_config_is_stored(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config=LARGE) as run:
        run.log({"a": 1})
    assert backend.query("SELECT config, state FROM stepwell.runs") == [(LARGE, "finished")]
    assert len(backend.points("run-1")) == 1
    with start_run(backend.url, resume="must") as again:
        assert again.config.as_dict() == LARGE


def test_growing_config_is_stored(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, config={"lr": 1}) as run:
        run.log({"a": 1})
        assert run.flush()
        run.config.update(LARGE)
        run.log({"a": 2})
        assert run.flush()
        run.config.seed = 7
        run.log({"a": 3})
    assert backend.query("SELECT config FROM stepwell.runs") == [({"lr": 1, **LARGE, "seed": 7},)]
    assert [value for *_, value in backend.points("run-1")] == [1, 2, 3]
    assert run.stats is not None
    assert run.stats.connections == 1


@pytest.mark.parametrize("how", [{"resume": "must"}, {"resume_from": "run-1?_step=3"}])
def test_large_config_start_is_refused_normally(backend: Backend, start_run: StartRun, how: dict[str, str]) -> None:
    with pytest.raises(Exception, match="does not exist"):
        start_run(backend.url, config=LARGE, **how)
    assert backend.query("SELECT count(*) FROM stepwell.runs") == [(0,)]


def test_rewind_and_fork_with_a_large_config(backend: Backend, start_run: StartRun) -> None:
    with start_run(backend.url, run_id="parent") as run:
        for step in range(10):
            run.log({"a": 1}, step=step)
    with start_run(backend.url, run_id="fork", fork_from="parent?_step=5", config=LARGE) as run:
        assert (run.step, run.resumed) == (6, False)
    with start_run(backend.url, run_id="parent", resume_from="parent?_step=5", config=LARGE) as run:
        assert (run.step, run.resumed) == (6, True)
        run.log({"a": 2})
    assert [step for _, _, step, _ in backend.points("parent")] == list(range(7))
    assert [step for _, _, step, _ in backend.points("fork")] == list(range(6))


def test_process_age_ignores_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve({}, dir=tmp_path, project="p", run_id="r", mode="offline", silent="1")
    run = Run(settings, {})
    run.open()
    monkeypatch.setattr(time, "time", lambda: 0.0)  # set back to 1970
    first, second = (run._session._attach_message()["age_s"] for _ in range(2))
    assert 0 <= first <= second < 600
    run.finish()


def test_delivery_reports_the_spool_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool.create(tmp_path, IDENTITY)
    delivery = Delivery(spool, resolve({}, dir=tmp_path, silent="1"), patience_s=1)
    for now, age_s in ((IDENTITY.started_at + 5, 5.0), (IDENTITY.started_at - 5, 0.0)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert delivery._attach_message()["age_s"] == age_s
    monkeypatch.undo()
    spool.close()


@pytest.mark.parametrize("status", [502, 200])
async def test_post_answered_by_a_proxy_is_retried(status: int, caplog: pytest.LogCaptureFixture) -> None:
    asked = 0

    async def page(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status, text="<html>Bad gateway</html>")

    def attach() -> dict[str, object]:
        return {"type": "attach", "session": bytes(16).hex(), "info": {"config": LARGE}}

    async with serve_post(page) as url:
        stream = Stream(Endpoint.of(url), Outbox(None, bytes(16), 1 << 20), attach, Limits(), QUICK, lambda *_: None)
        task = asyncio.create_task(stream.run())
        async with asyncio.timeout(30):
            while asked < 3:  # noqa: ASYNC110 - another task serves the page
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert (stream.failed, caplog.messages) == (None, [])
    assert "does not come from a Stepwell server" in str(stream.last_error)


class serve_post:
    """A server whose WebSocket opens, and whose POST /v1/attach is `page`."""

    def __init__(self, page: Callable[[web.Request], Awaitable[web.Response]]) -> None:
        self._page = page

    async def __aenter__(self) -> str:
        async def stream(request: web.Request) -> web.WebSocketResponse:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.receive()
            return socket

        app = web.Application(client_max_size=1 << 24)
        app.router.add_get("/v1/stream", stream)
        app.router.add_post("/v1/attach", self._page)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_attach_reply_lists_unknown_rejections(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as one:
        await one.attach(session)
        frames = [
            make_frame(session.id, 0, [5]),
            make_frame(session.id, 1, [5]),  # decreasing steps
            make_frame(session.id, 2, [6]),
            wire.encode_tombstone(session.id, 3, dropped=7),
        ]
        await one.exchange(*frames)
    async with Client(worker) as two:
        for first, expected in [(0, [1, 3]), (1, [1, 3]), (2, [3]), (4, []), (9, [])]:
            reply = await two.attach(session, from_seq=first)
            assert ([item["seq"] for item in reply["rejected"]], reply["next_seq"]) == (expected, 4)
        reply = await two.attach(session, from_seq=0)
        assert [(item["code"], item["retryable"]) for item in reply["rejected"]] == [
            ("step_order", False),
            ("dropped", False),
        ]
        assert (await two.attach(session))["rejected"] == []
    status, reply, _ = await post(worker, "/v1/attach", session.attach(from_seq=2))
    assert (status, [item["seq"] for item in reply["rejected"]]) == (200, [3])
