"""A team's history generated from a seed, for `bench_sql.py`: in Stepwell's tables and in a table with a row per point.

Makes the catalog, ledgers, notes and points of some projects and stores them as the server would: sealed history
through the sealer's own writer, hot history as blocks. The schema `bench` holds the same runs and points as a plain
table, as one would store them without Stepwell, so that the rows and the duration of every query can be compared.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import numpy as np
import orjson

from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.sealer import next_pass, write
from stepwell_ingest.seal.stretches import Stretch
from stepwell_schema import queries

LARGE, SPECIAL = "large", "special"
#: The metrics of an ordinary run.
METRICS = ("train/loss", "train/lr", "train/grad_norm", "val/loss", "val/acc", *(f"layer/{n}" for n in range(5)))
STEPS = 200
FORK_STEP, REWOUND_BELOW, SEALED_BELOW = 100, 150, 100
_NAME = "0"
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_EPOCH_2020 = datetime(2020, 1, 1, tzinfo=UTC)

TABLES = """
DROP SCHEMA IF EXISTS bench CASCADE;
CREATE SCHEMA bench;
CREATE TABLE bench.run (run_id bigint PRIMARY KEY, project text, name text, created_at timestamptz, config jsonb,
                        tags text[], run_group text, acc_max boolean, state text);
