"""`make bench-sql`: queries over a team's history, compared with the same queries of a table with a row per point.

Starts a Postgres of its own (or uses the database of `--dsn`), fills it from a seed (`sql_data.py`), and runs the
queries of `sql_queries.py`. All forms of a query must return the same rows; each is timed. Prints a JSON line per
query, then a table. With `--keep DIR` the cluster stays in that directory and is not filled again, so that two
checkouts can be compared on the same data. With `--plans FILE`, the plans of the worst queries are kept.
`tests/schema/test_bench_queries.py` runs the same queries on a hundredth of the data, for rows and plans, not for time.

    python loadtests/bench_sql.py [--runs 1000] [--seed 1] [--keep DIR] [--only TEXT] [--label TEXT] [--json FILE]
                                  [--plans FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from sql_data import Shape, load
from sql_queries import QUERIES, TIMES_QUERY, Query, placed
from stepwell_ingest.db.cluster import Cluster, embedded_binaries
from stepwell_ingest.db.migrate import migrate

_TURNS = 3
#: The number of queries whose plans are kept, and the longest line of a plan.
_WORST = 3
_PLAN_WIDTH = 240
#: Longer queries are cancelled.
_TIMEOUT_S = 60


async def main() -> None:
    """Measures, prints, and writes the file."""
    options = _options()
    with _database(options) as dsn:
        connection = await asyncpg.connect(dsn, server_settings={"statement_timeout": "0"})
        await migrate(connection)
        results = [_machine(options)]
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM stepwell.run)"):
            results.append(await _fill(connection, options))
        await connection.execute(f"SET statement_timeout = '{_TIMEOUT_S}s'")
        for query in QUERIES:
            if options.only in query.name:
                results.append(await measure(connection, query))
                print(json.dumps(results[-1]), flush=True)
        if options.plans:
            await keep_plans(connection, results, options.plans)
        await connection.close()
    _table(results)
    if options.json:
        with options.json.open("a") as file:
            file.writelines(json.dumps(result) + "\n" for result in results)
    if any(result.get("equal") is False for result in results):
        raise SystemExit("a query of Stepwell returns other rows than the plain table")


async def measure(connection: asyncpg.Connection, query: Query) -> dict[str, Any]:
    """The milliseconds of each form of a query (median of some turns), and whether all forms return the same rows."""
    out: dict[str, Any] = {"name": query.name}
    times_shown = await connection.fetchrow(TIMES_QUERY)
    rows: list[list[tuple[Any, ...]]] = []
    for form, sql in (("stepwell", query.stepwell), ("better", query.better), ("plain", query.plain)):
        if not sql:
            continue
        try:
            times = []
            for turn in range(_TURNS):
                began = time.perf_counter()
                found = await connection.fetch(placed(sql, *times_shown))
                times.append((time.perf_counter() - began) * 1000)
                if turn == 0 and times[0] > 5000:
                    break
            out[f"{form}_ms"] = round(statistics.median(times), 1)
            if form != "stepwell" or query.plain:
                rows.append(sorted(map(comparable, found)))
            out["rows"] = len(found)
        except asyncpg.QueryCanceledError:
            out[f"{form}_ms"] = f"> {_TIMEOUT_S * 1000}"
        except (asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError, asyncpg.UndefinedTableError):
            out[f"{form}_ms"] = None  # this checkout does not have this form yet
    if len(rows) > 1:
        out["equal"] = all(other == rows[0] for other in rows)
    best = [out[key] for key in ("stepwell_ms", "better_ms") if isinstance(out.get(key), float)]
    if best and isinstance(out.get("plain_ms"), float):
        out["ratio"] = round(min(best) / max(out["plain_ms"], 0.1), 1)
    return out


async def keep_plans(connection: asyncpg.Connection, results: list[dict[str, Any]], file: Path) -> None:
    """Writes the plans of the queries that are slowest compared with the plain table, in the recommended form."""
    rated = {str(result["name"]): _rating(result) for result in results if "plain_ms" in result}
    worst = sorted((query for query in QUERIES if query.name in rated), key=lambda query: -rated[query.name])[:_WORST]
    times_shown = await connection.fetchrow(TIMES_QUERY)
    await connection.execute("SET statement_timeout = 0")  # EXPLAIN ANALYZE takes longer than the query
    parts = []
    for query in worst:
        ended = rated[query.name] < float("inf")
        explain = "EXPLAIN (ANALYZE, BUFFERS)" if ended else "EXPLAIN"
        plan = await connection.fetch(f"{explain} {placed(query.better or query.stepwell, *times_shown)}")
        lines = [f"-- {query.name}: {rated[query.name]} times the plain table", *_executed([row[0] for row in plan])]
        parts.append("\n".join(line[:_PLAN_WIDTH] for line in lines))
    file.write_text("\n\n".join(parts) + "\n")


def _executed(plan: list[str]) -> list[str]:
    """The lines of a plan without nodes that were never executed."""
    kept, skips = [], False
    for line in plan:
        if "->" in line:
            skips = "(never executed)" in line
        if not skips:
            kept.append(line)
    return kept


def _rating(result: dict[str, Any]) -> float:
    """How many times the plain table's time a query takes; infinite where it was cancelled."""
    return float(result["ratio"]) if "ratio" in result else float("inf")


