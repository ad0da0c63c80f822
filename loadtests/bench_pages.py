"""`make bench-pages`: how fast the web pages are in Chromium, by the browser's own trace, beside the aims for each.

Starts a server, stores runs (`load.py`), many rows for the table of runs and a run of 300 metrics, waits until all is
sealed, and opens the pages as a reader would. Prints a JSON line for each measurement, then a table. Needs Playwright
and a Chromium (`--chromium`).

    python loadtests/bench_pages.py [--runs 100] [--metrics 100] [--steps 100000] [--rows 50000] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from stack import Stack, running

TRACED = ["toplevel", "devtools.timeline", "disabled-by-default-devtools.timeline"]
FLAGS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
#: When charts were drawn, by the page's clock, which begins with the navigation.
WATCH = """
window.drawnAt = [];
addEventListener("DOMContentLoaded", () => {
  const seen = new Set();
  const look = () => {
    for (const figure of document.querySelectorAll("figure[data-state=drawn]"))
      if (figure.querySelector("canvas") && !seen.has(figure.dataset.metric)) {
        seen.add(figure.dataset.metric);
        window.drawnAt.push(performance.now());
      }
    requestAnimationFrame(look);
  };
  look();
});
"""
#: All charts within the window are drawn.
ALL_DRAWN = """() => {
  const near = [...document.querySelectorAll("figure")].filter((figure) => {
    const { top, bottom } = figure.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  return near.length > 0 && near.every((figure) => figure.querySelector("canvas"));
}"""
SCRIPTS = "performance.getEntriesByType('resource').map((e) => e.name).filter((name) => name.endsWith('.js'))"
ROWS = """
WITH made AS (
    INSERT INTO stepwell.run (run_id, entity, project, name, state, slot)
    SELECT stepwell.new_run_id_v1(), 'default', 'rows', 'row-' || n, 'finished', n FROM generate_series(0, $1 - 1) n
    RETURNING run_id)
INSERT INTO stepwell.lineage (run_id, source_run_id) SELECT run_id, run_id FROM made
"""
MANY = """
import sys, stepwell
run = stepwell.init(project="many", entity="default", id="charts", url=sys.argv[1])
for step in range(1000):
    run.log({f"part{i // 30}/metric_{i}": float((step * i) % 97) for i in range(300)})
run.finish()
"""
_TURNS = 3

results: list[dict[str, Any]] = []


def main() -> None:
    options = _options()
    with running() as stack:
        asyncio.run(fill(stack, options))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=options.chromium, args=FLAGS)
            report("machine", cores=os.cpu_count(), python=platform.python_version(), chromium=browser.version)
            workspace(browser, stack.url)
            scrolling(browser, stack.url)
            table(browser, stack.url)
            browser.close()
    for item in results:
        if "value" in item:
            print(f"{item['name']:50}{item['value']:>10} {item['unit']:9} aim {item['aim']}")
    if options.json:
        with options.json.open("a") as file:
            file.writelines(json.dumps(item) + "\n" for item in results)


async def fill(stack: Stack, options: argparse.Namespace) -> None:
    """Stores everything, and waits until it is sealed."""
    began = time.monotonic()
    points = options.metrics * options.steps
    load = [sys.executable, str(Path(__file__).with_name("load.py")), stack.url]
    sizes = ["--runs", str(options.runs), "--metrics", str(options.metrics), "--points", str(points)]
    await (await asyncio.create_subprocess_exec(*load, *sizes)).wait()
    await (
        await asyncio.create_subprocess_exec(sys.executable, "-c", MANY, stack.url, stdout=subprocess.DEVNULL)
    ).wait()
    connection = await asyncpg.connect(stack.dsn)
    await connection.execute(ROWS, options.rows)
    waiting = "SELECT sum(points) - sum(sealed_points) FROM stepwell.ledger"
    while await connection.fetchval(waiting):  # noqa: ASYNC110 - Postgres sends no event
        await asyncio.sleep(1)
    await connection.execute("ANALYZE")
    await connection.close()
    about = {"runs": options.runs, "metrics": options.metrics, "steps": options.steps, "rows": options.rows}
    report("data", **about, seconds=round(time.monotonic() - began))


def workspace(browser: Browser, url: str) -> None:
    """Opening a project, moving the cursor, zooming."""
    first, every = [], []
    for _ in range(_TURNS):
        with opened(browser, f"{url}/default/bench") as (page, _):
            page.wait_for_function(ALL_DRAWN)
            at = page.evaluate("[...window.drawnAt]")
            first.append(at[0])
            every.append(page.evaluate("performance.now()"))
    measured("first chart of a project", statistics.median(first), "ms", 1000)
    measured("all visible charts of a project", statistics.median(every), "ms", 2000)
    with opened(browser, f"{url}/default/bench") as (page, session):
        page.wait_for_function(ALL_DRAWN)
        scripts = page.evaluate(SCRIPTS)
        sizes = [len(gzip.compress(page.request.get(script).body())) for script in scripts]
        measured(
            "JavaScript of the first route, compressed",
            sum(sizes) / 1000,
            "kB",
            100,
        )
        box = page.locator("figure .u-over").first.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2

        def sweep() -> None:
            for i in range(200):
                page.mouse.move(box["x"] + (i % 100) / 100 * box["width"], middle)
                page.wait_for_timeout(10)

        frames = traced(browser, page, sweep)
        measured("hover, 95th percentile of a frame's script", quantile(frames.scripts, 0.95), "ms", 16)
        measured("hover, longest task", max(frames.tasks), "ms", 100)

        def zoom() -> None:
            for turn in range(4):
                page.mouse.move(box["x"] + box["width"] * 0.2, middle)
                page.mouse.down()
                page.mouse.move(box["x"] + box["width"] * 0.8, middle, steps=30)
                page.mouse.up()
                page.wait_for_timeout(250)
                if turn % 2:
                    page.keyboard.press("0")

        frames = traced(browser, page, zoom)
        measured("zoom, 95th percentile of a frame's script", quantile(frames.scripts, 0.95), "ms", 33)
        measured("zoom, longest task", max(frames.tasks), "ms", 100)
        measured("heap of a project's page", heap(session), "MB", 120)


def scrolling(browser: Browser, url: str) -> None:
    """300 charts, scrolled from the first to the last."""
    with opened(browser, f"{url}/default/many") as (page, session):
        page.wait_for_function(ALL_DRAWN)
        page.mouse.move(900, 500)

        def scroll() -> None:
            for _ in range(150):
                page.mouse.wheel(0, 150)
                page.wait_for_timeout(16)

        frames = traced(browser, page, scroll)
        measured("300 charts scrolled, longest task", max(frames.tasks), "ms", 100)
        measured("300 charts scrolled, 95th percentile of a frame's script", quantile(frames.scripts, 0.95), "ms", 33)
        measured("heap after 300 charts", heap(session), "MB", 120)


def table(browser: Browser, url: str) -> None:
    """The table of many runs: opened, sorted, scrolled to the end of what is read."""
    first_row = "document.querySelector('tbody .name a')?.textContent"
    with opened(browser, f"{url}/default/rows/runs") as (page, _):
        page.wait_for_function(f"() => {first_row}")
        measured("table of runs, opened", page.evaluate("performance.now()"), "ms", 600)

        def until(action: str, change: str) -> float:
            return float(
                page.evaluate(
                    f"""async () => {{
                        const before = {change}, began = performance.now();
                        {action};
                        while ({change} === before) await new Promise(requestAnimationFrame);
                        return performance.now() - began;
                    }}"""
                )
            )

        head = "[...document.querySelectorAll('th .sort')].find((head) => head.textContent === 'Started').click()"
        measured("table of runs, sorted", until(head, first_row), "ms", 600)
        end = "document.querySelector('.tw').scrollTop = 1e9"
        measured(
            "table of runs, the next window of rows", until(end, "document.querySelector('.ft').textContent"), "ms", 600
        )


class Frames:
    """CPU times in ms from a trace: of the scripts of each animation frame, and of all tasks of the page's thread. Not
    durations, because the server and Postgres share the machine's cores with the browser."""

    def __init__(self, trace: bytes) -> None:
        events = json.loads(trace)["traceEvents"]
        pages = {(e["pid"], e["tid"]) for e in events if e.get("name") == "FireAnimationFrame"}
        whole = [e for e in events if e.get("ph") == "X" and (e["pid"], e["tid"]) in pages]
        self.scripts = [_cpu(e) for e in whole if e["name"] == "FireAnimationFrame"] or [0.0]
        self.tasks = [_cpu(e) for e in whole if e["name"].endswith("RunTask")] or [0.0]


def _cpu(event: dict[str, Any]) -> float:
    return float(event.get("tdur", event["dur"])) / 1000


def traced(browser: Browser, page: Page, act: Any) -> Frames:
    browser.start_tracing(page=page, categories=TRACED)
    act()
    return Frames(browser.stop_tracing())


def heap(session: CDPSession) -> float:
    """MB that JavaScript uses after a collection, the contents of its typed arrays included."""
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    return float(usage["usedSize"] + usage.get("backingStorageSize", 0)) / 1e6


@contextlib.contextmanager
def opened(browser: Browser, url: str) -> Iterator[tuple[Page, CDPSession]]:
    """A page in a context of its own, without a cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(url, wait_until="commit")
    yield page, context.new_cdp_session(page)
    context.close()


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measured(name: str, value: float, unit: str, aim: float) -> None:
    report(name, value=round(value, 1), unit=unit, aim=aim, met=value <= aim)


def report(name: str, **about: Any) -> None:
    results.append({"name": name, **about})
    print(json.dumps(results[-1]), flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--metrics", type=int, default=100)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=50_000, help="of the table of runs")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--json", type=Path, help="a file to add the results to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
