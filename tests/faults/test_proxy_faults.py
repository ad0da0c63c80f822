"""Network faults between SDK and worker: acknowledged frames are stored exactly once in all cases.

Each test ends with the judge. Numbers in brackets are those of the list of faults in docs/guarantees.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import orjson
import pytest

from faults.proxy import Action, Link, Rule, Shape
from faults.service import Service, service
from faults.web_wire import answer, message
from stepwell_ingest.db.cluster import Cluster

pytestmark = pytest.mark.db

_HTML = answer("200 OK", b"<!doctype html><title>Welcome to the hotel network</title>")


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        yield made


async def test_frame_with_lost_acknowledgement_is_stored_once(stepwell: Service) -> None:  # [14]
    lost = Rule("< ack", Action.CUT, count=5)
    stepwell.web.rules.append(lost)
    logger = stepwell.logger()
    while lost.fired < 5:
        logger.log(50)
        assert await logger.flush()
    assert (await stepwell.verdict()).clean


async def test_post_with_lost_answer_is_stored_once(stepwell: Service) -> None:  # [14]
    logger = stepwell.logger()
    logger.log(50)
    await logger.flush()
    frames: list[bytes] = []
    stepwell.web.rules.append(Rule("> frames", Action.CUT, count=None))
    logger.log(50)
    while not frames:
        await logger.flush(0.05)
        frames = logger.run._session.sender._outbox.read(logger.run._session.sender._outbox.first_seq, 1 << 20, 8)  # type: ignore[union-attr]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{stepwell.web.port}") as client:
        stepwell.web.rules.insert(0, Rule("< answer", Action.CUT))
        with pytest.raises(aiohttp.ClientError):
            await client.post("/v1/frames", data=b"".join(frames))
        async with client.post("/v1/frames", data=b"".join(frames)) as reply:
            (said,) = (await reply.json())["writers"]
    assert (said["stored"], said["duplicate"]) == (0, len(frames))
    stepwell.web.rules.clear()
    assert await logger.flush()
    assert (await stepwell.verdict()).clean


@pytest.mark.parametrize("end", [Action.CUT, Action.RESET])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_connection_may_end_after_any_byte(stepwell: Service, direction: str, end: Action) -> None:  # [15]
    await _survives_ends(stepwell, direction, end, [*range(0, 1200, 90), *range(1200, 5000, 700)])


@pytest.mark.parametrize("end", [Action.HANG, Action.HALF_OPEN])
@pytest.mark.parametrize("direction", ["up", "down"])
async def test_connection_may_stall_after_any_byte(stepwell: Service, direction: str, end: Action) -> None:
    await _survives_ends(stepwell, direction, end, [0, 400, 1000, 2500])  # [15]


async def _survives_ends(stepwell: Service, direction: str, end: Action, ends: list[int]) -> None:
    def shape(number: int) -> Shape:
        return Shape(end_after=ends[number], end=end) if number < len(ends) else Shape()

    setattr(stepwell.web, direction, shape)
    logger = stepwell.logger()
    while stepwell.web.links <= len(ends):
        logger.log(100)
        assert await logger.flush()
        stepwell.web.end_all(Action.CUT)  # a new connection, which ends after the next byte
    assert (await stepwell.verdict()).clean


@pytest.mark.parametrize(
    "shape",
    [Shape(slice_bytes=1), Shape(slice_bytes=7), Shape(latency_s=0.002, jitter_s=0.01), Shape(bytes_per_s=100_000)],
    ids=["byte by byte", "slices", "jitter", "narrow"],
)
@pytest.mark.slow
async def test_slow_network_changes_nothing(stepwell: Service, shape: Shape) -> None:  # [15]
    stepwell.web.up = stepwell.web.down = stepwell.postgres.up = stepwell.postgres.down = shape
    stepwell.postgres.end_all(Action.CUT)
    loggers = [stepwell.logger(name) for name in "01"]
    for _ in range(3):
        for logger in loggers:
            logger.log(100)  # as much as a busy machine copies byte by byte within the timeout of a statement
        for logger in loggers:
            assert await logger.flush()
    assert (await stepwell.verdict()).clean


async def test_answer_200_from_a_portal_is_not_success(stepwell: Service) -> None:  # [18]
    stepwell.web.rules.append(Rule("> request", _says(_HTML), count=None))
    logger = stepwell.logger()
    logger.log(50)
    assert not await logger.flush(0.5)
    assert logger.run.account.stored == 0
    stepwell.web.rules.clear()
    assert await logger.flush()
    assert (await stepwell.verdict()).clean


@pytest.mark.parametrize(
    "invented",
    [
        {"type": "ack", "next_seq": 1, "stored": 1, "duplicate": 0, "rejected": [], "checksum": 0},
        {"type": "ack", "next_seq": 10**6, "stored": 1, "duplicate": 0, "rejected": [], "checksum": 0},
        {"type": "ack", "next_seq": 1, "stored": 1},
        {"type": "ack"},
        {"type": "finished"},
        {"status": "ok"},
    ],
    ids=["wrong checksum", "far ahead", "no checksum", "empty", "finished", "another protocol"],
)
async def test_acknowledgement_without_checksum_is_ignored(  # [18]
    stepwell: Service, invented: dict[str, object]
) -> None:
    stepwell.web.rules.append(Rule("> frames", _says(message(orjson.dumps(invented))), count=None))
    logger = stepwell.logger()
    logger.log(50)
    assert not await logger.flush(0.5)
    assert logger.run.account.stored == 0
    stepwell.web.rules.clear()
    assert await logger.flush()
    assert (await stepwell.verdict()).clean


def _says(data: bytes) -> Callable[[Link], bytes]:
    def action(link: Link) -> bytes:
        link.reply(data)
        return b""

    return action