CREATE TABLE bench.raw (run_id bigint, writer text, metric text, step_lo bigint, time_lo timestamptz, vals float8[]);
CREATE TABLE bench.point (run_id bigint, metric text, writer text, step bigint, time timestamptz, value float8);
"""
POINTS = """
INSERT INTO bench.point
SELECT r.run_id, r.metric, r.writer, r.step_lo + v.nr - 1, r.time_lo + (v.nr - 1) * interval '1 second', v.value
FROM bench.raw r CROSS JOIN LATERAL unnest(r.vals) WITH ORDINALITY v (value, nr);
DROP TABLE bench.raw;
CREATE INDEX ON bench.run (project);
CREATE INDEX ON bench.point (run_id, metric, step);
CREATE INDEX ON bench.point USING brin (time);
"""


@dataclass(frozen=True)
class Shape:
    """The size of the history.

    Attributes:
        large: number of runs in the largest project.
        small: number of runs in each of four other projects.
        wide: number of metrics in each of three wide runs.
        long: number of steps in the longest run.
        fresh: number of metrics in a hot run that logs a new one at each step.
        writers: number of writers in the run that has the most.
    """

    large: int = 1000
    small: int = 250
    wide: int = 2000
    long: int = 1_000_000
    fresh: int = 1000
    writers: int = 64


@dataclass
class _Run:
    """One run: its row in the catalog, and the values logged to it."""

    run_id: int
    project: str
    name: str
    created: datetime
    config: dict[str, Any]
    tags: list[str]
    group: str
    acc_max: bool
    parent: _Run | None = None
    rewound: bool = False
    hot_from: int | None = None
    shown: list[tuple[Any, ...]] | None = None


async def load(connection: asyncpg.Connection, shape: Shape, seed: int) -> int:
    """Fills a migrated database without runs; returns the number of points."""
    rng = np.random.default_rng(seed)
    await connection.execute("SELECT stepwell.ensure_partitions_v1((now() - interval '90 days')::date, 5)")
    await connection.execute(TABLES)
    made = list(_runs(shape, rng))
    await _catalog(connection, made)
    sql, total = queries("seal"), 0
    for run in made:
        async with connection.transaction():
            total += await _history(connection, sql, run, _points(run, shape, rng))
    await connection.execute(POINTS)
    for start in range(0, len(made), 200):  # for all runs, since running ones have not changed either
        run_ids = [run.run_id for run in made[start : start + 200]]
        await connection.execute(sql["store_summaries"], run_ids)
        await connection.execute(sql["fold_notes"], run_ids)
    # Autovacuum does the same, except for the parents of partitions, which it never analyzes.
    for (table,) in await connection.fetch(
        "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN "
        "('stepwell'::regnamespace, 'bench'::regnamespace) AND c.relname NOT LIKE 'hot_block%' "
        "AND pg_relation_size(c.oid) > 0"
    ):
        await connection.execute(f"VACUUM ANALYZE {table}")
    return total


def _runs(shape: Shape, rng: np.random.Generator) -> Iterator[_Run]:
    projects = [(LARGE, shape.large), *((f"small-{n}", shape.small) for n in range(4)), (SPECIAL, 6)]
    count = sum(runs for _, runs in projects)
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(days=75)
    # The runs of all projects are interleaved in time.
    order = rng.permutation([at for at, (_, runs) in enumerate(projects) for _ in range(runs)])
    numbers = [0] * len(projects)
    first: _Run | None = None
    for serial, at in enumerate(order.tolist()):
        created = began + timedelta(seconds=serial * 75 * 86400 // count)
        number, project = numbers[at], projects[at][0]
        numbers[at] += 1
        run_id = (int((created - _EPOCH_2020).total_seconds() * 1000) << 20) | serial
        special = ("wide-0", "wide-1", "wide-2", "long", "writers", "fresh")
        run = _Run(
            run_id,
            project,
            special[number] if project == SPECIAL else f"{project}-{number:05}",
            created,
            {"lr": float(rng.integers(1, 10)) / 1000, "seed": number, "model": {"name": f"m{number % 7}", "depth": 4}},
            ["best"] if number % 20 == 0 else ["base"],
            f"g{number % 25}",
            number % 5 == 0,
        )
        if project == LARGE:
            first = first or run
            run.parent = first if number and number % 100 == 50 else None
            run.rewound = number % 100 == 60
            run.hot_from = SEALED_BELOW if number >= shape.large * 19 // 20 else None
        yield run


def _points(
    run: _Run, shape: Shape, rng: np.random.Generator
) -> Iterator[tuple[int, int, list[str], np.ndarray[Any, Any]]]:
    """(writer_id, first step, names, float64[K][S]) of a run; steps are whole."""
    if run.name.startswith("wide"):
        yield 1, 0, [f"wide/{n:06}" for n in range(shape.wide)], rng.random((shape.wide, 20))
    elif run.name == "long":
        for start in range(0, shape.long, 100_000):
            yield 1, start, ["train/loss", "train/lr"], rng.random((2, min(100_000, shape.long - start)))
    elif run.name == "writers":
        for writer in range(shape.writers):
            yield writer + 1, 0, ["train/loss", "rank/time"], rng.random((2, STEPS))
    elif run.name == "fresh":
        for step in range(shape.fresh):
            yield 1, step, [f"fresh/{step:06}"], rng.random((1, 1))
    else:
        start = FORK_STEP + 1 if run.parent else 0
        values = rng.random((len(METRICS), STEPS - start))
        values[:2] = values[:2].astype(np.float32)  # float4 takes half the space
        yield 1, start, list(METRICS), values


async def _catalog(connection: asyncpg.Connection, made: list[_Run]) -> None:
    async def put(table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        await connection.copy_records_to_table(
            table.rpartition(".")[2], schema_name=table.partition(".")[0], columns=columns.split(), records=rows
        )

    await put(
        "stepwell.run",
        "run_id entity project name display_name config state created_at finished_at exit_code parent_run_id fork_step",
        [
            (
                *(run.run_id, "team", run.project, run.name, run.name, orjson.dumps(run.config).decode()),
                *("running" if run.hot_from else "finished", run.created, run.created + timedelta(seconds=STEPS), 0),
                *((run.parent.run_id, FORK_STEP) if run.parent else (None, None)),
            )
            for run in made
        ],
    )
    forks = [run for run in made if run.parent]
    await put(
        "stepwell.lineage",
        "run_id source_run_id below_step",
        [
            *((run.run_id, run.run_id, None) for run in made),
            *((run.run_id, run.parent.run_id, FORK_STEP + 1) for run in forks if run.parent),
        ],
    )
    await put(
        "stepwell.lineage_epoch",
        "run_id source_run_id writer_id epoch writer below_step",
        [(run.run_id, run.parent.run_id, 1, 1, _NAME, FORK_STEP + 1) for run in forks if run.parent],
    )
    meta: list[dict[str, Any]] = [{"tags": run.tags, "group": run.group} for run in made]
    notes = [(run.run_id, 1, 1, -1, 1, 0, run.created, "meta", value) for run, value in zip(made, meta, strict=True)]
    for run in made:
        if run.acc_max:
            value: dict[str, Any] = {"name": "val/acc", "summary": ["max"]}
            notes.append((run.run_id, 1, 1, 0, 0, 0, run.created, "define", value))
        if run.tags == ["best"]:
            run.config["extra"] = 1
            notes.append((run.run_id, 1, 1, 0, 1, 0, run.created, "config", {"set": {"extra": 1}}))
    await put(
        "stepwell.note",
        "run_id writer_id epoch seq ord step time kind value",
        [(*note[:-1], orjson.dumps(note[-1]).decode()) for note in notes],
    )
    await put(
        "bench.run",
        "run_id project name created_at config tags run_group acc_max state",
        [
            (
                *(run.run_id, run.project, run.name, run.created, orjson.dumps(run.config).decode()),
                *(run.tags, run.group, run.acc_max, "running" if run.hot_from else "finished"),
            )
            for run in made
        ],
    )


async def _history(
    connection: asyncpg.Connection,
    sql: dict[str, str],
    run: _Run,
    parts: Iterator[tuple[int, int, list[str], np.ndarray[Any, Any]]],
) -> int:
    """Stores the points of a run and the writer and ledger rows of its writers; returns the number of points."""
    ids: dict[str, int] = {}
    ledgers: dict[int, list[int]] = {}
    rows, total = [], 0
    begin_us = int((run.created - _EPOCH_2000).total_seconds()) * 1_000_000
    if run.parent:
        rows += [(run.run_id, *rest) for rest in run.parent.shown or ()]
    for writer_id, start, names, values in parts:
        new = [name for name in names if name not in ids]
        ids |= {name: len(ids) + number + 1 for number, name in enumerate(new)}
        await connection.copy_records_to_table(
            "metric", schema_name="stepwell", columns=["run_id", "metric_id", "name"],
            records=[(run.run_id, ids[name], name) for name in new],
        )  # fmt: skip
        steps = np.arange(start, start + values.shape[1])
        stretch = Stretch(
            np.array([ids[name] for name in names], np.int32), steps, begin_us + steps * 1_000_000, values
        )
        hot_from = 0 if run.name == "fresh" else run.hot_from
        sealed = 0
        if hot_from is None or hot_from > start:
            below = int(steps[-1]) + 1 if hot_from is None else hot_from
            sealed = await write(
                connection,
                sql,
                EpochKey(run.run_id, writer_id, 1),
                [stretch.between(start, below)],
                0,
                await next_pass(connection, sql),
            )
        if hot_from is not None and hot_from <= steps[-1]:
            await _hot(connection, run, writer_id, stretch.between(max(start, hot_from), int(steps[-1]) + 1))
        ledger = ledgers.setdefault(writer_id, [start, 0, 0, 0])
        ledger[1:] = [int(steps[-1]), ledger[2] + values.size, ledger[3] + sealed]
        shown = values[:, : REWOUND_BELOW - start] if run.rewound else values
        time_lo = run.created + timedelta(seconds=start)
        for name, row in zip(names, shown, strict=True):
            rows.append((run.run_id, str(writer_id - 1), name, start, time_lo, row.tolist()))
        total += shown.size
    if run.parent is None and run.project == LARGE:
        run.shown = [(*row[1:5], row[5][: FORK_STEP + 1]) for row in rows]
    await connection.copy_records_to_table(
        "raw", schema_name="bench", columns=["run_id", "writer", "metric", "step_lo", "time_lo", "vals"], records=rows
    )
    await connection.execute("UPDATE stepwell.run SET next_metric = $2 WHERE run_id = $1", run.run_id, len(ids) + 1)
    for writer_id, (first, last, points, sealed) in ledgers.items():
        state = "running" if run.hot_from else "finished"
        await connection.execute(
            "INSERT INTO stepwell.writer (run_id, writer_id, name, state) VALUES ($1, $2, $3, $4)",
            *(run.run_id, writer_id, str(writer_id - 1), state),
        )
        below = 0 if run.name == "fresh" else run.hot_from or last + 1
        await connection.execute(
            "INSERT INTO stepwell.ledger (run_id, writer_id, epoch, session, next_seq, last_step, first_step, points, "
            "sealed_below, sealed_points, visible_below) VALUES ($1, $2, 1, $3, 1, $4, $5, $6, $7, $8, $9)",
            *(run.run_id, writer_id, uuid.uuid4(), last, first, points, below, sealed),
            REWOUND_BELOW if run.rewound else None,
        )
    return total


async def _hot(connection: asyncpg.Connection, run: _Run, writer_id: int, stretch: Stretch) -> None:
    """Stores blocks of ten steps."""
    for start in range(int(stretch.steps[0]), int(stretch.steps[-1]) + 1, 10):
        part = stretch.between(start, start + 10)
        await connection.execute(
            "INSERT INTO stepwell.hot_block (run_id, seq, step_lo, step_hi, writer_id, epoch, keys, steps, times, "
            "vals) VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9)",
            *(run.run_id, start, int(part.steps[0]), int(part.steps[-1]), writer_id, part.metric_ids.tolist()),
            part.steps.tolist(),
            [_EPOCH_2000 + timedelta(microseconds=time) for time in part.times.tolist()],
            part.values.tolist(),
        )
