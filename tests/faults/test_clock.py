"""Clock jumps of the training process and of the server: order and de-duplication do not depend on clocks.

A client's clock is faked where the stage reads it. The server's clock cannot be changed here; instead, the tests show
that its wall clock decides nothing: with equal times in the tables, the order is that of seqs and steps.
"""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from fixtures.frames import block
from stepwell import wire
from stepwell.stage import call as _call
from stepwell.stage import stage as _stage
from stepwell.stage.framer import frames
from stepwell.stage.stage import Stage
from stepwell_ingest.config import Config
from stepwell_ingest.server.worker import Worker

SESSION = bytes(range(16))
NOON = 1_700_000_000.0
YEAR_S = 365 * 86_400
#: The times of a clock that jumps: back by an hour (a wrong time zone), to 1970 (no battery), far ahead; and that
#: stops.
JUMPS = [0.0, 1.0, -3600.0, -3599.0, -NOON, -NOON + 1, 50 * YEAR_S, 50 * YEAR_S, 0.0, 0.0]


@pytest.fixture
async def worker(postgres_dsn: str) -> AsyncIterator[Worker]:
    made = Worker(Config(postgres_dsn, port=0))
    await made.start()
    yield made
    await made.drain()
    await made.stop()


async def attach(url: str, session: bytes = SESSION, writer: str = "0") -> dict[str, Any]:
    names = {"entity": "default", "project": "clock", "run": "r", "writer": writer}
    message = {"type": "attach", "protocol": 1, **names, "session": session.hex(), "info": {}}
    async with aiohttp.ClientSession(url) as http, http.post("/v1/attach", data=orjson.dumps(message)) as answer:
        return dict(orjson.loads(await answer.read()))


async def post(url: str, body: bytes) -> dict[str, Any]:
    """The acknowledgement of one session's frames."""
    async with aiohttp.ClientSession(url) as http, http.post("/v1/frames", data=body) as answer:
        reply = orjson.loads(await answer.read())
    assert answer.status == 200, reply
    (ack,) = reply["writers"]
    return dict(ack)


def set_clock(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float]) -> None:
    """Replaces the clock with which `log()` timestamps rows, on the fast and on the slow path."""
    for module in (_stage, _call):
        monkeypatch.setattr(module, "time", clock)


