"""`make report`: one HTML page of all results in `loadtests/results`, with the plots of the load tests.

Reads the JSON lines that the benchmarks wrote; writes a page that needs nothing else. Each scenario of `bench_load.py`
has a plot of its latencies and of its CPU time per frame, one group of bars for each run; every other result is a
table.

    python loadtests/report.py [FILE]     default: loadtests/results/report.html
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
:root { color-scheme: light dark; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; } th, td { padding: 0.15rem 0.6rem; text-align: right; }
th { font-weight: 600; } tr:nth-child(even) { background: #8881; } td:first-child, th:first-child { text-align: left; }
figure { display: inline-block; margin: 0 2rem 1rem 0; vertical-align: top; } figcaption { font-weight: 600; }
svg { overflow: visible; font: 11px system-ui, sans-serif; fill: currentColor; } .wide { overflow-x: auto; }
"""
_COLOURS = ("#4269d0", "#efb118", "#ff725c")
_BAR, _WIDTH, _LABELS = 11, 300, 120


def bars(title: str, unit: str, groups: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """A plot of horizontal bars as SVG, on a scale from 0.

    Args:
        groups: a label and named values for each group, in the order of the plot.
    """
    most = max((value for _, values in groups for _, value in values), default=0.0) or 1.0
    parts: list[str] = []
    y = 0
    for label, values in groups:
        parts.append(f'<text x="{_LABELS - 6}" y="{y + 9}" text-anchor="end">{escape(label)}</text>')
        for index, (name, value) in enumerate(values):
            width = max(1.0, value / most * _WIDTH)
            parts.append(
                f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR - 2}" fill="{_COLOURS[index]}">'
                f"<title>{escape(name)}</title></rect>"
                f'<text x="{_LABELS + width + 4:.1f}" y="{y + 9}">{escape(name)} {value:,.4g}</text>'
            )
            y += _BAR
        y += 6
    return (
        f"<figure><figcaption>{escape(title)}, {escape(unit)}</figcaption>"
        f'<svg width="{_LABELS + _WIDTH + 110}" height="{y}">{"".join(parts)}</svg></figure>'
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A table of JSON lines; nested values become columns with dotted names."""
    flat = [dict(_flat(row)) for row in rows]
    columns = list(dict.fromkeys(name for row in flat for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(_shown(row.get(name)))}</td>" for name in columns) + "</tr>" for row in flat
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _flat(row: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def load_plots(runs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """The plots of one scenario. `runs`: when each was measured, and its result."""
    latencies = [(at, [(name, run["ack_ms"][name]) for name in ("p50", "p99", "p999")]) for at, run in runs]
    times = [
        (at, [("Python", run["python_us_per_frame"]), ("Postgres", run["postgres_us_per_frame"])]) for at, run in runs
    ]
    return bars("from due to acknowledged", "ms", latencies) + bars("server CPU per frame", "µs", times)


def page(files: Iterable[Path]) -> str:
    """The page, from the files with JSON lines."""
    scenarios: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    others: list[str] = []
    for file in sorted(files):
        lines = [json.loads(line) for line in file.read_text().splitlines() if line]
        if not file.stem.endswith("-load"):
            others.append(f"<h2>{escape(file.stem)}</h2>" + table(lines))
            continue
        at = file.stem
        for line in lines:
            if line["name"] == "machine":
                at = str(line["at"])[:16].replace("T", " ")
            elif line["ack_ms"]:
                scenarios.setdefault(line["name"], []).append((at, line))
    loads = "".join(
        f"<h2>{escape(name)}</h2>{load_plots(runs)}{table([{'at': at, **run} for at, run in runs])}"
        for name, runs in scenarios.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Measurements of Stepwell</title>'
        f"<style>{_STYLE}</style><h1>Measurements</h1>{loads}{''.join(others)}</html>\n"
    )


def main() -> None:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "report.html"
    file.write_text(page(RESULTS.glob("*.jsonl")))
    print(file)


if __name__ == "__main__":
    main()
