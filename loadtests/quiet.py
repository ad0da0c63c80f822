"""Open-loop load of many quiet writers: each sends one frame at fixed times, however slow the server is.

Runs in a process of its own. A writer is a bare WebSocket on uvloop that patches steps and seq into one prebuilt frame,
so that thousands of writers leave the server its cores. Latency counts from the time at which a frame was due, not from
when it was sent, so a slow server cannot hide behind late sends. The delay of the driver itself is reported separately.

    python loadtests/quiet.py URL --writers 1000 --seconds 15 [--every 1.0] [--steps 10] [--metrics 20] [--ranks 8]

Prints a line when all are attached, one when the last frame is sent, and a JSON line with the results.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import resource
import secrets
import struct
import time
import zlib
from collections import deque
from urllib.parse import urlsplit

import numpy as np
import uvloop

from stepwell import wire

_TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_ATTACH_AT_ONCE = 200


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


class Writer(asyncio.Protocol):
    """One connection: attaches, sends frames at its times, and notes when each is acknowledged."""

    def __init__(self, host: str, template: Template, run: str, writer: str, results: Results) -> None:
        self._host = host
        self._template = template
        self._run, self._writer = run, writer
        self._results = results
        self._session = secrets.token_bytes(16)
        self._buffer = bytearray()
        self._upgraded = False
        self._seq = 0
        self._due: deque[tuple[int, float]] = deque()
        self.attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's has no base class
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /v1/stream HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._upgraded:
            head, found, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head.split(b"\r\n", 1)[0]:
                self._fail(head.split(b"\r\n", 1)[0].decode())
                return
            self._upgraded = True
            self._buffer = bytearray(rest)
            message = {
                "type": "attach",
                "protocol": wire.PROTOCOL_VERSION,
                "entity": "default",
                "project": "quiet",
                "run": self._run,
                "writer": self._writer,
                "session": self._session.hex(),
                "info": {},
            }
            self._send(_TEXT, json.dumps(message).encode())
        while len(self._buffer) >= 2:
            kind, length, at = self._buffer[0], self._buffer[1], 2
            if length == 126:
                if len(self._buffer) < 4:
                    return
                length, at = int.from_bytes(self._buffer[2:4]), 4
            if len(self._buffer) < at + length:
                return
            body = bytes(self._buffer[at : at + length])
            del self._buffer[: at + length]
            if kind == _PING:
                self._send(_PONG, body)
            elif kind in (_TEXT, _BINARY):
                self._message(json.loads(body))

    def _message(self, message: dict[str, object]) -> None:
        kind = message["type"]
        if kind == "ack":
            now, next_seq = time.perf_counter(), int(str(message["next_seq"]))
            while self._due and self._due[0][0] < next_seq:
                self._results.latencies.append(now - self._due.popleft()[1])
        elif kind == "attached":
            self.attached.set_result(None)
        elif kind == "finished":
            self.finished.set_result(None)
        else:
            self._fail(json.dumps(message))

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self._fail(f"connection lost: {error}")

    def _fail(self, reason: str) -> None:
        self._results.errors[reason[:200]] = self._results.errors.get(reason[:200], 0) + 1
        for future in (self.attached, self.finished):
            if not future.done():
                future.set_result(None)

    def _send(self, kind: int, body: bytes) -> None:
        size = len(body)
        head = struct.pack("!BB", kind, 0x80 | size) if size < 126 else struct.pack("!BBH", kind, 0xFE, size)
        self._transport.write(head + b"\0\0\0\0" + body)  # a mask of zeros does not change the bytes

    async def send(self, first_at: float, every_s: float, until: float) -> None:
        """Sends a frame at `first_at` and every `every_s` after it (perf_counter)."""
        due = first_at
        while due < until:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self._results.late.append(time.perf_counter() - due)
            if self.finished.done():
                return
            self._due.append((self._seq, due))
            self._send(_BINARY, self._template.frame(self._session, self._seq))
            self._seq += 1
            due += every_s

    def finish(self) -> None:
        """Tells the server that the writer has ended."""
        if not self.finished.done():
            self._send(_TEXT, b'{"type":"finish","exit_code":0}')


class Results:
    """The measurements of all writers, in seconds."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.errors: dict[str, int] = {}


def percentiles(values: list[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the maximum in ms."""
    if not values:
        return {}
    p50, p99, p999 = np.percentile(values, [50, 99, 99.9]) * 1e3
    return {"p50": round(p50, 1), "p99": round(p99, 1), "p999": round(p999, 1), "max": round(max(values) * 1e3, 1)}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--writers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--every", type=float, default=1.0, help="seconds between the frames of a writer")
    parser.add_argument("--steps", type=int, default=10, help="of a frame")
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=8, help="writers of one run")
    parser.add_argument("--prefix", default=f"quiet-{secrets.token_hex(3)}")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    where = urlsplit(options.url)
    template, results = Template(options.steps, options.metrics), Results()
    loop = asyncio.get_running_loop()
    writers: list[Writer] = []
    began = time.perf_counter()
    gate = asyncio.Semaphore(_ATTACH_AT_ONCE)

    async def open_one(index: int) -> None:
        async with gate:
            _, writer = await loop.create_connection(
                lambda: Writer(
                    *(where.netloc, template, f"{options.prefix}-{index // options.ranks}"),
                    *(str(index % options.ranks), results),
                ),
                where.hostname,
                where.port,
            )
            writers.append(writer)
            await writer.attached

    async with asyncio.timeout(120):
        await asyncio.gather(*(open_one(index) for index in range(options.writers)))
    attach_s = time.perf_counter() - began
    print("attached", flush=True)
    start = time.perf_counter() + 0.5
    cpu = time.process_time()
    sending = [
        asyncio.create_task(
            writer.send(start + options.every * index / len(writers), options.every, start + options.seconds)
        )
        for index, writer in enumerate(writers)
    ]
    await asyncio.gather(*sending)
    sent_s = time.perf_counter() - start
    print("sent", flush=True)
    ending = time.perf_counter()
    for writer in writers:
        writer.finish()
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(writer.finished for writer in writers))
    except TimeoutError:
        results.errors["not finished after 60 s"] = sum(not writer.finished.done() for writer in writers)
    print(
        json.dumps(
            {
                "writers": options.writers,
                "frames": len(results.late),
                "acknowledged": len(results.latencies),
                "attach_s": round(attach_s, 2),
                "finish_s": round(time.perf_counter() - ending, 2),
                "ack_ms": percentiles(results.latencies),
                "driver_late_ms": percentiles(results.late),
                "driver_cores": round((time.process_time() - cpu) / sent_s, 2),
                "errors": results.errors,
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(main())
