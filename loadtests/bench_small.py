"""`make bench-small`: the time until new small runs are sealed, and the cost of sealing and summarizing them.

Starts a server and, for some time, a number of runs a second; each sends two frames and ends. Then waits, and reads
from the ledger how long each run waited from its last commit to the pass that sealed it. Prints a JSON line.

    python loadtests/bench_small.py [--rate 25] [--seconds 60] [--metrics 20] [--steps 25] [--wide N] [-- options of up]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import numpy as np
import uvloop

from bench_quiet import descendants
from drive import Results, Template, Writer
from scenario import Scenario
from stack import running

_TICKS = os.sysconf("SC_CLK_TCK")
#: Runs that are not sealed after this time count as having waited for it.
_PATIENCE_S = 60.0
_PACE = Scenario("small", "a frame every half second", writers=1, every_s=0.5)
LAGS = """
SELECT extract(epoch FROM CASE WHEN l.last_step < l.sealed_below THEN l.sealed_at ELSE clock_timestamp() END
                          - l.moved_at) AS lag_s,
       l.last_step < l.sealed_below AS sealed
FROM stepwell.ledger l JOIN stepwell.run r USING (run_id) WHERE r.name LIKE 'small-%'
"""


async def one_run(url: str, run: str, template: Template, results: Results) -> None:
    """A run that attaches, sends two frames and ends."""
    writer = Writer(urlsplit(url), template, run, "0", results)
    await writer.connect()
    now = time.perf_counter()
    await writer.send(_PACE, now, now, now + 0.6)
    await writer.finish()


async def load(url: str, options: argparse.Namespace) -> Results:
    """Starts new runs at a fixed rate."""
    template, results = Template(options.steps, options.metrics), Results()
    start, count = time.perf_counter(), int(options.rate * options.seconds)
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            await asyncio.sleep(max(0.0, start + number / options.rate - time.perf_counter()))
            group.create_task(one_run(url, f"small-{number:06}", template, results))
    return results


def sealer_cpu_s(pid: int, backends: list[int]) -> float:
    """The CPU seconds used by the sealing process and by its connections to Postgres."""
    proc, total = Path("/proc"), 0
    for one in descendants(pid):
        if one in backends or b"sealer_process" in (proc / str(one) / "cmdline").read_bytes():
            total += sum(map(int, (proc / str(one) / "stat").read_text().rpartition(")")[2].split()[11:13]))
    return total / _TICKS


def wide_run(url: str, metrics: int) -> subprocess.Popen[bytes]:
    """A process that logs a wide run at full speed."""
    program = [sys.executable, str(Path(__file__).parent / "load.py"), url, "--runs", "1", "--metrics", str(metrics)]
    return subprocess.Popen([*program, "--prefix", "wide"])


async def main() -> None:
    """Measures and prints."""
    options = _options()
    with running(*options.up) as stack:
        pg = await asyncpg.connect(stack.dsn)
        wide = wide_run(stack.url, options.wide) if options.wide else None
        results = await load(stack.url, options)
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            rows = await pg.fetch(LAGS)
            if all(row["sealed"] for row in rows):
                break
            await asyncio.sleep(1)
        if wide:
            wide.terminate()
            await asyncio.to_thread(wide.wait, 60)
        lags = [float(row["lag_s"]) for row in rows]
        await asyncio.sleep(10)  # wait until their summaries are stored
        backends = await pg.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'stepwell seal'")
        cpu_s = sealer_cpu_s(stack.pid, [row["pid"] for row in backends])
        stored = None  # in a version without stored summaries
        if await pg.fetchval("SELECT to_regclass('stepwell.stored_summary')"):
            stored = await pg.fetchval("SELECT count(*) FROM stepwell.stored_summary WHERE stored")
        out = {
            "runs": len(lags),
            "sealed": sum(row["sealed"] for row in rows),
            "lag_s": {f"p{p}": round(float(np.percentile(lags, p)), 1) for p in (50, 95, 100)},
            "summaries_stored": stored,
            "sealer_cpu_ms_a_run": round(cpu_s / len(lags) * 1e3, 1),
            "errors": results.errors,
            "load": os.getloadavg()[0],
        }
        print(json.dumps(vars(options) | out), flush=True)
        await pg.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How long new small runs wait to be sealed.")
    parser.add_argument("--rate", type=float, default=25.0, help="new runs a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--metrics", type=int, default=20)
    parser.add_argument("--steps", type=int, default=25, help="of each of two frames")
    parser.add_argument("--wide", type=int, default=0, help="metrics of a run beside them that logs at full speed")
    parser.add_argument("up", nargs="*", help="options of `stepwell up`")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main())
