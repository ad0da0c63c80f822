"""The views `summary` and `definitions`: one value per key, with and without a condition on the key."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import pytest

pytestmark = pytest.mark.db

T0 = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
NAN, INF = float("nan"), float("inf")


class Book:
    """Inserts logged values and notes directly into the tables, in order of time."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.pg = connection
        self.clock = itertools.count(1)
        self.seqs = itertools.count()

    async def attach(self, run: str = "run-1", writer: str = "0", **info: Any) -> tuple[int, int, int]:
        row = await self.pg.fetchrow(
            "SELECT run_id, writer_id, epoch "
            "FROM stepwell.attach_v1('team', 'mnist', $1, $2, gen_random_uuid(), false, $3::jsonb)",
            *(run, writer, json.dumps(info)),
        )
        return tuple(row)

    async def log(self, key: tuple[int, int, int], step: int, **row: Any) -> None:
        """Stores numbers as points, Ellipsis as None, and everything else as an object."""
        at = T0 + timedelta(seconds=next(self.clock))
        for name, value in row.items():
            name = name.replace("__", ".")
            if isinstance(value, int | float):
                ids = dict(await self.pg.fetch("SELECT * FROM stepwell.intern_metrics_v1($1, $2, 99)", key[0], [name]))
                await self.pg.execute(
                    "INSERT INTO stepwell.hot_block VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9)",
                    *(key[0], next(self.seqs), step, *key[1:], [ids[name]], [step], [at], [[float(value)]]),
                )
            else:
                body = json.dumps(None if value is ... else value)
                await self.pg.execute(
                    "INSERT INTO stepwell.hot_object VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    *(key[0], next(self.seqs), step, *key[1:], at, name, body),
                )
        await self.pg.execute(
            "UPDATE stepwell.ledger SET last_step = greatest(last_step, $4), first_step = least(first_step, $4) "
            "WHERE (run_id, writer_id, epoch) = ($1, $2, $3)",
            *(*key, step),
        )

    async def say(self, key: tuple[int, int, int], kind: str, step: int, value: Any) -> None:
        at = T0 + timedelta(seconds=next(self.clock))
        await self.pg.execute(
            "INSERT INTO stepwell.note VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8)",
            *(*key, next(self.seqs), step, at, kind, json.dumps(value)),
        )

    async def summary(self, run: str = "run-1") -> dict[str, Any]:
        """The summary without `_step` and the like; checks that each key queried alone has the same value."""
        rows = await self.pg.fetch("SELECT key, value, number FROM stepwell.summary WHERE run = $1", run)
        found = {row["key"]: json.loads(row["value"]) for row in rows}
        assert len(found) == len(rows)
        for row in rows:
            query = f"SELECT key, value, number FROM stepwell.summary WHERE project = 'mnist' AND key = '{row['key']}'"
            alone = await self.pg.fetch(f"{query} AND run = $1", run)
            assert repr(alone) == repr([row])  # NaN is not equal to itself
            assert repr(row) in map(repr, await self.pg.fetch(query))
        return {key: value for key, value in found.items() if key not in ("_step", "_timestamp", "_runtime")}


@pytest.fixture
async def book(any_postgres_dsn: str) -> AsyncIterator[Book]:
    connection = await asyncpg.connect(any_postgres_dsn)
    await connection.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    yield Book(connection)
    await connection.close()


async def test_default_is_the_last_value_of_each_metric(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 5, loss=1.5, text="a", list=[1, {"a": None}], a__b=7)
    await book.log(key, 9, loss=0.25, text=..., acc=NAN, low=-INF, big={"_type": "float64", "value": "Infinity"})
    assert await book.summary() == {
        "loss": 0.25,
        "text": "a",
        "list": [1, {"a": None}],
        "a.b": 7,
        "acc": "NaN",
        "low": "-Infinity",
        "big": "Infinity",
    }


async def test_numbers_are_also_shown_as_numbers(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 5, loss=0.1, acc=NAN, low=-INF, text="a", list=[1], big=2**60)
    await book.say(key, "summary", 6, {"set": {"best": 3, "high": "Infinity"}})
    rows = await book.pg.fetch("SELECT key, number FROM stepwell.summary WHERE key NOT LIKE '\\_%'")
    assert repr(sorted(map(tuple, rows))) == repr(
        [
            *[("acc", NAN), ("best", 3.0), ("big", 2.0**60), ("high", INF), ("list", None), ("loss", 0.1)],
            *[("low", -INF), ("text", None)],
        ]
    )


