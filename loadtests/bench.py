"""`make bench`: the cost of `log()`, the throughput up to COMMIT, and a comparison with psql's COPY.

One run against one server and one Postgres, both started here on this machine. Prints a JSON line per result, then a
table. The variants that are compared alternate (A, B, A, B …) and the table shows medians, because machines are noisy.

    python loadtests/bench.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import secrets
import statistics
import time
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np

import stepwell
from load import attach_message
from stack import Stack, psql, running
from stepwell import wire
from stepwell.delivery.stream import Stream
from stepwell.settings import Limits, Timeouts
from stepwell.transport.endpoint import Endpoint

#: The rates of the latency measurement: those of a fast training loop, and at most a million points per second.
PACED_CALLS_PER_S = 5000
PACED_POINTS_PER_S = 1_000_000
SEEN = "SELECT value FROM stepwell.history WHERE run = $1 AND metric = 'loss' AND step = $2"
SHAPES = ((100, 100), (10, 100), (1, 100), (10, 10))  # steps × metrics

results: list[dict[str, Any]] = []


def report(name: str, **figures: Any) -> None:
    """One result, as a JSON line."""
    results.append({"name": name, **figures})
    print(json.dumps(results[-1]), flush=True)


def measure_log(stack: Stack, scalars: int, calls: int, paced: bool) -> None:
    """The time of each `log()` call, in µs, while the I/O thread spools and sends."""
    data = {f"train/metric_{index}": random.random() for index in range(scalars)}
    times = np.empty(calls, np.int64)
    clock = time.perf_counter_ns
    rate = min(PACED_CALLS_PER_S, PACED_POINTS_PER_S // scalars)
    gap = 1_000_000_000 // rate
    with stepwell.init(project="bench", url=stack.url, dir=stack.directory / "spool") as run:
        for _ in range(100):
            run.log(data)
        following = clock()
        for index in range(calls):
            if paced:
                following += gap
                while clock() < following:
                    pass  # compute instead of sleeping, like a training step
            before = clock()
            run.log(data)
            times[index] = clock() - before
    p50, p99, p999 = np.percentile(times, [50, 99, 99.9]) / 1000
    report(
        f"log(), {scalars} scalars, {f'{rate:,} calls/s' if paced else 'back to back'}",
        p50_us=round(float(p50), 2),
        p99_us=round(float(p99), 2),
        p999_us=round(float(p999), 1),
        max_us=round(float(times.max() / 1000), 0),
        calls=calls,
    )


def measure_log_to_commit(stack: Stack, scalars: int, steps: int) -> None:
    """Points per second of one process, from the first `log()` to the acknowledgement of the last (after COMMIT)."""
    data = {f"train/metric_{index}": random.random() for index in range(scalars)}
    rates = []
    for _ in range(3):
        with stepwell.init(project="bench", url=stack.url, dir=stack.directory / "spool") as run:
            run.log(data)
            run.flush()
            began = time.perf_counter()
            for _ in range(steps):
                run.log(data)
            run.flush()
            rates.append(steps * scalars / (time.perf_counter() - began))
    report(
        f"log() to COMMIT, {scalars} scalars, one process",
        points_per_s=round(statistics.median(rates)),
        min_points_per_s=round(min(rates)),
        points=steps * scalars,
    )


async def measure_visible(stack: Stack, points: int) -> None:
    """From `log()` to the moment when another connection's SELECT sees the point, in ms."""
    connection = await asyncpg.connect(stack.dsn)
    lags = []
    async with stepwell.init(project="bench", url=stack.url, dir=stack.directory / "spool") as run:
        for step in range(points):
            await asyncio.sleep(random.uniform(0.02, 0.12))
            run.log({"loss": float(step)})
            logged = time.perf_counter()
            while await connection.fetchval(SEEN, run.id, step) is None:  # noqa: ASYNC110 - polling is what is measured
                await asyncio.sleep(0.001)
            lags.append((time.perf_counter() - logged) * 1000)
    await connection.close()
    report(
        "log() to visible in SQL",
        p50_ms=round(statistics.median(lags), 1),
        max_ms=round(max(lags), 1),
        points=points,
    )


