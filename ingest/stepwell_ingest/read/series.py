"""Metrics in buckets, for charts: each bucket keeps the extremes of its steps, so nothing is smoothed away.

Receives names and a number of buckets; returns one batch for each metric. Postgres makes the buckets
(`stepwell.history_sample`), from statistics where history is sealed. Each answer gives the number of points behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np

from stepwell.wire import MAX_STEP
from stepwell.wire.columns import Column
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.runs import RunRow
from stepwell_ingest.read.standing import Standing

_INTEGERS = ("bucket_step", "count", "first_step", "last_step", "nans", "pos_infs", "neg_infs")
_ALL_STEPS = MAX_STEP + 1
_DOUBLES = ("min", "max", "mean", "first", "last")


async def read_buckets(
    database: Database, run: RunRow, keys: Sequence[str], buckets: int, min_step: int | None, max_step: int | None
) -> AsyncGenerator[tuple[list[Column], int, dict[str, Any]], None]:
    """Yields the columns, number of rows and head of each metric's batch; rows are ordered by writer and step.

    A bucket without finite values has NaN for min, max and mean; its counts of NaN and infinities say what it contains.
    """
    standing = Standing(database, run.run_id)
    for key in keys:
        async with standing.snapshot(_ALL_STEPS) as connection:
            rows = await connection.fetch(database.sql["sample"], run.run_id, key, buckets, min_step, max_step)
        writers = sorted({row["writer"] for row in rows})
        index = {name: number for number, name in enumerate(writers)}
        columns = [Column("writer", np.array([index[row["writer"]] for row in rows], np.int32))]
        columns += [Column(name, np.array([row[name] for row in rows], np.int64)) for name in _INTEGERS]
        columns += [
            Column(name, np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64))
            for name in _DOUBLES
        ]
        width = max((row["bucket_width"] for row in rows), default=1)
        points = sum(row["count"] for row in rows)
        by = f"buckets of {width} steps: count, min, max, mean, first, last, NaN and Inf of each"
        head = {"kind": "buckets", "key": key, "writers": writers, "bucket_width": width}
        yield columns, len(rows), {**head, "sampled": {"from": points, "by": by}}
