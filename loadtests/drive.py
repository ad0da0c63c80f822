"""Open-loop load: each writer sends its frames at fixed times, however slow the server is.

Runs in a process of its own. A writer patches steps and seq into one prebuilt frame. Latency counts from the time at
which a frame was due, not from when it was sent, so a slow server cannot hide behind late sends; the delay of the
driver itself is reported separately. A writer whose connection breaks attaches again, and sends what was not
acknowledged.

    python loadtests/drive.py URL steady [--writers 1.0] [--seconds 1.0]     shares of those of the scenario

Prints a line when all are attached, one when the last frame was due, and a JSON line with the results.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import secrets
import struct
import time
import zlib
from collections import deque
from itertools import count
from typing import Any
from urllib.parse import SplitResult, urlsplit

import numpy as np
import uvloop

from link import BINARY, TEXT, Link
from scenario import PLACE, Scenario, read_scenario
from stepwell import wire

_ATTACH_AT_ONCE = 200
#: A writer that is refused tries again after this time, as the SDK would.
_RETRY_S = 0.5
#: How long the driver waits for acknowledgements and ends after the load.
_PATIENCE_S = 120.0


class Template:
    """One frame whose session, seq and steps are filled in each time it is sent."""

    def __init__(self, steps: int, metrics: int) -> None:
        names = wire.pack_names([f"train/metric_{index}" for index in range(metrics)])
        numbers = np.arange(steps)
        values = np.random.default_rng(0).standard_normal((metrics, steps))
        self._frame = bytearray(wire.encode(bytes(16), 0, [wire.Block(names, numbers, numbers, values)]))
        self._steps_at = wire.HEADER_BYTES + 16 + len(names)
        self._count = steps
        self.points = steps * metrics

    def frame(self, session: bytes, seq: int) -> bytes:
        frame, count, at = self._frame, self._count, self._steps_at
        now_us = int(time.time() * 1e6)
        struct.pack_into(f"<{count}q", frame, at, *range(seq * count, (seq + 1) * count))
        struct.pack_into(f"<{count}q", frame, at + 8 * count, *range(now_us, now_us + count))
        struct.pack_into("<I", frame, 12, zlib.crc32(memoryview(frame)[wire.HEADER_BYTES :]))
        struct.pack_into("<16sQ", frame, 16, session, seq)
        struct.pack_into("<I", frame, 60, zlib.crc32(memoryview(frame)[:60]))
        return bytes(frame)


class Results:
    """The measurements of all writers, in seconds."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.back: list[float] = []
        self.writers = 0
        self.bytes = 0
        self.errors: dict[str, int] = {}

    def fail(self, reason: str) -> None:
        self.errors[reason[:200]] = self.errors.get(reason[:200], 0) + 1


