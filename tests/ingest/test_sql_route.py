"""`POST /v1/sql`: answers as JSON and CSV, their limits, and errors that show the position in a query."""

from __future__ import annotations

import csv
import io
from typing import Any

import aiohttp
import orjson
import pytest

from fixtures.ingest import Session, start_worker
from fixtures.reads import frame, store
from stepwell_ingest.config import Sql
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

#: SQL expressions and their values in JSON.
VALUES: list[tuple[str, Any]] = [
    ("9007199254740992", 9007199254740992),
    ("9007199254740993", "9007199254740993"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("ARRAY[1, 9223372036854775807]", [1, "9223372036854775807"]),
    ("'-Infinity'::float8", "-Infinity"),
    ("NULL", None),
    ("true", True),
    ("""'{"a": [1, null]}'::jsonb""", {"a": [1, None]}),
    ("""ARRAY['{"a": 1}'::jsonb]""", [{"a": 1}]),
    ("'2026-01-02 03:04:05+00'::timestamptz", "2026-01-02T03:04:05+00:00"),
    ("'\\x00ff'::bytea", "\\x00ff"),
    ("1.5::numeric", 1.5),
    ("sum(9007199254740993)", "9007199254740993"),
]


async def post(worker: Worker, query: str, path: str = "/v1/sql", **headers: str) -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(worker.url + path, json={"query": query}, headers=headers) as reply,
    ):
        return reply.status, reply.content_type, await reply.read()


async def ask(worker: Worker, query: str) -> Any:
    return orjson.loads((await post(worker, query))[2])


async def test_answer_has_columns_rows_and_time(any_worker: Worker) -> None:
    session = Session(run="a")
    await store(any_worker, session, frame(session, range(3), {"x": [1, 2, float("nan")]}))
    status, kind, raw = await post(any_worker, "SELECT run, step, value FROM history ORDER BY step")
    answer = orjson.loads(raw)
    assert (status, kind) == (200, "application/json")
    assert answer["columns"] == [
        {"name": "run", "type": "text"},
        {"name": "step", "type": "int8"},
        {"name": "value", "type": "float8"},
    ]
    assert answer["rows"] == [["a", 0, 1.0], ["a", 1, 2.0], ["a", 2, "NaN"]]
    assert answer["truncated"] is False
    assert isinstance(answer["elapsed_ms"], int)


async def test_values_survive_json(any_worker: Worker) -> None:
    answer = await ask(any_worker, f"SELECT {', '.join(expression for expression, _ in VALUES)}")
    assert answer["rows"] == [[value for _, value in VALUES]]


@pytest.mark.parametrize(("path", "accept"), [("/v1/sql?format=csv", "*/*"), ("/v1/sql", "text/csv")])
async def test_csv_by_parameter_or_by_header(worker: Worker, path: str, accept: str) -> None:
    query = (
        """SELECT 1 AS a, NULL AS b, 'x,"y"' AS c, '{"k": 1}'::jsonb AS d, 'NaN'::float8 AS e, 9007199254740993 AS f"""
    )
    status, kind, raw = await post(worker, query, path, Accept=accept)
    assert (status, kind) == (200, "text/csv")
    assert raw.decode() == 'a,b,c,d,e,f\n1,,"x,""y""","{""k"": 1}",NaN,9007199254740993\n'


async def test_empty_answer_is_complete(worker: Worker) -> None:
    assert (await ask(worker, "SELECT run FROM runs WHERE false"))["rows"] == []
    assert (await post(worker, "SELECT run FROM runs WHERE false", "/v1/sql?format=csv"))[2] == b"run\n"


@pytest.mark.parametrize(("rows", "truncated"), [(1, True), (9, True), (10, False), (11, False)])
async def test_answer_is_truncated_at_the_row_limit(postgres_dsn: str, rows: int, truncated: bool) -> None:
    async with start_worker(postgres_dsn, sql=Sql(rows=rows)) as worker:
        answer = await ask(worker, "SELECT generate_series(1, 10)")
        assert answer["rows"] == [[number + 1] for number in range(min(rows, 10))]
        assert answer["truncated"] is truncated


async def test_answer_is_truncated_at_the_byte_limit(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn, sql=Sql(answer_bytes=1000)) as worker:
        answer = await ask(worker, "SELECT repeat('x', 96) FROM generate_series(1, 50)")
        assert (len(answer["rows"]), answer["truncated"]) == (10, True)
        whole = await ask(worker, "SELECT repeat('x', 96) FROM generate_series(1, 10)")
        assert (len(whole["rows"]), whole["truncated"]) == (10, False)
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(worker, "SELECT repeat('x', 96) FROM generate_series(1, 50)", "/v1/sql?format=csv")


