"""`make bench-history`: ingest with sealing at the same time, the size of history, and the speed of reading it.

One server and one Postgres, both started here on this machine. First, a run of a million steps and one of ten thousand
metrics are stored (the former also as a table with one row per point) and read while the server is idle. Then four runs
are loaded at full speed for `--minutes` while the sealer works, and the same reads are repeated meanwhile. Prints a
JSON line per result, then a table.

    python loadtests/bench_history.py [--minutes 10] [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg

import stepwell
from stack import Stack, running

METRIC = "train/metric_5"
STEPS, METRICS, WIDE = 1_000_000, 10, 10_000
#: The row-per-point table of the design (§2), filled with the same points.
ROW_TABLE = """
CREATE SCHEMA IF NOT EXISTS bench;
CREATE TABLE bench.row_per_point (run_id bigint, metric_id integer, step bigint, time timestamptz, value float8);
INSERT INTO bench.row_per_point
SELECT h.run_id, m.metric_id, h.step, h.time, h.value FROM stepwell.history h
JOIN stepwell.metric m ON m.run_id = h.run_id AND m.name = h.metric WHERE h.run = 'long-0';
CREATE INDEX ON bench.row_per_point (run_id, metric_id, step);
"""
STATE = """
SELECT coalesce(sum(l.points), 0)::bigint AS points, coalesce(sum(l.sealed_points), 0)::bigint AS sealed,
       (SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree('stepwell.hot_block') WHERE isleaf)
           AS hot_bytes,
       (SELECT sum(pg_total_relation_size(t.relid))::bigint
        FROM unnest('{chunk,track,metric_total}'::text[]) AS n (name)
        CROSS JOIN LATERAL pg_partition_tree(('stepwell.' || n.name)::regclass) t WHERE t.isleaf) AS sealed_bytes
FROM stepwell.ledger l
"""

results: list[dict[str, Any]] = []


def report(name: str, **figures: Any) -> None:
    """One result, as a JSON line."""
    results.append({"name": name, **figures})
    print(json.dumps(results[-1]), flush=True)


@contextlib.contextmanager
def loading(stack: Stack, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs `load.py` in a separate process, and ends it with the block."""
    script = Path(__file__).with_name("load.py")
    load = subprocess.Popen([sys.executable, str(script), stack.url, *options])
    try:
        yield load
    finally:
        load.send_signal(signal.SIGTERM)
        load.wait(120)


async def store(stack: Stack, connection: asyncpg.Connection, name: str, *options: str) -> None:
    """Stores and seals one run, and reports the size of its points."""
    before = await connection.fetchrow(STATE)
    with loading(stack, "--runs", "1", "--prefix", name, *options) as load:
        while load.poll() is None:  # noqa: ASYNC110 - another process ends; no event says so
            await asyncio.sleep(0.2)
    while (state := await connection.fetchrow(STATE))["sealed"] < state["points"]:  # noqa: ASYNC110 - Postgres sends no event
        await asyncio.sleep(1)
    points, size = state["sealed"] - before["sealed"], state["sealed_bytes"] - before["sealed_bytes"]
    report(f"space of {name}", points=points, bytes_per_point=round(size / points, 2))


async def timed(question: Callable[[], Awaitable[object]], turns: int) -> dict[str, float]:
    """The median and maximum of some turns, in ms, after a warm-up turn."""
    await question()
    times = []
    for _ in range(turns):
        began = time.perf_counter()
        await question()
        times.append((time.perf_counter() - began) * 1000)
    return {"p50_ms": round(statistics.median(times), 1), "max_ms": round(max(times), 1)}


async def measure_reads(stack: Stack, connection: asyncpg.Connection, when: str, turns: int) -> None:
    """Measures every kind of read, alternating with the row-per-point table where it can answer."""
    long = await connection.fetchval("SELECT run_id FROM stepwell.run WHERE name = 'long-0'")
    api = stepwell.Api(overrides={"base_url": stack.url})

    def ask(sql: str, *arguments: object) -> Callable[[], Awaitable[object]]:
        return lambda: connection.fetch(sql, *arguments)

    def api_run(name: str) -> Any:
        return api.run(f"default/bench/{name}")

    sealed = f"SELECT avg(value) FROM stepwell.history WHERE run_id = {long} AND metric = $1"
    rows = f"""SELECT avg(value) FROM bench.row_per_point WHERE run_id = {long} AND metric_id =
               (SELECT metric_id FROM stepwell.metric WHERE run_id = {long} AND name = $1)"""
    buckets = "SELECT * FROM stepwell.history_sample($1, $2, 1000)"
    row_buckets = f"""SELECT step >> 10, count(*), min(value), max(value), avg(value) FROM bench.row_per_point
                      WHERE run_id = {long} AND metric_id = (SELECT metric_id FROM stepwell.metric
                      WHERE run_id = {long} AND name = $1) GROUP BY 1"""
    for name, question in {
        "1,000 buckets of a metric of 1,000,000 steps": ask(buckets, long, METRIC),
        "the same, row per point": ask(row_buckets, METRIC),
        "avg(value) of 1,000,000 points": ask(sealed, METRIC),
        "the same, row per point ": ask(rows, METRIC),
        "whole read in Python, 1,000,000 points": lambda: asyncio.to_thread(api_run("long-0").series, METRIC),
        "names of 10,000 metrics": ask("SELECT name FROM stepwell.metrics WHERE run = 'wide-0'"),
        "names of 10,000 metrics, over HTTP": lambda: asyncio.to_thread(lambda: api_run("wide-0").history_keys),
        "summary of 10,000 metrics": ask("SELECT key, value FROM stepwell.summary WHERE run = 'wide-0'"),
    }.items():
        report(f"{name.strip()}, {when}", **await timed(question, turns))


