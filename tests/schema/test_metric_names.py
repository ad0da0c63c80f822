"""intern_metrics_v1: names get dense ids, once for each run, in any order and from any caller."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import asyncpg
import pytest

pytestmark = pytest.mark.db

LIMIT = 1000


@pytest.fixture
async def pool(any_shared_dsn: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(any_shared_dsn, min_size=4, max_size=10) as pool:
        await pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
        yield pool


async def new_run(pool: asyncpg.Pool) -> int:
    sql = (
        "SELECT run_id FROM stepwell.attach_v1"
        "('team', 'mnist', gen_random_uuid()::text, '0', gen_random_uuid(), false, '{}')"
    )
    return int(await pool.fetchval(sql))


async def intern(pool: asyncpg.Pool, run_id: int, names: list[str], limit: int = LIMIT) -> dict[str, int]:
    rows = await pool.fetch("SELECT name, metric_id FROM stepwell.intern_metrics_v1($1, $2, $3)", run_id, names, limit)
    return dict(rows)


async def test_names_get_consecutive_permanent_ids(pool: asyncpg.Pool) -> None:
    run_id = await new_run(pool)
    assert await intern(pool, run_id, ["b", "a"]) == {"b": 1, "a": 2}
    assert await intern(pool, run_id, ["c", "a", "d"]) == {"c": 3, "a": 2, "d": 4}
    assert await intern(pool, run_id, ["d"]) == {"d": 4}


async def test_ids_are_counted_per_run(pool: asyncpg.Pool) -> None:
    one, two = await new_run(pool), await new_run(pool)
    await intern(pool, one, ["x", "y"])
    assert await intern(pool, two, ["y"]) == {"y": 1}


async def test_concurrent_callers_get_dense_consistent_ids(pool: asyncpg.Pool) -> None:
    run_id = await new_run(pool)
    names = [f"layer/{number}/grad" for number in range(60)]
    rng = random.Random(7)
    answers = await asyncio.gather(*(intern(pool, run_id, rng.sample(names, 15)) for _ in range(40)))
    known: dict[str, int] = {}
    for answer in answers:
        assert len(answer) == 15
        for name, metric_id in answer.items():
            assert known.setdefault(name, metric_id) == metric_id
    assert sorted(known.values()) == list(range(1, len(known) + 1))


async def test_limit_is_exact_and_refusal_leaves_nothing(pool: asyncpg.Pool) -> None:
    run_id = await new_run(pool)
    await intern(pool, run_id, ["a", "b"], 3)
    with pytest.raises(asyncpg.PostgresError, match="the run would have 4 metric names; its limit is 3") as caught:
        await intern(pool, run_id, ["a", "c", "d"], 3)
    assert caught.value.sqlstate == "ST001"
    assert await intern(pool, run_id, ["a", "b", "c"], 3) == {"a": 1, "b": 2, "c": 3}
    assert await intern(pool, run_id, ["c"], 3) == {"c": 3}


async def test_limit_holds_for_concurrent_callers(pool: asyncpg.Pool) -> None:
    run_id = await new_run(pool)
    answers = await asyncio.gather(
        *(intern(pool, run_id, [f"n{number}", f"m{number}"], 10) for number in range(20)), return_exceptions=True
    )
    refused = [item for item in answers if isinstance(item, BaseException)]
    assert [getattr(item, "sqlstate", None) for item in refused] == ["ST001"] * 15
    ids = await pool.fetch("SELECT metric_id FROM stepwell.metric WHERE run_id = $1 ORDER BY 1", run_id)
    assert [row[0] for row in ids] == list(range(1, 11))


async def test_missing_run_has_its_own_error(pool: asyncpg.Pool) -> None:
    with pytest.raises(asyncpg.PostgresError, match="there is no run with the run_id 5") as caught:
        await intern(pool, 5, ["a"])
    assert caught.value.sqlstate == "ST002"


async def test_names_may_be_long_and_in_any_script(pool: asyncpg.Pool) -> None:
    run_id = await new_run(pool)
    rng = random.Random(1)
    # random, so that compression cannot make them fit in an index
    long = ["".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(5000)) for _ in range(3)]
    names = [*long, long[0][:-1], " ", "a.b", "A", "a", "é", "e\u0301", "🦊", "%s", "'; --"]
    ids = await intern(pool, run_id, names)
    assert [ids[name] for name in names] == list(range(1, len(names) + 1))
    assert await intern(pool, run_id, names[::-1]) == ids


async def test_no_names_give_no_ids(pool: asyncpg.Pool) -> None:
    assert await intern(pool, await new_run(pool), []) == {}
