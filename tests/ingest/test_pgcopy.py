"""The bytes of COPY: Postgres returns the same values, bit for bit, and would write the same bytes."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepwell import wire
from stepwell_ingest.write import pgcopy
from stepwell_ingest.write.pgcopy import BlockRow, NoteRow, ObjectRow

I64 = st.integers(-(2**63), 2**63 - 1)
I32 = st.integers(-(2**31), 2**31 - 1)
TIMES = st.integers(wire.MIN_TIME_US, wire.MAX_TIME_US)
SPECIAL = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, -1.7976931348623157e308, 2.0**53 + 1]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé\"\\\n𝄞", max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def blocks(draw: st.DrawFn) -> BlockRow:
    """Arrays of any shape; most numbers come from a seed, special ones from hypothesis."""
    keys, steps = draw(st.integers(0, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    some = np.array(draw(st.lists(I64, max_size=3)), np.int64)  # an empty list would convert all to floats
    moments = np.unique(np.append(rng.integers(-(2**63), 2**63 - 1, 3 * steps), some))
    times = rng.integers(wire.MIN_TIME_US, wire.MAX_TIME_US, steps, endpoint=True)
    times[draw(st.integers(0, steps - 1))] = draw(TIMES)
    values = rng.integers(0, 2**64, keys * steps, np.uint64).view(np.float64)  # any 64 bits are a valid value
    for place, value in draw(st.dictionaries(st.integers(0, 1600), st.sampled_from(SPECIAL), max_size=8)).items():
        if values.size:
            values[place % values.size] = value
    first = draw(st.sampled_from([0, len(moments) - steps]))
    return BlockRow(
        *(draw(st.integers(0, 2**40)), draw(st.integers(0, 2**63 - 1)), draw(I32), draw(I32)),
        rng.integers(-(2**31), 2**31, keys).astype(np.int32),
        moments[first : first + steps],
        times,
        values.reshape(keys, steps),
    )


def objects() -> st.SearchStrategy[ObjectRow]:
    keys = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30)
    return st.builds(
        ObjectRow, st.integers(0, 2**40), st.integers(0, 2**63 - 1), I64, I32, I32, TIMES,
        keys.map(str.encode), JSON.map(lambda value: json.dumps(value).encode()),
    )  # fmt: skip


@pytest.fixture
async def connection(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """Tables with the columns of the real ones, but without constraints."""
    connection = await asyncpg.connect(any_shared_dsn)
    await connection.execute(
        "; ".join(
            f"CREATE TEMP TABLE {name} (LIKE stepwell.{name} INCLUDING DEFAULTS)"
            for name in ("hot_block", "hot_object", "note")
        )
    )
    yield connection
    await connection.close()


async def copy_in(
    connection: asyncpg.Connection, table: str, columns: tuple[str, ...], pieces: Iterable[memoryview | bytes]
) -> str:
    async def source() -> AsyncIterator[memoryview | bytes]:
        for piece in pieces:
            yield piece

    return str(await connection.copy_to_table(table, columns=columns, source=source(), format="binary"))


async def copy_out(connection: asyncpg.Connection, table: str, columns: tuple[str, ...]) -> bytes:
    out = io.BytesIO()
    await connection.copy_from_query(f"SELECT {', '.join(columns)} FROM {table}", output=out, format="binary")
    return out.getvalue()


def by_shape(rows: Iterable[BlockRow]) -> list[BlockRow]:
    """The order in which rows are written: by shape, in the order of first occurrence."""
    groups: dict[tuple[int, ...], list[BlockRow]] = {}
    for row in rows:
        groups.setdefault(row.values.shape, []).append(row)
    return [row for group in groups.values() for row in group]


def to_time(us: int) -> datetime:
    return datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(microseconds=us)


def exact(text: str | bytes) -> object:
    """The value of a JSON text; jsonb keeps every digit of a number, but not how it was written."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


LIMITS = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@LIMITS
@given(rows=st.lists(blocks(), min_size=1, max_size=6))
async def test_blocks_are_bit_exact(connection: asyncpg.Connection, rows: list[BlockRow]) -> None:
    await connection.execute("TRUNCATE hot_block")
    data = list(pgcopy.block_pieces(rows))
    assert await copy_in(connection, "hot_block", pgcopy.BLOCK_COLUMNS, data) == f"COPY {len(rows)}"
    read = await connection.fetch("SELECT * FROM hot_block ORDER BY ctid")
    for row, back in zip(by_shape(rows), read, strict=True):
        assert (back["run_id"], back["seq"], back["writer_id"], back["epoch"]) == row[:4]
        assert (back["step_lo"], back["step_hi"]) == (row.steps[0], row.steps[-1])
        assert back["keys"] == row.keys.tolist()
        assert back["steps"] == row.steps.tolist()
        assert back["times"] == [to_time(us) for us in row.times.tolist()]
        values = np.array(back["vals"], np.float64).reshape(row.values.shape)
        ours, nan = row.values, np.isnan(row.values)
        assert (np.isnan(values) == nan).all()
        assert values[~nan].tobytes() == ours[~nan].tobytes()


@LIMITS
@given(rows=st.lists(blocks(), min_size=1, max_size=6))
async def test_block_bytes_match_postgres(connection: asyncpg.Connection, rows: list[BlockRow]) -> None:
    await connection.execute("TRUNCATE hot_block")
    data = b"".join(pgcopy.block_pieces(rows))
    await copy_in(connection, "hot_block", pgcopy.BLOCK_COLUMNS, [data])
    assert await copy_out(connection, "hot_block", pgcopy.BLOCK_COLUMNS) == data


