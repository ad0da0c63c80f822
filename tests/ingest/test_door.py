"""The server's own writer sessions: rows are stored without frames, by the same rules."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator

import numpy as np
import pytest

from fixtures.ingest import Session, WritePath, stored_steps
from stepwell import wire
from stepwell.errors import FencedError, StepOrderError
from stepwell.wire import Block, Object
from stepwell_ingest.write.admission import Room
from stepwell_ingest.write.attachment import AttachRequest
from stepwell_ingest.write.door import Door

pytestmark = pytest.mark.db


def request(run: str = "run-1", writer: str = "0") -> AttachRequest:
    return AttachRequest("team", "mnist", run, writer, secrets.token_bytes(16), False, {})


def rows(first: int, count: int, *keys: str) -> Block:
    """Rows with steps from `first` on, whose values are their steps."""
    steps = np.arange(first, first + count)
    return Block(wire.pack_names(keys), steps, steps * 1000, np.tile(steps.astype(float), (len(keys), 1)))


@pytest.fixture
async def room() -> Room:
    return Room(1 << 20, 1.0)


@pytest.fixture
async def door(write_path: WritePath, room: Room) -> AsyncIterator[Door]:
    copier = write_path.start()
    yield Door(write_path.catalog, write_path.intake, room)
    copier.cancel()
    await asyncio.gather(copier, return_exceptions=True)


async def test_rows_are_stored_when_write_returns(door: Door, room: Room, write_path: WritePath) -> None:
    session = await door.open(request())
    outcome = await session.write([rows(0, 3, "loss", "acc")], [Object(1, 1000, "note", b'"hello"')])
    assert (outcome.next_seq, outcome.stored, outcome.rejected) == (1, 1, [])
    await session.write([rows(3, 2, "loss")])
    await session.note([Object(4, 5000, "config", b'{"set": {"lr": 0.1}}')])
    assert await stored_steps(write_path.pool) == list(range(5))
    run = await write_path.pool.fetchrow("SELECT points, objects, config FROM stepwell.runs")
    assert (run["points"], run["objects"], json.loads(run["config"])) == (8, 1, {"lr": 0.1})
    assert room.held_bytes == 0
    await session.finish(0)
    assert await write_path.pool.fetchval("SELECT state FROM stepwell.runs") == "finished"


async def test_invalid_rows_are_refused_and_recorded(door: Door, write_path: WritePath) -> None:
    session = await door.open(request())
    await session.write([rows(10, 1, "loss")])
    refused = (await session.write([rows(5, 1, "loss")])).rejected
    assert [(seq, type(error)) for seq, error in refused] == [(1, StepOrderError)]
    assert (await session.write([rows(11, 1, "loss")])).stored == 1
    assert await stored_steps(write_path.pool) == [10, 11]
    assert await write_path.pool.fetchval("SELECT code FROM stepwell.rejections") == "step_order"


async def test_newer_session_fences_the_door(door: Door, room: Room, write_path: WritePath) -> None:
    session = await door.open(request())
    await session.write([rows(0, 1, "loss")])
    newer = Session(writer="0")
    await write_path.attach(newer)
    with pytest.raises(FencedError):
        for _ in range(2):  # the first session learns of it at COMMIT
            await session.write([rows(1, 1, "loss")])
    assert room.held_bytes == 0


async def test_door_continues_from_another_workers_position(door: Door, write_path: WritePath) -> None:
    session = await door.open(request())
    await session.write([rows(0, 1, "loss")])
    session.cursor.stale = True
    assert (await session.write([rows(1, 1, "loss")])).next_seq == 2
    assert await stored_steps(write_path.pool) == [0, 1]
