"""`make load`: scenarios of load, each on a server of its own; acknowledged points are counted in Postgres at the end.

A driver (`drive.py`) in a process of its own loads the server. The CPU time of the server's Python and its Postgres is
read from /proc, and the volume of WAL from Postgres, from the first frame to the last acknowledgement. Prints a
calibration of the machine, then a JSON line for each scenario, and appends them to loadtests/results/DATE-load.jsonl.
`report.py` makes a page of all results.

    python loadtests/bench_load.py [SCENARIO …] [--short] [-- options of `stepwell up`]
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench_quiet import calibration, cpu_of
from scenario import Scenario, all_scenarios
from stack import Stack, psql, running

_HERE = Path(__file__).parent
#: The shares of writers and seconds of a short form: all scenarios take ten minutes.
SHORT = (0.25, 0.5)


def measure(stack: Stack, scenario: Scenario, writers: float, seconds: float) -> dict[str, Any]:
    """One scenario on a server that nothing else uses.

    Args:
        writers, seconds: shares of those of the scenario.

    Raises:
        SystemExit: the driver failed, or points are missing in Postgres.
    """
    for name, value in scenario.postgres.items():
        psql(stack, f"ALTER SYSTEM SET {name} = '{value}'")
    psql(stack, "SELECT pg_reload_conf()")
    driver = subprocess.Popen(
        [
            *(sys.executable, str(_HERE / "drive.py"), stack.url, scenario.name),
            *("--writers", str(writers), "--seconds", str(seconds)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    before: dict[str, float] = {}
    result: dict[str, Any] = {}
    for line in driver.stdout:
        if line.startswith("attached"):
            before = {**cpu_of(stack.pid), "wal": _wal(stack)}
        elif line.startswith("{"):
            result = json.loads(line)
    if driver.wait() or not result:
        raise SystemExit(f"the driver of {scenario.name} ended with an error; see above")
    after = {**cpu_of(stack.pid), "wal": _wal(stack)}
    stored = int(psql(stack, "SELECT coalesce(sum(points), 0) FROM stepwell.ledger"))
    if stored != result["points"]:
        raise SystemExit(f"{scenario.name}: {result['points']} points were acknowledged, and {stored} are stored")
    frames, points = max(1, result["acknowledged"]), max(1, result["points"])
    for kind in ("python", "postgres"):
        used = after[kind] - before[kind]
        result[f"{kind}_us_per_frame"] = round(used / frames * 1e6)
        result[f"{kind}_us_per_kpoint"] = round(used / points * 1e9)
    result["frame_bytes_per_point"] = round(result.pop("frame_bytes") / points, 1)
    result["wal_bytes_per_point"] = round((after["wal"] - before["wal"]) / points, 1)
    result["server_mib"] = round(after["python_mib"])
    return {"name": scenario.name, **result}


def _wal(stack: Stack) -> float:
    return float(psql(stack, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenarios", nargs="*", help="default: all")
    parser.add_argument("--short", action="store_true", help=f"{SHORT[0]} of the writers, for {SHORT[1]} of the time")
    parser.add_argument("--options", default="", help="of `stepwell up`, separated by spaces")
    arguments = parser.parse_args()
    known = {scenario.name: scenario for scenario in all_scenarios()}
    if unknown := set(arguments.scenarios) - set(known):
        parser.error(f"there is no scenario {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    writers, seconds = SHORT if arguments.short else (1.0, 1.0)
    lines: list[dict[str, Any]] = [
        {
            "name": "machine",
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "options": arguments.options,
            "writers": writers,
            "seconds": seconds,
            **calibration(),
        }
    ]
    print(json.dumps(lines[0]), flush=True)
    for name in arguments.scenarios or known:
        with running(*arguments.options.split()) as stack:
            lines.append(measure(stack, known[name], writers, seconds))
        print(json.dumps(lines[-1]), flush=True)
    file = _HERE / "results" / f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}-load.jsonl"
    with file.open("a") as out:
        out.writelines(json.dumps(line) + "\n" for line in lines)


if __name__ == "__main__":
    main()