async def test_step_time_and_runtime_come_from_the_last_row(book: Book) -> None:
    key = await book.attach(started_at=T0.timestamp())
    await book.log(key, 5, loss=1)
    await book.log(key, 7, text="x")
    rows = await book.pg.fetch("SELECT key, value FROM stepwell.summary WHERE key LIKE '\\_%'")
    stamp = T0.timestamp() + 2
    assert {row["key"]: json.loads(row["value"]) for row in rows} == {"_step": 7, "_timestamp": stamp, "_runtime": 2}


async def test_runtime_counts_from_the_first_process_of_a_writer(book: Book) -> None:
    at = T0.timestamp()
    for started_at in (at - 5, at - 1, "soon", at - 9, at):
        key = await book.attach(started_at=started_at)
    await book.log(key, 1, loss=1)
    (runtime,) = await book.pg.fetchrow("SELECT value FROM stepwell.summary WHERE key = '_runtime'")
    assert json.loads(runtime) == 1 + 9


async def test_metric_with_numbers_and_texts_shows_the_latest(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 1, a=1, b="x")
    await book.log(key, 2, a="y", b=2)
    assert await book.summary() == {"a": "y", "b": 2}


async def test_highest_step_wins_then_latest_time(book: Book) -> None:
    first, second = await book.attach(), await book.attach(writer="1")
    await book.log(first, 10, loss=1, tied=1)
    await book.log(second, 9, loss=2)
    await book.log(second, 10, tied=2)
    assert await book.summary() == {"loss": 1, "tied": 2}


async def test_set_value_stays_until_the_metric_is_logged_again(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 3, a=1, b=1)
    await book.say(key, "summary", 4, {"set": {"a": 9, "b": 9, "best": "x", "c.d": NAN and "NaN"}})
    assert await book.summary() == {"a": 9, "b": 9, "best": "x", "c.d": "NaN"}
    await book.log(key, 4, b=2)
    await book.say(key, "summary", 5, {"set": {"a": 10}})
    assert await book.summary() == {"a": 10, "b": 2, "best": "x", "c.d": "NaN"}


async def test_set_media_are_shown_when_their_files_are_stored(book: Book) -> None:
    key = await book.attach()
    page = {"_type": "html-file", "sha256": "ab" * 32, "size": 5, "path": "media/html/page_summary_ab.html"}
    await book.say(key, "summary", 1, {"set": {"page": "before", "other": 1}})
    await book.say(key, "summary", 1, {"unset": ["page"]})
    await book.say(key, "summary", 1, {"set": {"page": page}})
    assert await book.summary() == {"other": 1}
    await book.pg.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 5)", bytes.fromhex(page["sha256"]))
    assert await book.summary() == {"other": 1, "page": page}


async def test_unset_removes_a_key_and_nested_keys_until_reused(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 1, a__x=1, a__y=1, ab=1)
    await book.say(key, "summary", 2, {"set": {"z": 1, "a.w": 1}})
    await book.say(key, "summary", 2, {"unset": ["a", "z"]})
    assert await book.summary() == {"ab": 1}
    await book.log(key, 2, a__x=2)
    await book.say(key, "summary", 3, {"unset": ["z"], "set": {"z": 5}})
    assert await book.summary() == {"a.x": 2, "ab": 1, "z": 5}


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ({"summary": ["min"]}, {"min": 1}),
        ({"summary": ["min", "max", "mean", "last", "first"]}, {"min": 1, "max": 3, "mean": 2, "last": 2, "first": 3}),
        ({"summary": ["best"]}, {"best": 1}),
        ({"summary": ["best"], "goal": "maximize"}, {"best": 3}),
        ({"summary": ["copy"]}, 2),
        ({"hidden": True}, 2),
        ({"summary": ["none", "min"]}, None),
        ({"summary": ["unheard of"]}, None),
    ],
)
async def test_definition_selects_the_aggregate(book: Book, definition: dict[str, Any], expected: Any) -> None:
    key = await book.attach()
    await book.log(key, 0, loss=3)
    await book.log(key, 1, loss=1)
    await book.say(key, "define", 2, {"name": "loss", **definition})
    await book.log(key, 2, loss=2)
    assert await book.summary() == ({} if expected is None else {"loss": expected})


async def test_nan_is_excluded_from_extremes_only(book: Book) -> None:
    key = await book.attach()
    for step, value in enumerate([NAN, 4, 2, NAN]):
        await book.log(key, step, loss=value, bad=NAN, text=f"t{step}")
    await book.say(key, "define", 0, {"glob": "*", "summary": ["min", "max", "mean", "first", "last"]})
    assert await book.summary() == {
        "loss": {"min": 2, "max": 4, "mean": 3, "first": "NaN", "last": "NaN"},
        "bad": {"first": "NaN", "last": "NaN"},
        "text": {"first": "t0", "last": "t3"},
    }


