"""COPY's binary format from numpy: Postgres accepts it and returns the same bytes; the Reader reads both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell_ingest.db.copyrows import SIGNATURE, TRAILER, ArrayColumn, Reader, pieces, row_template
from stepwell_ingest.seal import chunks
from stepwell_ingest.seal.chunks import CHUNK_COLUMNS, TRACK_COLUMNS, EpochKey, Track
from stepwell_ingest.seal.sealer import copy_out
from stepwell_ingest.seal.stretches import Stretch

pytestmark = pytest.mark.db

#: A run id of 2026-11, for which there is a partition.
RUN = int((np.datetime64("2026-11-10") - np.datetime64("2020-01-01")) / np.timedelta64(1, "ms")) << 20
EPOCH = EpochKey(RUN, 2, 3)
#: The microseconds since 2000 for the years 1970 and 9999.
FIRST_TIME, LAST_TIME = -946_684_800_000_000, 252_455_615_999_999_999


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_shared_dsn, server_settings={"TimeZone": "UTC"})
    await connection.execute("SELECT stepwell.ensure_partitions_v1('2026-11-01', 1)")
    yield connection
    await connection.close()


@st.composite
def tracks(draw: st.DrawFn) -> Track:
    steps = draw(
        st.one_of(
            st.lists(st.integers(0, 2**63 - 2), min_size=1, max_size=5, unique=True).map(sorted),
            st.builds(lambda lo, stride, n: [lo + stride * i for i in range(n)], *(st.integers(0, 9),) * 2, st.just(1)),
            st.builds(lambda n: list(range(7, 7 + n)), st.sampled_from([991, 992, 993, 1024])),
        )
    )
    rows = draw(st.integers(0, 3))
    near = st.integers(-(10**6), 2**31)
    at = draw(st.one_of(st.integers(FIRST_TIME + 10**7, LAST_TIME - 2**32), st.just(0)))
    if len(steps) < 10:
        times = [at + draw(near) for _ in steps]
        drawn = draw(st.lists(st.floats(), min_size=rows * len(steps), max_size=rows * len(steps)))
        values = np.array(drawn, np.float64).reshape(rows, len(steps))
    else:
        generator = np.random.default_rng(draw(st.integers(0, 2**32)))
        times = [at + number for number in range(len(steps))]
        kind = draw(st.sampled_from([np.float32, np.float64]))
        values = generator.standard_normal((rows, len(steps))).astype(kind).astype(np.float64)
    stretch = Stretch(np.arange(1, rows + 1, dtype=np.int32), np.array(steps, np.int64), np.array(times), values)
    return Track(draw(st.integers(1, 2**40)), stretch)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(track=tracks())
async def test_postgres_returns_the_same_bytes(connection: asyncpg.Connection, track: Track) -> None:
    transaction = connection.transaction()
    await transaction.start()
    try:
        row = chunks.track_row(EPOCH, track, 2, 77)
        assert await there_and_back(connection, "track", TRACK_COLUMNS, [row]) == [image([row])]
        rows, _ = chunks.chunk_rows(EPOCH, track)
        if rows:
            back = await there_and_back(connection, "chunk", CHUNK_COLUMNS, rows)
            assert sorted(back) == sorted(image([array[at : at + 1]]) for array in rows for at in range(len(array)))
        part = track.part
        found = await connection.fetchrow("SELECT * FROM stepwell.track")
        stepped = found["steps"] or [found["step_lo"] + found["stride"] * n for n in range(found["points"])]
        assert stepped == part.steps.tolist()
        for metric, values in zip(part.metric_ids.tolist(), part.values, strict=True):
            stored = await connection.fetchval(
                "SELECT coalesce(vals8 || rest8, (vals4 || rest4)::float8[]) FROM stepwell.chunk WHERE metric_id = $1",
                metric,
            )
            assert np.array(stored).tobytes() == values.tobytes()
    finally:
        await transaction.rollback()


def image(arrays: list[Any]) -> bytes:
    return b"".join(bytes(piece) for array in arrays for piece in pieces(array))


async def there_and_back(
    connection: asyncpg.Connection, table: str, columns: tuple[str, ...], arrays: list[Any]
) -> list[bytes]:
    """The rows as Postgres sends them, in separate messages."""

    async def source() -> AsyncIterator[bytes]:
        yield SIGNATURE + image(arrays) + TRAILER

    tag = await connection.copy_to_table(
        table, schema_name="stepwell", columns=columns, source=source(), format="binary"
    )
    assert tag == f"COPY {sum(map(len, arrays))}"
    ids = await connection.fetch(f"SELECT ctid, tableoid FROM stepwell.{table}")
    out = []
    for ctid, tableoid in ids:
        sql = f"SELECT {', '.join(columns)} FROM stepwell.{table} WHERE ctid = $1 AND tableoid = $2"
        raw = await copy_out(connection, sql, ctid, tableoid)
        assert raw.startswith(SIGNATURE)
        assert raw.endswith(TRAILER)
        out.append(bytes(raw[len(SIGNATURE) : -len(TRAILER)]))
    return out


async def test_reader_handles_every_field_type(connection: asyncpg.Connection) -> None:
    query = """
        SELECT * FROM (VALUES
            (1::int2, 2::int4, -3::int8, NULL::float8[], ARRAY[1.5, 'NaN', '-0']::float8[], '{}'::int4[], 'text'),
            (4, 5, 9223372036854775807, ARRAY[[1, 2, 3], [4, 5, 6]], '{}', ARRAY[7, -8], NULL)) AS rows
    """
    reader = Reader(await copy_out(connection, query))
    assert reader.next_row()
    assert [reader.integer() for _ in range(3)] == [1, 2, -3]
    assert reader.array("float8") is None
    found = reader.array("float8")
    assert found is not None
    assert found.astype(np.float64).tobytes() == np.array([1.5, np.nan, -0.0]).tobytes()
    empty = reader.array("int4")
    assert empty is not None
    assert empty.shape == (0,)
    assert reader.raw() == b"text"
    assert reader.next_row()
    assert [reader.integer() for _ in range(3)] == [4, 5, 2**63 - 1]
    matrix = reader.array("float8")
    assert matrix is not None
    assert matrix.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert reader.array("float8").size == 0  # type: ignore[union-attr]  # not NULL
    assert reader.array("int4").tolist() == [7, -8]  # type: ignore[union-attr]  # likewise
    assert reader.raw() is None
    assert not reader.next_row()


async def test_no_rows_are_read_as_empty(connection: asyncpg.Connection) -> None:
    assert not Reader(await copy_out(connection, "SELECT 1 WHERE false")).next_row()


@given(
    shape=st.none() | st.tuples(st.integers(0, 5)) | st.tuples(st.integers(0, 3), st.integers(0, 3)),
    kind=st.sampled_from(["int4", "int8", "float4", "float8", "timestamptz"]),
)
def test_reader_reads_template_output(shape: tuple[int, ...] | None, kind: str) -> None:
    row = row_template([("a", "int8"), ArrayColumn("b", kind, shape), ("c", "int2")])
    numbers = count(1)
    row["a"], row["c"] = -5, 6
    if shape is not None:
        size = int(np.prod(shape))
        row["b"]["value"] = np.array([[next(numbers) for _ in range(size)]])
    reader = Reader(SIGNATURE + image([row]) + TRAILER)
    assert reader.next_row()
    assert reader.integer() == -5
    found = reader.array(kind)
    if shape is None:
        assert found is None
    else:
        assert found is not None
        assert found.ravel().tolist() == list(range(1, int(np.prod(shape)) + 1))
        assert found.shape == (shape if all(shape) else (0,))
    assert reader.integer() == 6
    assert not reader.next_row()
