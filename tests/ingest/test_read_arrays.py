"""Arrays of any shape survive the binary format of Postgres, and ranges are cut exactly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import numpy as np
import pytest

from fixtures.ingest import Session, start_worker
from fixtures.reads import frame, store
from stepwell_ingest.read.arrays import TooMuch, decode_array, fetch
from stepwell_schema import queries

pytestmark = pytest.mark.db

BITS = np.array([0x7FF8000000000001, 0xFFF0000000000000, 1 << 63, 1], np.uint64).view(np.float64)


@pytest.mark.parametrize(("kind", "item"), [("float8", ">f8"), ("float4", ">f4"), ("int4", ">i4")])
@pytest.mark.parametrize("length", [0, 1, 5])
async def test_elements_match_postgres(any_pg: asyncpg.Connection, kind: str, item: str, length: int) -> None:
    numbers = [-2, 1, 3, 4, 5][:length]
    flat = await any_pg.fetchval(f"SELECT array_send($1::{kind}[])", numbers)
    assert decode_array(flat, item).tolist() == numbers
    if length:
        matrix = await any_pg.fetchval(f"SELECT array_send(ARRAY[$1::{kind}[], $1::{kind}[]])", numbers)
        assert decode_array(matrix, item).tolist() == numbers * 2


async def test_floats_are_bit_exact(any_pg: asyncpg.Connection) -> None:
    sent = await any_pg.fetchval("SELECT array_send($1::float8[])", BITS.tolist())
    assert decode_array(sent, ">f8").astype(np.float64).view(np.uint64).tolist() == BITS.view(np.uint64).tolist()


@pytest.fixture
async def stored(any_postgres_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A run with blocks of 20 metrics and of one, a restart, and a fork of it at step 25."""
    first, second, child = Session(), Session(), Session(run="child")
    wide = {f"m{i}": np.arange(10.0) + i / 100 for i in range(20)}
    async with start_worker(any_postgres_dsn) as worker:
        await store(
            worker,
            first,
            *(frame(first, range(at, at + 10), wide) for at in (0, 10, 20, 30)),
            frame(first, [40], {"m0": [0.5]}),
        )
        await store(worker, second, frame(second, [33], {"m0": [7.0], "m1": [8.0]}))
        await store(worker, child, frame(child, [26], {"m0": [9.0]}), fork_run="run-1", fork_step=25)
    connection = await asyncpg.connect(any_postgres_dsn)
    yield connection
    await connection.close()


async def read(
    connection: asyncpg.Connection,
    names: list[str] | None,
    start: int,
    end: int,
    run: str = "run-1",
    room: int = 1 << 30,
) -> dict[str, dict[int, float]]:
    run_id = await connection.fetchval("SELECT run_id FROM stepwell.runs WHERE run = $1", run)
    async with connection.transaction():
        found = await fetch(connection, queries("read"), run_id, names, start, end, room, with_times=True)
    for series in found:
        assert series.times is not None
        assert (np.diff(series.steps) > 0).all()
        assert len(series.times) == len(series.steps) == len(series.values)
    return {series.metric: dict(zip(series.steps.tolist(), series.values.tolist(), strict=True)) for series in found}


@pytest.mark.parametrize("run", ["run-1", "child"])
async def test_any_range_matches_the_view(stored: asyncpg.Connection, run: str) -> None:
    for names in (None, ["m0"], ["m1", "m19", "nobody"], [f"m{i}" for i in range(18)]):
        for start, end in ((0, 100), (5, 6), (9, 11), (0, 0), (3, 17), (33, 34), (30, 41), (34, 99)):
            expected: dict[str, dict[int, float]] = {}
            for row in await stored.fetch(
                "SELECT metric, step, value FROM stepwell.history WHERE run = $1 AND step >= $2 AND step < $3 "
                "AND ($4::text[] IS NULL OR metric = ANY ($4))",
                *(run, start, end, names),
            ):
                expected.setdefault(row["metric"], {})[row["step"]] = row["value"]
            assert await read(stored, names, start, end, run) == expected, (names, start, end)


async def test_cache_is_bounded(stored: asyncpg.Connection) -> None:
    with pytest.raises(TooMuch):
        await read(stored, None, 0, 100, room=1000)
    small: Any = await read(stored, ["m0"], 0, 1, room=1000)
    assert small == {"m0": {0: 0.0}}
