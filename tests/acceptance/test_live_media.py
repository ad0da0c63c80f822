"""A live view of a run that logs pictures: each is reported once, as soon as its file is stored, across reconnects."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import stepwell
from fixtures.live import listen
from fixtures.server import Backend, StartRun

pytestmark = pytest.mark.db

RUN = "/v1/runs/default/uncategorized/run-1"
STEPS = 30


async def watch(url: str, told: list[tuple[int, str]], began: threading.Event) -> None:
    """Reads each event with a new connection until everything has arrived."""
    cursor: str | None = None
    async with asyncio.timeout(60):
        while len(told) < 2 * STEPS:
            async with listen(url, RUN, ["x", "img"], cursor) as events:
                _, cursor, data = await events.next()
                began.set()
                told += [(row["_step"], key) for row in data.get("rows", []) for key in ("x", "img") if key in row]


def test_pictures_and_points_are_sent_once(file_server: Backend, start_run: StartRun) -> None:
    told: list[tuple[int, str]] = []
    began = threading.Event()
    with start_run(file_server.url) as run, ThreadPoolExecutor(1) as pool:
        run.log({"y": 0})
        run.flush(30)
        reader = pool.submit(asyncio.run, watch(file_server.url, told, began))
        assert began.wait(30)
        pixels: Any = np.random.default_rng(0)
        for step in range(1, STEPS + 1):
            run.log({"x": step, "img": stepwell.Image(pixels.integers(0, 255, (64, 64, 3), np.uint8))})
        run.finish()
        reader.result(90)
    assert sorted(told) == [(step, key) for step in range(1, STEPS + 1) for key in ("img", "x")]
