"""Validated data cannot make COPY fail, checked against Postgres itself with JSON of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fixtures.ingest import T0
from stepwell import wire
from stepwell.errors import RejectionError
from stepwell_ingest.write.validation import check

pytestmark = pytest.mark.db

DIGITS = st.text("0123456789", min_size=1, max_size=6)
EXPONENTS = st.one_of(
    st.just(""), st.builds("{}{}{}".format, st.sampled_from("eE"), st.sampled_from(["", "+", "-"]), DIGITS)
)
FRACTIONS = st.one_of(
    st.just(""), DIGITS.map(".{}".format), st.integers(8_000, 17_000).map(lambda n: "." + "0" * n + "1")
)
NUMBERS = st.builds("{}{}{}{}".format, st.sampled_from(["", "-"]), st.integers(0, 99), FRACTIONS, EXPONENTS)
ESCAPES = st.sampled_from(
    [
        r"\u0000",
        r"\\u0000",
        r"\\\u0000",
        r"\ud800",
        r"\udc00",
        r"\ud83d\ude00",
        r"\n",
        r"\/",
        "\\",
        "1e-20000",
        "\x7f",
        "\uffff",
    ]
)
STRINGS = st.lists(ESCAPES | st.text(max_size=3), max_size=4).map(lambda parts: f'"{"".join(parts)}"')
PAIRS = st.tuples(STRINGS, NUMBERS).map(":".join)
TEXTS = st.recursive(
    NUMBERS | STRINGS | st.sampled_from(["null", "true", "NaN", "Infinity", ""]),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
    | st.lists(PAIRS, max_size=2).map(lambda items: f"{{{','.join(items)}}}"),
    max_leaves=4,
)  # fmt: skip


@pytest.fixture
async def pg(any_shared_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(any_shared_dsn)
    yield connection
    await connection.close()


def passes(body: bytes) -> bool:
    block = wire.Block(b"", *(np.array([number], "i8") for number in (0, T0)), np.empty((0, 1)))
    try:
        check(wire.decode(wire.encode(bytes(16), 0, [block], [wire.Object(0, T0, "key", body)])), -1, 1 << 20)
    except RejectionError:
        return False
    return True


async def postgres_takes(pg: asyncpg.Connection, body: bytes) -> bool:
    try:
        await pg.fetchval("SELECT convert_from($1, 'UTF8')::jsonb IS NOT NULL", body)
    except asyncpg.DataError:
        return False
    return True


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=TEXTS)
@example(text="1e-20000")
@example(text="0." + "0" * 16_383 + "1")
@example(text="0." + "0" * 16_382 + "1")
@example(text='{"1e-20000": "1e-20000"}')
@example(text="0e999999999999999999")
@example(text="-0.0e-16382")
@example(text="1.5e-16383")
@example(text='["\\"", 1e-17000]')
@example(text="[" * 1000 + "]" * 1000)
@example(text='{"a":' * 1000 + "1" + "}" * 1000)
async def test_validated_values_are_accepted_by_postgres(pg: asyncpg.Connection, text: str) -> None:
    body = text.encode("utf-8", "surrogatepass")
    if passes(body):
        assert await postgres_takes(pg, body)


@pytest.mark.parametrize(
    "text", ["1e-16383", "0." + "0" * 16_382 + "1", "1e300", "-0.0", "12345678901234567890.5", '"1e-20000"', '"."']
)
async def test_unusual_valid_values_are_accepted(pg: asyncpg.Connection, text: str) -> None:
    assert passes(text.encode())
    assert await postgres_takes(pg, text.encode())