async def test_many_rows_arrive_in_batches(postgres_dsn: str) -> None:
    async with start_worker(postgres_dsn, sql=Sql(batch_bytes=10_000)) as worker:
        answer = await ask(worker, "SELECT i, repeat('x', i % 500) FROM generate_series(1, 20000) i")
        assert [row[0] for row in answer["rows"]] == list(range(1, 20001))
        assert all(len(text) == number % 500 for number, text in answer["rows"])


async def test_error_after_the_first_row_ends_the_answer(worker: Worker) -> None:
    answer = await ask(worker, "SELECT 1 / (5 - i) FROM generate_series(1, 9) i")
    assert answer["error"]["message"] == "division by zero"
    assert "truncated" not in answer


@pytest.mark.parametrize(
    ("query", "position", "hint"),
    [
        ("SELECT metrc FROM history", 8, "similar names: metric"),
        ("SELECT h.metrc FROM history h", 8, "similar names: metric"),
        ('SELECT "metrc" FROM history', 8, "similar names: metric"),
        ("SELECT run\nFROM histroy", 17, "similar names: history"),
        ("SELECT run FROM stepwell.histroy", 17, "similar names: history"),
    ],
)
async def test_unknown_name_gives_position_and_suggestions(
    any_worker: Worker, query: str, position: int, hint: str
) -> None:
    status, _, raw = await post(any_worker, query)
    error = orjson.loads(raw)["error"]
    assert (status, error["code"], error["position"]) == (400, "usage", position)
    assert error["hint"].startswith(hint)
    assert "does not exist" in error["message"]
    assert error["detail"].endswith("^")


async def test_syntax_error_shows_the_line(worker: Worker) -> None:
    error = (await ask(worker, "SELECT 'ü'\n  FRM runs"))["error"]
    assert error["sqlstate"] == "42601"
    line, mark = error["detail"].split("\n")
    assert line == "line 2:   FRM runs"
    assert line[len(mark) - 1 :] == "runs"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"SELECT 1", "the body must be JSON"),
        (b"[]", "the body has no query"),
        (b'{"query": 3}', "the body has no query"),
        (b'{"query": " ; "}', "the body has no query"),
        (b'{"query": "SELECT 1", "timeout_s": 0}', "'timeout_s' must be a number of seconds above 0"),
        (b'{"query": "SELECT 1", "values": "csv"}', "'values' must be json or text"),
        (b'{"query": "SELECT 1", "hints": 1}', "'hints' must be true or false"),
        (b'{"query": "SELECT 1", "colour": 1}', "unknown field 'colour'"),
        (b'{"query": "' + b"x" * 2**20 + b'"}', "the query is too long"),
    ],
)
async def test_invalid_body_is_refused(worker: Worker, body: bytes, message: str) -> None:
    async with aiohttp.ClientSession() as http, http.post(f"{worker.url}/v1/sql", data=io.BytesIO(body)) as reply:
        assert (reply.status, (await reply.json())["error"]["message"]) == (400, message)


async def test_text_values_equal_csv(worker: Worker) -> None:
    query = f"SELECT {', '.join(expression for expression, _ in VALUES)}"
    body = {"query": query, "values": "text"}
    async with aiohttp.ClientSession() as http, http.post(f"{worker.url}/v1/sql", json=body) as reply:
        (row,) = (await reply.json())["rows"]
    csv_row = next(
        csv.reader(io.StringIO((await post(worker, query, "/v1/sql?format=csv"))[2].decode().split("\n")[1]))
    )
    assert [value or "" for value in row] == csv_row
    assert row[:4] == ["9007199254740992", "9007199254740993", "-9223372036854775808", "[1, 9223372036854775807]"]


async def test_hints_name_unknown_metrics(any_worker: Worker) -> None:
    session = Session(run="a")
    await store(any_worker, session, frame(session, range(3), {"train/loss": [1, 2, 3]}))
    query = "SELECT max(value) FROM history WHERE run = 'a' AND metric = '{}'"
    for metric, hints, told in (
        ("train/los", True, ["there is no metric 'train/los'; similar names: train/loss"]),
        ("train/los", False, None),
        ("train/loss", True, None),
    ):
        body = {"query": query.format(metric), "hints": hints}
        async with aiohttp.ClientSession() as http, http.post(f"{any_worker.url}/v1/sql", json=body) as reply:
            assert (await reply.json()).get("hints") == told