def comparable(row: asyncpg.Record) -> tuple[Any, ...]:
    """A row as texts that are equal for rows that should be equal."""
    # Sums of floats depend on the order of their terms.
    return tuple(f"{value:.9g}" if isinstance(value, float) else str(value) for value in row)


async def _fill(connection: asyncpg.Connection, options: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    shape = Shape(
        large=options.runs, small=options.runs // 4, wide=options.wide, long=options.long, fresh=options.fresh
    )
    await load(connection, shape, options.seed)
    points = await connection.fetchval("SELECT count(*) FROM bench.point")
    sizes = await connection.fetchrow("""
        SELECT sum(s.bytes) FILTER (WHERE s.space = 'stepwell')::bigint AS ours,
               sum(s.bytes) FILTER (WHERE s.space = 'bench')::bigint AS plain
        FROM (SELECT pg_total_relation_size(oid) AS bytes, relnamespace::regnamespace::text AS space
              FROM pg_class WHERE relkind = 'r') s""")
    out = {"name": "data", "points": points, "stepwell_bytes": sizes["ours"], "plain_bytes": sizes["plain"]}
    print(json.dumps(out | {"seconds": round(time.perf_counter() - began)}), flush=True)
    return out


@contextlib.contextmanager
def _database(options: argparse.Namespace) -> Iterator[str]:
    if options.dsn:
        yield options.dsn
        return
    with contextlib.ExitStack() as exits:
        place = options.keep or Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-bench-sql-")))
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)  # the account of Postgres needs access
        cluster = exits.enter_context(Cluster(place / "data", embedded_binaries()))
        yield cluster.dsn()


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": "machine",
        "label": options.label,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "runs": options.runs,
        "seed": options.seed,
    }


def _table(results: list[dict[str, Any]]) -> None:
    print(f"\n{'query':62} {'rows':>7} {'stepwell':>10} {'better':>9} {'plain':>9} {'ratio':>7}", file=sys.stderr)
    for result in results:
        if "stepwell_ms" in result:
            ours, better, plain = (str(result.get(f"{form}_ms", "")) for form in ("stepwell", "better", "plain"))
            unequal = "" if result.get("equal", True) else "  NOT EQUAL"
            print(
                f"{result['name'][:62]:62} {result.get('rows', ''):>7} {ours:>10} {better:>9} {plain:>9} "
                f"{result.get('ratio', ''):>7}{unequal}",
                file=sys.stderr,
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Queries over many runs, beside a table with a row per point.")
    parser.add_argument(
        "--runs", type=int, default=1000, help="of the largest project; four others have a quarter each"
    )
    parser.add_argument("--wide", type=int, default=2000, help="metrics of each of three wide runs")
    parser.add_argument("--long", type=int, default=1_000_000, help="steps of the longest run")
    parser.add_argument("--fresh", type=int, default=1000, help="names of a run that logs a new one at each step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--dsn", help="an existing database, which is filled if it has no runs")
    parser.add_argument("--keep", type=Path, help="where the cluster stays; used again if it is there")
    parser.add_argument("--only", default="", help="queries whose name has this text")
    parser.add_argument("--label", default="", help="for the record: which version was measured")
    parser.add_argument("--plans", type=Path, help="file for the plans of the worst queries")
    parser.add_argument("--json", type=Path, help="file to append the results to")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