class Writer:
    """One writer of a run, over one connection after the other."""

    def __init__(self, where: SplitResult, template: Template, run: str, name: str, results: Results) -> None:
        self._where = where
        self._template = template
        self._run, self._name = run, name
        self._results = results
        self._session = secrets.token_bytes(16)
        self._seq = 0
        self._waiting: deque[tuple[int, float, bytes]] = deque()  # not acknowledged: seq, when it was due, bytes
        self._link: Link | None = None
        self._gone_at: float | None = None
        self._stays = True
        self._connecting: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # attached, or the connection was lost
        self.attached = asyncio.Event()
        self.empty = asyncio.Event()
        self.empty.set()
        self.finished = asyncio.Event()
        results.writers += 1

    async def connect(self) -> None:
        """Attaches, and tries again until it succeeds."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
        await self._connecting

    async def _connect(self) -> None:
        while not self.attached.is_set():
            self._settled.clear()
            try:
                host, port = self._where.hostname or "", self._where.port or 80
                await asyncio.get_running_loop().create_connection(self._new_link, host, port)
            except OSError as error:
                self._results.fail(str(error))
            else:
                await self._settled.wait()
            if not self.attached.is_set():
                await asyncio.sleep(_RETRY_S)

    def _new_link(self) -> Link:
        self._link = Link(self._where.netloc, self)
        return self._link

    def opened(self) -> None:
        message = {
            "type": "attach",
            "protocol": wire.PROTOCOL_VERSION,
            "entity": "default",
            "project": "load",
            "run": self._run,
            "writer": self._name,
            "session": self._session.hex(),
            "info": {},
        }
        assert self._link is not None
        self._link.send(TEXT, json.dumps(message).encode())

    def heard(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "ack":
            self._acknowledged(message["next_seq"])
        elif kind == "attached":
            assert self._link is not None
            self._acknowledged(message["next_seq"])
            for _, _, frame in self._waiting:
                self._send_frame(frame)
            if self._gone_at is not None:
                self._results.back.append(time.perf_counter() - self._gone_at)
                self._gone_at = None
            self.attached.set()
            self._settled.set()
        elif kind == "finished":
            self.finished.set()
        elif kind == "error":
            self._results.fail(f"{message.get('code')}: {message.get('message')}")

    def lost(self, reason: str) -> None:
        self._link = None
        was_attached = self.attached.is_set()
        self.attached.clear()
        self._settled.set()
        if not self._stays or self.finished.is_set():
            return
        self._results.fail(reason)
        if was_attached:
            self._gone_at = time.perf_counter()
            self._connecting = asyncio.create_task(self._connect())

    def _send_frame(self, frame: bytes) -> None:
        assert self._link is not None
        for at in range(0, len(frame), wire.MAX_MESSAGE_BYTES):
            self._link.send(BINARY, frame[at : at + wire.MAX_MESSAGE_BYTES])

    def _acknowledged(self, next_seq: int) -> None:
        now = time.perf_counter()
        while self._waiting and self._waiting[0][0] < next_seq:
            self._results.latencies.append(now - self._waiting.popleft()[1])
        if not self._waiting:
            self.empty.set()

    async def send(self, scenario: Scenario, begin: float, first_at: float, until: float) -> None:
        """Sends frames from `first_at` on; times are those of perf_counter, and rates count from `begin`."""
        due = first_at
        while due < until:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self._results.late.append(time.perf_counter() - due)
            frame = self._template.frame(self._session, self._seq)
            self._results.bytes += len(frame)
            self._waiting.append((self._seq, due, frame))
            self.empty.clear()
            if self.attached.is_set():
                self._send_frame(frame)
            self._seq += 1
            due += scenario.every_s / scenario.rate(due - begin)

    async def leave_and_return(self, at: float, away_s: float) -> None:
        """Breaks the connection at a time of perf_counter, and attaches again after `away_s`."""
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        self._stays, self._gone_at = False, time.perf_counter()
        if self._link is not None:
            self._link.cut()
        await asyncio.sleep(away_s)
        self._stays, self._gone_at = True, time.perf_counter()
        await self.connect()

    async def finish(self) -> None:
        """Waits until all frames are acknowledged, and ends the writer."""
        await self.empty.wait()
        await self.attached.wait()
        assert self._link is not None
        self._link.send(TEXT, b'{"type":"finish","exit_code":0}')
        await self.finished.wait()
        self._stays = False
        if self._link is not None:
            self._link.cut()


class Driver:
    """All writers of a scenario."""

    def __init__(self, url: str, scenario: Scenario) -> None:
        self._where = urlsplit(url)
        self._scenario = scenario
        self._template = Template(scenario.steps, scenario.metrics)
        self._prefix = f"{scenario.name}-{secrets.token_hex(3)}"
        self._numbers = count()
        self._gate = asyncio.Semaphore(_ATTACH_AT_ONCE)
        self.results = Results()

    async def run(self) -> dict[str, Any]:
        """Runs the load; returns the results."""
        scenario, results = self._scenario, self.results
        began = time.perf_counter()
        async with asyncio.timeout(_PATIENCE_S):
            writers = await asyncio.gather(*(self._new() for _ in range(scenario.writers)))
        attach_s = time.perf_counter() - began
        print("attached", flush=True)
        begin, cpu = time.perf_counter() + 0.5, time.process_time()
        places = [
            asyncio.create_task(self._place(writer, begin, index / len(writers)))
            for index, writer in enumerate(writers)
        ]
        await asyncio.sleep(begin + scenario.seconds - time.perf_counter())
        driver_s = time.process_time() - cpu
        print("sent", flush=True)
        ending = time.perf_counter()
        _, missing = await asyncio.wait(places, timeout=_PATIENCE_S)
        if missing:
            results.errors[f"not finished after {_PATIENCE_S:.0f} s"] = len(missing)
        return {
            "writers": results.writers,
            "frames": len(results.late),
            "acknowledged": len(results.latencies),
            "points": len(results.latencies) * self._template.points,
            "frame_bytes": results.bytes,
            "attach_s": round(attach_s, 2),
            "finish_s": round(time.perf_counter() - ending, 2),
            "ack_ms": percentiles(results.latencies),
            "back_ms": percentiles(results.back),
            "driver_late_ms": percentiles(results.late),
            "driver_cores": round(driver_s / scenario.seconds, 2),
            "errors": results.errors,
            "prefix": self._prefix,
        }

    async def _new(self) -> Writer:
        run, rank = divmod(next(self._numbers), self._scenario.ranks)
        writer = Writer(self._where, self._template, f"{self._prefix}-{run}", str(rank), self.results)
        async with self._gate:
            await writer.connect()
        return writer

    async def _place(self, writer: Writer, begin: float, share: float) -> None:
        """Sends until the end: with one writer, or with one after the other. `share`: 0 to 1, spreads the writers."""
        scenario = self._scenario
        end = begin + scenario.seconds
        first_at = begin + share * scenario.every_s
        life_s = scenario.life_s or scenario.seconds
        until = begin + (share or 1.0) * life_s if scenario.life_s else end  # first lives differ in length
        while True:
            leaving = None
            if scenario.cut_s is not None:
                away_s = scenario.away_s + random.random() * scenario.spread_s
                leaving = asyncio.create_task(writer.leave_and_return(begin + scenario.cut_s, away_s))
            await writer.send(scenario, begin, first_at, min(until, end))
            if leaving is not None:
                await leaving
            await writer.finish()
            if until >= end:
                return
            writer = await self._new()
            first_at, until = until, until + life_s


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the maximum in ms."""
    if not values:
        return {}
    p50, p99, p999 = np.percentile(values, [50, 99, 99.9]) * 1e3
    return {"p50": round(p50, 1), "p99": round(p99, 1), "p999": round(p999, 1), "max": round(max(values) * 1e3, 1)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("scenario")
    parser.add_argument("--writers", type=float, default=1.0, help="a share of those of the scenario")
    parser.add_argument("--seconds", type=float, default=1.0, help="a share of those of the scenario")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    scenario = read_scenario(PLACE / f"{options.scenario}.toml").scaled(options.writers, options.seconds)
    print(json.dumps(await Driver(options.url, scenario).run()))


if __name__ == "__main__":
    uvloop.run(main())
