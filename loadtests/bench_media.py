"""`make bench-media`: the cost of `log()` with a picture, and the delay that pictures cause for scalars.

One server and one Postgres, both started here on this machine. A process logs 1,000 steps of 100 scalars at a steady
rate, in turns without and with a 224 × 224 × 3 picture at each step. Each turn measures the duration of each `log()`
call, including the construction of the `Image`; the time from `log()` until `durable_step` reports the step as
committed; and the time until all pictures are stored. Prints a JSON line per result, then a table.

    python loadtests/bench_media.py [--turns 3] [--steps 1000] [--rate 50] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import statistics
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import stepwell
from bench import cpu
from stack import Stack, psql, running

SIZE, SCALARS = 224, 100
#: The interval between checks for commits; measured delays are too long by up to this.
LOOK_S = 0.001
KINDS = ("scalars alone", "with pictures")

results: list[dict[str, Any]] = []


def report(name: str, **figures: Any) -> None:
    """One result, as a JSON line."""
    results.append({"name": name, **figures})
    print(json.dumps(results[-1]), flush=True)


@dataclass(frozen=True)
class Turn:
    """The measurements of one turn.

    Attributes:
        log_ms: for each step, the duration of `log()`.
        delay_ms: for each step, the time from the return of `log()` to the commit.
        pictures_s: the time from the last commit of a step until all pictures are stored.
    """

    log_ms: np.ndarray[Any, Any]
    delay_ms: np.ndarray[Any, Any]
    pictures_s: float


def picture(seed: int) -> np.ndarray[Any, Any]:
    """A picture like a photograph: smooth, with some noise, so that it compresses to about half its size."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (8, 8, 3)).repeat(SIZE // 8, axis=0).repeat(SIZE // 8, axis=1)
    return (coarse * 0.8 + random.normal(25, 6, (SIZE, SIZE, 3))).clip(0, 255).astype(np.uint8)


def measure(stack: Stack, steps: int, rate: float, pictures: list[np.ndarray[Any, Any]]) -> Turn:
    """Runs one turn; an empty list means no pictures."""
    scalars = {f"train/metric_{index}": 0.5 for index in range(SCALARS)}
    clock = time.perf_counter
    log_s, delay_s = np.zeros(steps), np.zeros(steps)
    logged: deque[tuple[int, float]] = deque()  # steps not known to be committed, with their times

    def look() -> None:
        durable = run.durable_step
        now = clock()
        while logged and durable is not None and logged[0][0] <= durable:
            step, at = logged.popleft()
            delay_s[step] = now - at

    with stepwell.init(project="bench", url=stack.url, dir=stack.directory / "spool") as run:
        begins = clock()
        for step in range(steps):
            while clock() < begins + step / rate:
                time.sleep(LOOK_S)
                look()
            if pictures:
                pixels = pictures[step % len(pictures)]
                pixels[0, :8] = np.frombuffer(secrets.token_bytes(24), np.uint8).reshape(8, 3)  # no file is stored yet
            before = clock()
            if pictures:
                run.log(scalars | {"sample": stepwell.Image(pixels)})
            else:
                run.log(scalars)
            log_s[step] = clock() - before
            logged.append((step, clock()))
            look()
        while logged:
            time.sleep(LOOK_S)
            look()
        committed = clock()
        run.flush()
        waited = clock() - committed
    if pictures:
        shown = psql(stack, f"SELECT count(*) FROM history_objects WHERE run = '{run.id}'")
        if int(shown) != steps:
            raise SystemExit(f"{shown} of {steps} pictures are there")
    return Turn(log_s * 1000, delay_s * 1000, waited)


def figures(milliseconds: np.ndarray[Any, Any], digits: int) -> dict[str, float]:
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "p50_ms": round(float(p50), digits),
        "p99_ms": round(float(p99), digits),
        "max_ms": round(float(milliseconds.max()), digits),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50, help="steps a second; inf: as fast as it goes")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    arguments = parser.parse_args()
    os.environ["STEPWELL_SILENT"] = "1"
    pictures = [picture(seed) for seed in range(min(arguments.steps, 1000))]
    report(
        "machine",
        cores=os.cpu_count(),
        cpu=cpu(),
        python=platform.python_version(),
        system=platform.system(),
        load=round(os.getloadavg()[0], 1),
    )
    with running() as stack:
        measure(stack, 50, arguments.rate, pictures)  # warm up imports, connections and caches
        for number in range(arguments.turns):
            for kind, shown in zip(KINDS, ([], pictures), strict=True):
                turn = measure(stack, arguments.steps, arguments.rate, shown)
                where = {"turn": number, "load": round(os.getloadavg()[0], 1)}
                report(f"log(), {kind}", **figures(turn.log_ms, 3), **where)
                report(f"log() to COMMIT of the scalars, {kind}", **figures(turn.delay_ms, 1), **where)
                if shown:
                    report("pictures stored after the last step", seconds=round(turn.pictures_s, 1), **where)
    if arguments.json:
        arguments.json.write_text("".join(json.dumps(result) + "\n" for result in results))
    print_table()


def print_table() -> None:
    """The results as text: medians over the turns."""
    print(f"\n{'medians of the turns':<48}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name in dict.fromkeys(result["name"] for result in results[1:]):
        turns = [result for result in results if result["name"] == name]
        if "p50_ms" in turns[0]:
            columns = [statistics.median(turn[key] for turn in turns) for key in ("p50_ms", "p99_ms", "max_ms")]
            print(f"{name:<48}" + "".join(f"{column:>10,.3g}" for column in columns))
    worst = [
        statistics.median(result["p99_ms"] for result in results if result["name"].endswith(f"of the scalars, {kind}"))
        for kind in KINDS
    ]
    print(f"{'pictures delay the scalars, at p99, by':<58}{worst[1] - worst[0]:>10,.3g}")


if __name__ == "__main__":
    main()
