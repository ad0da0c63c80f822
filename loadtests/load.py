"""Generates load in a process of its own: an endless sequence of frames over real streams, at full speed.

A separate process, because a measurement must not share an interpreter with its load generator. Frames are made when
they are read, and made again with the same bytes when they are resent. Values are normally distributed noise, as full
float64 or rounded to float32. On SIGTERM, waits until the sent frames are acknowledged, and finishes the runs.

    python loadtests/load.py URL --runs 4 --metrics 100 --steps 100 [--points N] [--float32] [--prefix load]
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import time
from typing import Any

import numpy as np

from stepwell import wire
from stepwell.delivery.stream import Stream
from stepwell.settings import Limits, Timeouts
from stepwell.transport.endpoint import Endpoint

_MATRICES = 16


class Endless:
    """Frames of one writer, made on demand.

    Args:
        points: the total number of points; None: no limit, until `stop`.
    """

    def __init__(self, session: bytes, steps: int, metrics: int, points: int | None, float32: bool) -> None:
        self._session = session
        self._steps = steps
        random = np.random.default_rng(int.from_bytes(session[:4]))
        matrices = random.standard_normal((_MATRICES, metrics, steps))
        self._values = matrices.astype(np.float32).astype(np.float64) if float32 else matrices
        self._names = wire.pack_names([f"train/metric_{index}" for index in range(metrics)])
        self._start_us = int(time.time() * 1e6)
        self._sent = 0
        self.first_seq = 0
        self.next_seq = 1 << 60 if points is None else -(-points // (steps * metrics))

    def frame(self, seq: int) -> bytes:
        numbers = np.arange(seq * self._steps, (seq + 1) * self._steps)
        block = wire.Block(self._names, numbers, self._start_us + numbers * 1000, self._values[seq % _MATRICES])
        return wire.encode(self._session, seq, [block])

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        out: list[bytes] = []
        size = 0
        while len(out) < max_frames and from_seq + len(out) < self.next_seq:
            frame = self.frame(from_seq + len(out))
            if out and size + len(frame) > max_bytes:
                break
            out.append(frame)
            size += len(frame)
        self._sent = max(self._sent, from_seq + len(out))
        return out

    def acknowledge(self, next_seq: int) -> None:
        self.first_seq = next_seq

    def stop(self) -> None:
        """Ends the sequence with the frames sent so far."""
        self.next_seq = min(self.next_seq, max(self._sent, self.first_seq))


def attach_message(run: str, session: bytes) -> dict[str, Any]:
    """The attach message of a writer in the project of the benchmarks."""
    return {
        "type": "attach",
        "protocol": wire.PROTOCOL_VERSION,
        "entity": "default",
        "project": "bench",
        "run": run,
        "writer": "0",
        "session": session.hex(),
        "info": {},
    }


async def send(url: str, run: str, source: Endless, session: bytes, stopped: asyncio.Event) -> None:
    """Delivers until the source ends or `stopped` is set, then finishes the run."""
    stream = Stream(
        *(Endpoint.of(url), source, lambda: attach_message(run, session), Limits(), Timeouts()),
        lambda seq, error: print(seq, error),
    )
    task = asyncio.create_task(stream.run())
    ended = asyncio.create_task(stream.acknowledged(source.next_seq))
    stop = asyncio.create_task(stopped.wait())
    await asyncio.wait({ended, stop}, return_when=asyncio.FIRST_COMPLETED)
    source.stop()
    stream.finish(0)
    ended.cancel()
    stop.cancel()
    await task


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--metrics", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100, help="of a frame")
    parser.add_argument("--points", type=int, help="of each run; default: until SIGTERM")
    parser.add_argument("--float32", action="store_true")
    parser.add_argument("--prefix", default="load", help="of the runs' names")
    options = parser.parse_args()
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with asyncio.TaskGroup() as group:
        for number in range(options.runs):
            session = secrets.token_bytes(16)
            source = Endless(session, options.steps, options.metrics, options.points, options.float32)
            group.create_task(send(options.url, f"{options.prefix}-{number}", source, session, stopped))


if __name__ == "__main__":
    asyncio.run(main())
