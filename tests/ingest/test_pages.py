"""The pages for operators (health, readiness, metrics, status), and clear errors of a failed start."""

from __future__ import annotations

import json
import re
import socket

import asyncpg
import pytest

from fixtures.ingest import Client, Session, get, make_frame, post, start_worker
from fixtures.postgres import Clusters
from stepwell.errors import SettingError, UnavailableError
from stepwell_ingest.config import Config, Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def test_worker_is_alive_and_ready(worker: Worker) -> None:
    for path, text in (("/healthz", "alive"), ("/readyz", "ready")):
        status, body, _ = await get(worker, path)
        assert (status, json.loads(body)) == (200, {"status": text})


async def test_without_postgres_worker_is_not_ready(clusters: Clusters) -> None:
    session = Session()
    with clusters.database("18-embedded") as dsn:
        async with start_worker(dsn, timeouts=Timeouts(connect_s=2)) as worker, Client(worker) as client:
            await client.attach(session)
            admin = await asyncpg.connect(clusters.get("18-embedded").dsn("postgres"))
            name = dsn.partition("?")[0].rpartition("/")[2]
            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)

            assert (await get(worker, "/healthz"))[0] == 200
            status, body, headers = await get(worker, "/readyz")
            error = json.loads(body)["error"]
            assert (status, headers["Retry-After"], error["code"]) == (503, "1", "unavailable")
            assert error["message"] == "Postgres could not answer"
            status, reply, headers = await post(worker, "/v1/frames", session.frame())
            assert (status, headers["Retry-After"], reply["error"]["code"]) == (503, "1", "unavailable")
            status, reply, _ = await post(worker, "/v1/attach", Session().attach())
            assert (status, reply["error"]["message"]) == (503, "Postgres could not attach")
            session.seq = session.step = 0
            reply = await client.exchange(session.frame())
            assert (reply["type"], reply["code"], reply["retryable"]) == ("error", "unavailable", True)

            await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            await admin.close()
            assert (await get(worker, "/readyz"))[0] == 200
            status, reply, _ = await post(worker, "/v1/frames", make_frame(session.id, 0, [0]))
            assert (status, reply["writers"][0]["stored"]) == (200, 1)


async def test_wait_for_a_connection_times_out(postgres_dsn: str) -> None:
    session = Session()
    async with start_worker(postgres_dsn, timeouts=Timeouts(connect_s=0.5)) as worker, Client(worker) as client:
        await client.attach(session)
        pools = worker.services.catalog._pool, worker.services.catalog._attaching
        busy = [(pool, await pool.acquire()) for pool in pools for _ in range(pool.get_max_size())]
        status, reply, _ = await post(worker, "/v1/attach", Session().attach())
        assert (status, reply["error"]["message"]) == (503, "Postgres could not attach")
        status, reply, _ = await post(worker, "/v1/frames", make_frame(bytes(16), 0, [0]))
        assert (status, reply["error"]["message"]) == (503, "Postgres could not look up a writer")
        reply = await client.finish()
        assert (reply["code"], reply["message"]) == ("unavailable", "Postgres could not record the end of a writer")
        for pool, connection in busy:
            await pool.release(connection)
        status, reply, _ = await post(worker, "/v1/attach", Session().attach())
        assert status == 200


async def test_metrics_count_events(worker: Worker) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        frames = [session.frame(10, ["loss", "acc"]), session.frame(1, objects=[(10, "note", "x")])]
        refused = make_frame(session.id, 2, [0])
        await client.exchange(*frames, refused)
        await post(worker, "/v1/frames", b"garbage")
        status, text, headers = await get(worker, "/metrics")
        assert status == 200
        assert headers["Content-Type"] == "text/plain; charset=utf-8"
        values = dict(re.findall(r"^(stepwell_\S+) (\S+)$", text, re.MULTILINE))
        expected = {
            'stepwell_frames_total{outcome="stored"}': 2,
            'stepwell_frames_total{outcome="rejected"}': 1,
            "stepwell_points_stored_total": 21,
            "stepwell_objects_stored_total": 1,
            "stepwell_frame_bytes_stored_total": sum(map(len, [*frames, refused])),
            "stepwell_batches_failed_total": 0,
            "stepwell_batch_seconds_count": 1,
            'stepwell_requests_refused_total{code="frame_corrupt"}': 1,
            "stepwell_streams": 1,
            "stepwell_held_bytes": 0,
            "stepwell_submissions_waiting": 0,
        }
        assert {key: float(values[key]) for key in expected} == expected


async def test_status_reports_fill(worker: Worker) -> None:
    async with Client(worker) as client:
        await client.attach(Session())
        worker.services.room.reserve_now(100)
        status, body, _ = await get(worker, "/v1/status")
        worker.services.room.give_back(100)
        about = json.loads(body)
        assert (status, about.pop("started_at")) == (200, worker.services.started_at)
        expected = {"draining": False, "streams": 1, "held_bytes": 100, "submissions_waiting": 0}
        assert {key: about[key] for key in expected} == expected
        assert about["held_bytes_limit"] == worker.config.limits.memory_bytes


async def test_unknown_page_and_wrong_method_are_errors(worker: Worker) -> None:
    assert (await get(worker, "/v1/nothing"))[0] == 404
    assert (await get(worker, "/v1/frames"))[0] == 405
    assert (await get(worker, "/v1/stream"))[0] == 400


async def test_port_in_use_is_reported_first(postgres_dsn: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingError, match=rf"cannot listen on 127\.0\.0\.1 port {port} \(Address already in use\)"
        ):
            await Worker(Config(postgres_dsn, port=port)).start()


async def test_start_without_postgres_is_reported(postgres_dsn: str) -> None:
    dead = Worker(Config("postgresql://nobody@127.0.0.1:1/nothing", port=0))
    with pytest.raises(
        UnavailableError,
        match=r"Postgres could not be reached \(.*\n.*tries succeed again as soon as Postgres is reachable",
    ):
        await dead.start()
    alive = Worker(Config(postgres_dsn, port=dead._port))
    await alive.start()
    assert (await get(alive, "/readyz"))[0] == 200
    await alive.stop()