class Prebuilt:
    """A source of prebuilt frames for a stream, without stage and spool."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames
        self.next_seq = len(frames)
        self.first_seq = 0

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        size = 0
        out: list[bytes] = []
        for frame in self.frames[from_seq : from_seq + max_frames]:
            size += len(frame)
            if out and size > max_bytes:
                break
            out.append(frame)
        return out

    def acknowledge(self, next_seq: int) -> None:
        self.first_seq = next_seq


def prebuilt_frames(session: bytes, steps: int, metrics: int, count: int) -> list[bytes]:
    names = wire.pack_names([f"train/metric_{index}" for index in range(metrics)])
    values = np.random.default_rng(0).random((metrics, steps))
    now = int(time.time() * 1e6)
    frames = []
    for seq in range(count):
        numbers = np.arange(seq * steps, (seq + 1) * steps)
        frames.append(wire.encode(session, seq, [wire.Block(names, numbers, now + numbers, values)]))
    return frames


async def send_prebuilt(stack: Stack, run: str, frames: list[bytes], session: bytes) -> float:
    """Seconds from opening the connection to the acknowledgement of the last frame."""
    source = Prebuilt(frames)
    stream = Stream(
        Endpoint.of(stack.url),
        source,
        lambda: attach_message(run, session),
        Limits(),
        Timeouts(),
        lambda seq, error: print(seq, error),
    )
    began = time.perf_counter()
    task = asyncio.create_task(stream.run())
    await stream.acknowledged(len(frames))
    took = time.perf_counter() - began
    stream.finish(0)
    await task
    return took


def measure_frames(stack: Stack, steps: int, metrics: int, count: int, rounds: int) -> None:
    """Measures prebuilt frames over the real stream, alternating with psql's COPY of the same rows from a file."""
    streamed, copied = [], []
    rows = stack.directory / "rows.bin"
    for turn in range(rounds):
        session, run = secrets.token_bytes(16), f"frames-{steps}x{metrics}-{turn}"
        frames = prebuilt_frames(session, steps, metrics, count)
        streamed.append(asyncio.run(send_prebuilt(stack, run, frames, session)))
        run_id = psql(stack, f"SELECT run_id FROM runs WHERE run = '{run}'")
        psql(stack, f"\\copy (SELECT * FROM hot_block WHERE run_id = {run_id}) TO '{rows}' (FORMAT binary)")
        psql(stack, COPY_TARGET)
        began = time.perf_counter()
        psql(stack, f"\\copy bench.hot_block FROM '{rows}' (FORMAT binary)")
        copied.append(time.perf_counter() - began)
        stored = psql(stack, f"SELECT count(*) FROM hot_block WHERE run_id = {run_id}")
        if int(stored) != count or int(psql(stack, "SELECT count(*) FROM bench.hot_block")) != count:
            raise SystemExit(f"{stored} of {count} frames were stored")
    points = steps * metrics * count
    ours, theirs = statistics.median(streamed), statistics.median(copied)
    report(
        f"frames of {steps} × {metrics} (steps × metrics)",
        frames_per_s=round(count / ours),
        points_per_s=round(points / ours),
        psql_points_per_s=round(points / theirs),
        ratio_to_psql=round(theirs / ours, 2),
        frames=count,
        rounds=rounds,
    )


#: A table like hot_block, with its partitions, indexes and storage; emptied before each COPY.
COPY_TARGET = """
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE TABLE bench.hot_block (LIKE stepwell.hot_block INCLUDING ALL) PARTITION BY LIST (ring);
CREATE TABLE bench.hot_block_all PARTITION OF bench.hot_block DEFAULT;
ALTER TABLE bench.hot_block_all
    ALTER keys SET STORAGE EXTERNAL, ALTER steps SET STORAGE EXTERNAL,
    ALTER times SET STORAGE EXTERNAL, ALTER vals SET STORAGE EXTERNAL;
CHECKPOINT;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: to see that it runs")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    arguments = parser.parse_args()
    share = 0.1 if arguments.quick else 1.0
    os.environ["STEPWELL_SILENT"] = "1"

    def sized(count: int) -> int:
        return max(100, int(count * share))

    # Sealing is off, because psql's COPY needs the rows as they arrived; loadtests/bench_history.py measures it.
    with running("--no-seal") as stack:
        report("machine", cores=os.cpu_count(), cpu=cpu(), python=platform.python_version(), system=platform.system())
        for scalars in (1, 10, 100, 1000):
            measure_log(stack, scalars, sized(25_000), paced=True)
        for scalars, calls in ((1, 200_000), (10, 200_000), (100, 50_000), (1000, 5_000)):
            measure_log(stack, scalars, sized(calls), paced=False)
        measure_log_to_commit(stack, 100, sized(100_000))
        measure_log_to_commit(stack, 10, sized(300_000))
        for (steps, metrics), count in zip(SHAPES, (1000, 5000, 20_000, 40_000), strict=True):
            measure_frames(stack, steps, metrics, sized(count), 5)
        asyncio.run(measure_visible(stack, sized(200)))
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(result) + "\n" for result in results))
    print_table()


def print_table() -> None:
    """The results as text: one line each, with the unit in each name."""
    print()
    for result in results[1:]:
        figures = [f"{key} {value:,}" for key, value in result.items() if key not in ("name", "calls", "rounds")]
        print(f"{result['name']:<46}" + "".join(f"{figure:<32}" for figure in figures).rstrip())


def cpu() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


if __name__ == "__main__":
    main()