@LIMITS
@given(rows=st.lists(objects(), min_size=1, max_size=20))
async def test_objects_round_trip(connection: asyncpg.Connection, rows: list[ObjectRow]) -> None:
    await connection.execute("TRUNCATE hot_object")
    data = b"".join(pgcopy.object_pieces(rows))
    assert await copy_in(connection, "hot_object", pgcopy.OBJECT_COLUMNS, [data]) == f"COPY {len(rows)}"
    read = await connection.fetch("SELECT * FROM hot_object ORDER BY ctid")
    for row, back in zip(rows, read, strict=True):
        assert (back["run_id"], back["seq"], back["step"], back["writer_id"], back["epoch"]) == row[:5]
        assert back["time"] == to_time(row.time)
        assert back["key"] == row.key.decode()
        assert exact(back["value"]) == exact(row.value)


async def test_object_bytes_match_postgres(connection: asyncpg.Connection) -> None:
    # in jsonb's own notation, so that the text round-trips
    bodies = [b'{"a": [1, 2.5, null, true]}', b'"\xc3\xa9 \\\\ \\" \\n"', b"[]", b"{}", b"false", b"-0.5", b'""']
    rows = [ObjectRow(1, n, 2**63 - 1, 3, 4, 10**15 + n, f"key {n}".encode(), body) for n, body in enumerate(bodies)]
    data = b"".join(pgcopy.object_pieces(rows))
    await copy_in(connection, "hot_object", pgcopy.OBJECT_COLUMNS, [data])
    assert await copy_out(connection, "hot_object", pgcopy.OBJECT_COLUMNS) == data


async def test_note_bytes_match_postgres(connection: asyncpg.Connection) -> None:
    bodies = [b'{"set": {"a": [1, 2.5, null, true]}}', b'"\xc3\xa9"', b"{}"]
    rows = [NoteRow(1, 2, 3, 2**63 - 1, n, n, 10**15 + n, f"ü{n}".encode(), body) for n, body in enumerate(bodies)]
    data = b"".join(pgcopy.note_pieces(rows))
    assert await copy_in(connection, "note", pgcopy.NOTE_COLUMNS, [data]) == "COPY 3"
    assert await copy_out(connection, "note", pgcopy.NOTE_COLUMNS) == data
    read = await connection.fetch("SELECT run_id, writer_id, epoch, seq, ord, step, kind FROM note ORDER BY ord")
    assert [tuple(row) for row in read] == [(1, 2, 3, 2**63 - 1, n, n, f"ü{n}") for n in range(3)]


def wide(count: int, keys: int, steps: int) -> list[BlockRow]:
    ids, moments = np.arange(keys, dtype=np.int32), np.arange(steps, dtype=np.int64)
    return [BlockRow(1, seq, 1, 1, ids, moments, moments, np.full((keys, steps), float(seq))) for seq in range(count)]


@pytest.mark.parametrize(("count", "keys", "steps"), [(20_000, 1, 1), (300, 100, 100), (3, 700, 1000), (2, 100_000, 1)])
async def test_pieces_are_bounded_and_join_to_rows(
    connection: asyncpg.Connection, count: int, keys: int, steps: int
) -> None:
    rows = wide(count, keys, steps)
    pieces = list(pgcopy.block_pieces(rows))
    assert max(map(len, pieces)) <= pgcopy.PIECE_BYTES
    assert await copy_in(connection, "hot_block", pgcopy.BLOCK_COLUMNS, pieces) == f"COPY {count}"
    wrong = "SELECT count(*) FROM hot_block WHERE vals[1][1] <> seq OR cardinality(vals) <> $1"
    assert await connection.fetchval(wrong, keys * steps) == 0


async def test_pieces_of_objects_are_bounded_by_one_object(connection: asyncpg.Connection) -> None:
    body = json.dumps("x" * 100_000).encode()
    rows = [ObjectRow(1, n, n, 1, 1, 0, b"text", body) for n in range(40)]
    pieces = list(pgcopy.object_pieces(rows))
    assert len(pieces) > 5
    assert max(map(len, pieces)) <= pgcopy.PIECE_BYTES + len(body) + 200
    assert await copy_in(connection, "hot_object", pgcopy.OBJECT_COLUMNS, pieces) == "COPY 40"


def test_template_cache_is_bounded() -> None:
    # A template is as large as its row, so those of many large shapes must not stay in memory.
    pgcopy._kept_template.cache_clear()
    for steps in range(200, 210):
        list(pgcopy.block_pieces(wide(1, 100, steps)))
    assert pgcopy._kept_template.cache_info().currsize == 0
    list(pgcopy.block_pieces(wide(2, 100, 100)))
    assert pgcopy._kept_template.cache_info().currsize == 1
    assert pgcopy._row_template(100, 100).nbytes * pgcopy._kept_template.cache_info().maxsize < 64 * 1024 * 1024


def test_no_rows_give_an_empty_copy() -> None:
    assert b"".join(pgcopy.block_pieces([])) == pgcopy.SIGNATURE + pgcopy.TRAILER
    assert b"".join(pgcopy.object_pieces([])) == pgcopy.SIGNATURE + pgcopy.TRAILER
