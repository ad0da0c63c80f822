"""The rate at which a spool is delivered after an outage while training continues, and the maximum rates.

    PYTHONPATH=tests:sdk:ingest:schema python -m faults.catch_up --outage 60

One process logs 100 scalars at 1,000 steps/s throughout. During the outage there is no server; then one starts. The
catch-up rate is the rate of acknowledgements from the first connection until only live data is left. Afterwards, two
maximum rates are measured: `log()` at full speed, and a spool that is delivered while nothing is logged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg

import stepwell
from faults.fuzz import say
from faults.real_server import real_postgres, worker_process
from stepwell.delivery.stream import Stream
from stepwell.runs.run import Run
from stepwell.settings import Limits, Timeouts
from stepwell.spool import Spool
from stepwell.transport.endpoint import Endpoint

METRICS, STEPS_PER_S = 100, 1000
LIVE = METRICS * STEPS_PER_S
_DATA = {f"train/metric_{index}": index / 7 for index in range(METRICS)}
#: Points in flight when a process has caught up: the linger time, a round trip, and some noise.
_NOT_BEHIND = LIVE // 4


def live(run: Run) -> Iterator[float]:
    """Logs at the live rate as long as it is iterated; yields the time after each step."""
    following = time.perf_counter()
    while True:
        run.log(_DATA)
        following += 1 / STEPS_PER_S
        time.sleep(max(0.0, following - time.perf_counter()))
        yield time.perf_counter()


def run_until(steps: Iterator[float], moment: float) -> None:
    while next(steps) < moment:
        pass


def measure_outage(dsn: str, directory: Path, outage_s: float, live_s: float) -> None:
    """Measures an outage, the catch-up after it, and the live rate of the same process."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
        with stepwell.init(project="catch-up", url=f"http://127.0.0.1:{port}", dir=directory / "spool") as run:
            steps = live(run)
            run_until(steps, time.perf_counter() + outage_s)
            with worker_process(dsn, directory, port=port):
                assert run._session is not None
                stream = run._session.sender.stream
                assert stream is not None
                while not stream.connected:
                    next(steps)
                began, behind = time.perf_counter(), run.account.left
                say(f"the server is there; {behind:,} points wait in {run.spool_directory}")
                now = began
                while run.account.left > _NOT_BEHIND:
                    now = next(steps)
                took, stored = now - began, run.account.stored
                rate = stored / took
                say(f"caught up: {stored:,} points in {took:.2f} s = {rate:,.0f}/s, {rate / LIVE:.1f} × live")
                run_until(steps, now + 1)
                began, before = time.perf_counter(), run.account.stored
                run_until(steps, began + live_s)
                rate = (run.account.stored - before) / (time.perf_counter() - began)
                say(f"live: {rate:,.0f} points/s acknowledged, {LIVE:,} logged")
                run.finish()
            account = run.account
    assert account.left == account.rejected == account.dropped == 0, account
    asyncio.run(_check(dsn, run.id, account.logged))


def measure_most(dsn: str, directory: Path, count: int) -> None:
    """Measures the maximum rates: from `log()` to COMMIT, and from a spool alone."""
    with worker_process(dsn, directory) as server:
        with stepwell.init(project="catch-up", url=server.url, dir=directory / "spool") as run:
            began = time.perf_counter()
            for _ in range(count):
                run.log(_DATA)
            run.flush()
            rate = count * METRICS / (time.perf_counter() - began)
        say(f"most, live: {rate:,.0f} points/s from log() to COMMIT")
        with stepwell.init(project="catch-up", mode="offline", dir=directory / "offline") as run:
            for _ in range(count):
                run.log(_DATA)
        (left,) = Spool.discover(directory / "offline")
        spool = Spool.open(left)
        identity = spool.identity
        message = {"type": "attach", "protocol": 1, "entity": identity.entity, "project": identity.project}
        message |= {"run": identity.run, "writer": identity.writer, "session": identity.session.hex()}
        stream = Stream(
            Endpoint.of(server.url), spool, lambda: message, Limits(), Timeouts(), lambda *why: say(str(why))
        )
        stream.finish(0)
        began = time.perf_counter()
        asyncio.run(stream.run())
        rate = count * METRICS / (time.perf_counter() - began)
        say(f"most, from the spool: {rate:,.0f} points/s, {stream.counts.frames_stored:,} frames")
        spool.close()
    asyncio.run(_check(dsn, identity.run, count * METRICS))


async def _check(dsn: str, run: str, points: int) -> None:
    """Checks that each point is stored exactly once."""
    connection = await asyncpg.connect(dsn)
    total = await connection.fetchval(
        "SELECT sum(cardinality(vals)) FROM stepwell.hot_block JOIN stepwell.run USING (run_id) WHERE name = $1", run
    )
    steps = await connection.fetchrow(
        "SELECT count(*) AS rows, count(DISTINCT step) AS steps FROM stepwell.history WHERE run = $1 AND metric = $2",
        *(run, next(iter(_DATA))),
    )
    await connection.close()
    assert (total, steps["rows"], steps["steps"]) == (points, points // METRICS, points // METRICS), (total, steps)
    say(f"{points:,} points of run {run} are in Postgres, each once")


def main() -> None:
    parser = argparse.ArgumentParser(prog="faults.catch_up", description="Catch-up rate against live rate.")
    parser.add_argument("--outage", type=float, default=60, help="seconds without a server")
    parser.add_argument("--live", type=float, default=20, help="seconds for which the live rate is measured")
    parser.add_argument("--steps", type=int, default=100_000, help="for what can be done at the most")
    arguments = parser.parse_args()
    os.environ["STEPWELL_SILENT"] = "1"
    with real_postgres() as (dsn, directory):
        measure_outage(dsn, directory, arguments.outage, arguments.live)
        measure_most(dsn, directory, arguments.steps)


if __name__ == "__main__":
    main()