def logged(times: Iterable[float], monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A step for each of these times, each in a separate frame, as the SDK makes them."""
    stage, made = Stage(1 << 20, lambda: True), []
    for number, now in enumerate(times):
        set_clock(monkeypatch, lambda now=now: now)
        stage.log({"loss": float(number)})
        cut = stage.cut()
        assert cut is not None
        made += frames(cut, SESSION, number, 1 << 20)
    return made


async def test_frames_with_decreasing_times_are_ordered_by_step(
    worker: Worker, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [NOON + jump for jump in JUMPS]
    await attach(worker.url)
    for seq, frame in enumerate(logged(times, monkeypatch)):
        ack = await post(worker.url, frame)
        assert (ack["next_seq"], ack["stored"], ack["rejected"]) == (seq + 1, 1, [])
    rows = await pg.fetch(
        "SELECT step, value, extract(epoch FROM time)::float8 AS time FROM stepwell.history ORDER BY step"
    )
    assert [tuple(row) for row in rows] == [(step, float(step), at) for step, at in enumerate(times)]


async def test_jumping_times_in_a_frame_are_kept(
    worker: Worker, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, clock = Stage(1 << 20, lambda: True), itertools.cycle(NOON + jump for jump in JUMPS)
    set_clock(monkeypatch, lambda: next(clock))
    for number in range(len(JUMPS)):
        stage.log({"loss": float(number)})
    cut = stage.cut()
    assert cut is not None
    (frame,) = frames(cut, SESSION, 0, 1 << 20)
    await attach(worker.url)
    assert (await post(worker.url, frame))["stored"] == 1
    steps = await pg.fetchval("SELECT array_agg(value ORDER BY step) FROM stepwell.history")
    assert steps == [float(number) for number in range(len(JUMPS))]
    assert await pg.fetchval("SELECT count(DISTINCT time) FROM stepwell.history") == len(set(JUMPS))


async def test_time_out_of_range_is_refused_alone(
    worker: Worker, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A time before 1970 or after 9999 is recorded as a rejection, not silently changed."""
    before, after, now = logged([-1.0, 8000 * YEAR_S + NOON, NOON], monkeypatch)
    await attach(worker.url)
    for frame in (before, after):
        async with aiohttp.ClientSession(worker.url) as http, http.post("/v1/frames", data=frame) as answer:
            assert (answer.status, orjson.loads(await answer.read())["error"]["code"]) == (422, "time_range")
    assert (await post(worker.url, now))["stored"] == 1
    assert await pg.fetchval("SELECT array_agg(code) FROM stepwell.rejections") == ["time_range"] * 2
    assert await pg.fetchval("SELECT array_agg(step) FROM stepwell.history") == [2]


async def test_retry_is_a_duplicate_despite_clock_jumps(
    worker: Worker, pg: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = logged([NOON, NOON - YEAR_S], monkeypatch)
    await attach(worker.url)
    await post(worker.url, first + second)
    set_clock(monkeypatch, lambda: NOON + YEAR_S)
    ack = await post(worker.url, first + second)
    assert (ack["stored"], ack["duplicate"], ack["next_seq"]) == (0, 2, 2)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.history") == 2


async def test_frames_with_equal_times_are_distinct(worker: Worker, pg: asyncpg.Connection) -> None:
    """Frames with equal times and values differ in seq and step."""
    await attach(worker.url)
    body = b"".join(wire.encode(SESSION, seq, [block(["loss"], [seq], [10**15], [[0.5]])]) for seq in range(50))
    ack = await post(worker.url, body)
    assert (ack["stored"], ack["duplicate"]) == (50, 0)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.history") == 50


async def test_server_clock_jumps_change_neither_order_nor_fencing(worker: Worker, pg: asyncpg.Connection) -> None:
    """Times written by the server's clock are changed between the frames; later results are the same."""
    rng, old, new = random.Random(1), secrets.token_bytes(16), secrets.token_bytes(16)
    first = await attach(worker.url, old)
    for seq in range(10):
        await _turn_clock(pg, rng)
        frame = wire.encode(old, seq, [block(["loss"], [seq], [10**15], [[0.5]])])
        assert (await post(worker.url, frame))["next_seq"] == seq + 1
        assert (await post(worker.url, frame))["duplicate"] == 1
    await _turn_clock(pg, rng)
    second = await attach(worker.url, new)
    assert (first["epoch"], second["epoch"], second["last_step"]) == (1, 2, -1)
    await _turn_clock(pg, rng)
    async with aiohttp.ClientSession(worker.url) as http:
        zombie = wire.encode(old, 10, [block(["loss"], [10], [10**15], [[0.5]])])
        async with http.post("/v1/frames", data=zombie) as answer:
            assert (answer.status, orjson.loads(await answer.read())["error"]["code"]) == (409, "fenced")
    assert await pg.fetchval("SELECT array_agg(step ORDER BY step) FROM stepwell.history") == list(range(10))


async def _turn_clock(pg: asyncpg.Connection, rng: random.Random) -> None:
    days = rng.choice((-4000, -1, 0, 1, 4000))
    await pg.execute(
        f"UPDATE stepwell.ledger SET moved_at = moved_at + make_interval(days => {days});"
        f"UPDATE stepwell.writer SET attached_at = attached_at + make_interval(days => {days});"
        f"UPDATE stepwell.run SET created_at = created_at + make_interval(days => {days});"
    )


def test_stopped_clock_does_not_stop_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [wire.decode(frame) for frame in logged([NOON] * 5, monkeypatch)]
    assert [frame.blocks[0].steps.tolist() for frame in made] == [[0], [1], [2], [3], [4]]
    assert {int(frame.blocks[0].times[0]) for frame in made} == {int(NOON * 1e6)}


def test_server_decisions_ignore_the_wall_clock() -> None:
    """The one place in the write path that reads a clock measures durations."""
    package = Path(__file__).parents[2] / "ingest" / "stepwell_ingest"
    found = {
        path.relative_to(package).as_posix()
        for path in [*(package / "write").rglob("*.py"), *(package / "api").rglob("*.py")]
        if any(word in path.read_text() for word in ("time.time(", "datetime", "utcnow"))
    }
    assert found == set()