async def measure_ingest(stack: Stack, connection: asyncpg.Connection, minutes: float, turns: int) -> None:
    """Loads four runs at full speed; reports the rate per ten seconds, and the backlog of sealing."""
    slices: list[tuple[float, float, int, int, int]] = []
    start = await connection.fetchrow(STATE)
    watcher = await asyncpg.connect(stack.dsn)

    async def watch() -> None:
        last, at = start, time.perf_counter()
        while True:
            await asyncio.sleep(10)
            state, now = await watcher.fetchrow(STATE), time.perf_counter()
            rate, sealing = ((state[key] - last[key]) / (now - at) for key in ("points", "sealed"))
            slices.append((rate, sealing, state["points"], state["points"] - state["sealed"], state["hot_bytes"]))
            print(
                f"  {state['points'] / 1e6:8,.0f} M stored, {rate / 1e6:5.2f} M/s in, {sealing / 1e6:5.2f} M/s sealed, "
                f"{slices[-1][3] / 1e6:6.0f} M points and {state['hot_bytes'] / 2**20:6.0f} MiB hot",
                file=sys.stderr,
            )
            last, at = state, now

    with loading(stack, "--runs", "4"):
        watching = asyncio.create_task(watch())
        await asyncio.sleep(minutes * 60 * 0.7)
        await measure_reads(stack, connection, "while ingest runs at full speed", turns)
        await asyncio.sleep(max(0.0, minutes * 60 - len(slices) * 10))
        watching.cancel()
    await watcher.close()
    slices = slices[min(6, len(slices) // 3) :]  # skip the first minute, in which sealing has little to do
    rates = [rate for rate, *_ in slices]
    sixth = max(1, len(rates) // 6)
    early, late = statistics.median(rates[:sixth]), statistics.median(rates[-sixth:])
    near = [rate for rate, _, stored, *_ in slices if 0.8e9 <= stored <= 1.3e9]
    hot = [waiting for *_, waiting, _ in slices]
    report(
        "ingest with sealing, 4 runs of 100 metrics, frames of 100 steps",
        minutes=minutes,
        points_per_s=round(statistics.median(rates)),
        min_points_per_s=round(min(rates)),
        sealed_per_s=round(statistics.median(item[1] for item in slices)),
        stored_points=slices[-1][2],
    )
    report(
        "rate after the first minute, first and last sixth",
        stored_at_first=slices[0][2],
        first=round(early),
        last=round(late),
        ratio=round(late / early, 2),
    )
    if near:
        report("rate with 10^9 points stored", points_per_s=round(statistics.median(near)))
    report(
        "hot backlog, points: median of the first and the last third",
        first=round(statistics.median(hot[: max(1, len(hot) // 3)])),
        last=round(statistics.median(hot[-max(1, len(hot) // 3) :])),
        most=max(hot),
        hot_mib_at_most=round(max(item[4] for item in slices) / 2**20),
    )


async def measure(minutes: float, share: float, turns: int) -> None:
    """Runs the benchmark."""
    with running() as stack:
        report("machine", cores=os.cpu_count(), python=platform.python_version(), system=platform.system())
        connection = await asyncpg.connect(stack.dsn)
        steps = int(STEPS * share)
        await store(stack, connection, "long", "--metrics", str(METRICS), "--points", str(steps * METRICS))
        await store(stack, connection, "long32", "--metrics", "100", "--points", str(steps * 20), "--float32")
        await store(stack, connection, "long64", "--metrics", "100", "--points", str(steps * 20))
        await store(
            stack, connection, "wide", "--metrics", str(WIDE), "--steps", "10", "--points", str(int(20_000_000 * share))
        )
        await connection.execute(ROW_TABLE)
        size = await connection.fetchval("SELECT pg_total_relation_size('bench.row_per_point')")
        report("space of a row per point", points=steps * METRICS, bytes_per_point=round(size / steps / METRICS, 1))
        await connection.execute("VACUUM ANALYZE")
        await measure_reads(stack, connection, "nothing else running", turns)
        await measure_ingest(stack, connection, minutes, turns)
        await connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of ingest")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything: to see that it runs")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    arguments = parser.parse_args()
    os.environ["STEPWELL_SILENT"] = "1"
    asyncio.run(measure(1.0 if arguments.quick else arguments.minutes, 0.1 if arguments.quick else 1.0, 9))
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(result) + "\n" for result in results))
    print()
    for result in results[1:]:
        figures = [f"{key} {value:,}" for key, value in result.items() if key != "name"]
        print(f"{result['name']:<66}" + "".join(f"{figure:<26}" for figure in figures).rstrip())


if __name__ == "__main__":
    main()