async def test_precedence_of_names_and_globs(book: Book) -> None:
    key = await book.attach()
    await book.log(key, 0, a=1, abc=1, abcd=1, _p=1)
    await book.say(key, "define", 0, {"glob": "*", "summary": ["max"]})
    await book.say(key, "define", 0, {"glob": "ab*", "summary": ["min"]})
    await book.say(key, "define", 0, {"name": "abcd"})
    assert await book.summary() == {"a": {"max": 1}, "abc": {"min": 1}, "abcd": 1, "_p": 1}


async def test_definitions_accumulate_unless_overwrite(book: Book) -> None:
    key = await book.attach()
    await book.say(key, "define", 0, {"name": "loss", "summary": ["min"], "step_metric": "epoch", "step_sync": True})
    await book.say(key, "define", 0, {"name": "loss", "summary": ["max"], "hidden": True})
    await book.say(key, "define", 0, {"name": "acc", "summary": ["min"], "goal": "minimize"})
    await book.say(key, "define", 0, {"name": "acc", "summary": ["last"], "overwrite": True})
    query = "SELECT name, is_glob, step_metric, step_sync, hidden, summary, goal FROM stepwell.definitions ORDER BY 1"
    assert [tuple(row) for row in await book.pg.fetch(query)] == [
        ("acc", False, None, False, False, ["last"], None),
        ("loss", False, "epoch", True, True, ["max", "min"], None),
    ]


async def test_setting_a_value_ends_its_definition(book: Book) -> None:
    key = await book.attach()
    await book.say(key, "define", 0, {"name": "loss", "summary": ["min"]})
    await book.log(key, 0, loss=3)
    await book.say(key, "summary", 1, {"set": {"loss": 7}})
    assert await book.summary() == {"loss": 7}
    await book.log(key, 1, loss=5)
    assert await book.summary() == {"loss": 5}


async def test_superseded_points_are_excluded(book: Book) -> None:
    old = await book.attach()
    for step in range(10):
        await book.log(old, step, loss=step)
    await book.say(old, "summary", 3, {"set": {"kept": 1}})
    await book.say(old, "summary", 4, {"set": {"behind step 3": 1}})
    await book.say(old, "summary", 9, {"set": {"gone": 1}})
    await book.pg.execute("UPDATE stepwell.ledger SET visible_below = 4")
    assert await book.summary() == {"loss": 3, "kept": 1, "behind step 3": 1}


async def test_fork_shows_the_summary_of_its_parent_at_the_fork_step(book: Book) -> None:
    parent = await book.attach()
    await book.say(parent, "define", 0, {"name": "loss", "summary": ["max"]})
    for step in range(10):
        await book.log(parent, step, loss=step)
    await book.say(parent, "summary", 10, {"set": {"end": 1}})
    row = await book.pg.fetchrow(
        "SELECT run_id, writer_id, epoch FROM stepwell.attach_v1("
        "'team', 'mnist', 'fork', '0', gen_random_uuid(), false, '{}', fork_run => 'run-1', fork_step_ => 4)"
    )
    assert await book.summary("fork") == {"loss": {"max": 4}}
    await book.log(tuple(row), 5, loss=100)
    assert await book.summary("fork") == {"loss": {"max": 100}}
    assert await book.summary("run-1") == {"loss": {"max": 9}, "end": 1}


NONSENSE: list[Any] = [
    *(None, 5, "text", [], [1], {}),
    {"set": 1, "unset": {}, "name": 5, "glob": None, "tags": "x", "summary": "min"},
    {"set": [1], "unset": [None, 1], "name": {"a": 1}, "tags": [None, {}], "step_sync": "maybe", "summary": [[1]]},
]


async def test_invalid_notes_break_no_view(book: Book) -> None:
    key = await book.attach(config={"lr": 1})
    await book.log(key, 0, loss=3)
    for kind in ("summary", "define", "config", "meta"):
        for value in NONSENSE:
            await book.say(key, kind, 0, value)
            assert (await book.summary())["loss"] == 3
            row = await book.pg.fetchrow("SELECT * FROM stepwell.runs")
            assert json.loads(row["config"])["lr"] == 1
            await book.pg.fetch("SELECT * FROM stepwell.definitions")


async def test_run_without_values_has_no_summary(book: Book) -> None:
    await book.attach()
    assert await book.pg.fetch("SELECT * FROM stepwell.summary") == []
