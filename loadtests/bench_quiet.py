"""`make bench-quiet`: the server's CPU time per frame with many quiet writers, and their latency.

One server for each number of writers, loaded by the scenario `steady` of `drive.py`. The CPU time of the server's
Python processes and of its Postgres is read from /proc, taken over the load, and divided by the number of frames.
Prints a calibration of the machine first, then a JSON line for each number of writers.

    python loadtests/bench_quiet.py [--writers 200,1000,2000,3000] [--seconds 15] [-- options of `stepwell up`]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from scenario import PLACE, read_scenario
from stack import running

_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                    int(entry.name)
                )
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_of(pid: int) -> dict[str, float]:
    """The CPU seconds used by the server's Python and by its Postgres, and the resident MiB of the Python processes."""
    cpu = {"python": 0.0, "postgres": 0.0, "python_mib": 0.0}
    for one in descendants(pid):
        try:
            text = (Path("/proc") / str(one) / "stat").read_text()
            fields = text.rpartition(")")[2].split()
            kind = "postgres" if "(postgres" in text else "python"
            # Children that have ended (short-lived workers of Postgres) count with their parent.
            cpu[kind] += sum(map(int, fields[11:13])) / _TICKS
            if kind == "python":
                cpu["python_mib"] += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except OSError:
            continue
    return cpu


def calibration() -> dict[str, float]:
    """The current speed of this machine: the seconds for 400,000 dict updates."""
    began = time.perf_counter()
    table: dict[int, int] = {}
    for number in range(400_000):
        table[number & 1023] = number
    return {"dict_updates_s": round(time.perf_counter() - began, 4), "load": round(os.getloadavg()[0], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--writers", default="200,1000,2000,3000")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("options", nargs="*", help="of `stepwell up`")
    arguments = parser.parse_args()
    steady = read_scenario(PLACE / "steady.toml")
    print(json.dumps({"name": "machine", "cores": os.cpu_count(), "python": sys.version.split()[0], **calibration()}))
    for writers in map(int, arguments.writers.split(",")):
        with running(*arguments.options) as stack:
            driver = subprocess.Popen(
                [
                    *(sys.executable, str(_HERE / "drive.py"), stack.url, steady.name),
                    *("--writers", str(writers / steady.writers), "--seconds", str(arguments.seconds / steady.seconds)),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert driver.stdout is not None
            samples = {}
            for line in driver.stdout:
                samples[line.strip()] = (cpu_of(stack.pid), time.perf_counter())
                if line.startswith("{"):
                    seen = json.loads(line)
            if driver.wait():
                raise SystemExit("the load ended with an error; see above")
        (before, began), (after, ended) = samples["attached"], samples["sent"]
        frames = max(1, seen["acknowledged"])
        for kind in ("python", "postgres"):
            used = after[kind] - before[kind]
            seen[f"{kind}_us_per_frame"] = round(used / frames * 1e6)
            seen[f"{kind}_cores"] = round(used / (ended - began), 2)
        seen["server_mib"] = round(after["python_mib"])
        print(json.dumps(seen), flush=True)


if __name__ == "__main__":
    main()
