"""Admission: bytes are admitted first come, first served, and every byte is released, even after a cancellation."""

from __future__ import annotations

import asyncio
import random

import pytest

from stepwell.errors import OverloadedError
from stepwell_ingest.write.admission import Room


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def takes(room: Room, *sizes: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(room.reserve(size)) for size in sizes]


async def test_request_that_fits_is_admitted_at_once() -> None:
    room = Room(100, 1.0)
    await room.reserve(60)
    room.reserve_now(40)
    assert room.held_bytes == 100
    room.give_back(60)
    room.give_back(40)
    assert room.held_bytes == 0


async def test_refusal_reports_fill_and_retry_time() -> None:
    room = Room(100, 2.5)
    await room.reserve(60)
    with pytest.raises(OverloadedError, match=r"the server has no room .*41 bytes; 60 of 100 are held") as caught:
        room.reserve_now(41)
    assert caught.value.retry_after_s == 2.5
    assert caught.value.hint == "retry after a pause; the spool keeps the frames"
    assert caught.value.retryable
    assert room.held_bytes == 60


async def test_request_larger_than_the_limit_is_admitted_alone() -> None:
    room = Room(100, 1.0)
    await room.reserve(1000)
    with pytest.raises(OverloadedError):
        room.reserve_now(1)
    [waiting] = takes(room, 1000)
    await settle()
    assert not waiting.done()
    room.give_back(1000)
    await waiting
    assert room.held_bytes == 1000


async def test_waiting_requests_are_admitted_in_order() -> None:
    room = Room(100, 1.0)
    await room.reserve(90)
    large, small = takes(room, 50, 5)
    await settle()
    assert not small.done()
    with pytest.raises(OverloadedError):
        room.reserve_now(5)  # no overtaking either
    room.give_back(90)
    await asyncio.gather(large, small)
    assert room.held_bytes == 55


async def test_cancelled_request_lets_others_in() -> None:
    room = Room(100, 1.0)
    await room.reserve(90)
    large, small = takes(room, 50, 5)
    await settle()
    large.cancel()
    await asyncio.gather(large, return_exceptions=True)
    await asyncio.wait_for(small, 5)
    assert room.held_bytes == 95
    room.reserve_now(5)


async def test_cancelled_admitted_request_releases_its_bytes() -> None:
    room = Room(100, 1.0)
    await room.reserve(100)
    first, second = takes(room, 80, 80)
    await settle()
    room.give_back(100)  # `first` was admitted, but has not run yet
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await asyncio.wait_for(second, 5)
    assert room.held_bytes == 80


@pytest.mark.parametrize("seed", range(5))
async def test_room_is_never_lost_or_exceeded(seed: int) -> None:
    rng = random.Random(seed)
    room = Room(1000, 1.0)

    async def one(size: int) -> None:
        await room.reserve(size)
        try:
            assert 0 < room.held_bytes <= max(1000, size)
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            room.give_back(size)
            assert room.held_bytes >= 0

    tasks = [asyncio.create_task(one(rng.choice([1, 10, 300, 900, 1500]))) for _ in range(300)]
    while not all(task.done() for task in tasks):
        rng.choice(tasks).cancel()
        await asyncio.sleep(0)
    assert room.held_bytes == 0
    room.reserve_now(1000)
