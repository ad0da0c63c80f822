"""`POST /v1/sql` as Arrow and as Parquet: types, exact values, bounds, and a server without pyarrow."""

from __future__ import annotations

import datetime
import io
import math
import sys
from typing import Any

import aiohttp
import orjson
import pyarrow.ipc
import pyarrow.parquet
import pytest

from fixtures.ingest import Session, start_worker
from fixtures.reads import frame, store
from stepwell_ingest.config import Sql
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

UTC = datetime.UTC
#: SQL expressions, the Arrow type of each and its value.
VALUES: list[tuple[str, str, Any]] = [
    ("9223372036854775807", "int64", 2**63 - 1),
    ("(-5)::int2", "int16", -5),
    ("7::int4", "int32", 7),
    ("0.1::float8", "double", 0.1),
    ("'-Infinity'::float8", "double", -math.inf),
    ("0.5::float4", "float", 0.5),
    ("true", "bool", True),
    ("NULL::text", "string", None),
    ("'ü'::text", "string", "ü"),
    ("1.25::numeric", "double", 1.25),
    ("sum(9007199254740993)", "double", float(9007199254740993)),
    ("'2026-01-02'::date", "date32[day]", datetime.date(2026, 1, 2)),
    (
        "'2026-01-02 03:04:05.000006+01'::timestamptz",
        "timestamp[us, tz=UTC]",
        datetime.datetime(2026, 1, 2, 2, 4, 5, 6, UTC),
    ),
    ("'2026-01-02 03:04:05'::timestamp", "timestamp[us]", datetime.datetime(2026, 1, 2, 3, 4, 5)),  # noqa: DTZ001
    ("'\\x00ff'::bytea", "binary", b"\x00\xff"),
    ("ARRAY[1, NULL, 9223372036854775807]", "list<item: int64>", [1, None, 2**63 - 1]),
    ("ARRAY['a', 'b']", "list<item: string>", ["a", "b"]),
    ("""'{"a": [1, null]}'::jsonb""", "string", '{"a": [1, null]}'),
    ("interval '1 hour'", "string", "1:00:00"),
]


def read(format_: str, raw: bytes) -> Any:
    if format_ == "parquet":
        return pyarrow.parquet.read_table(io.BytesIO(raw))
    return pyarrow.ipc.open_stream(raw).read_all()


async def post(worker: Worker, query: str, path: str, **headers: str) -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as http,
        http.post(worker.url + path, json={"query": query}, headers=headers) as reply,
    ):
        return reply.status, reply.content_type, await reply.read()


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
async def test_values_and_types(worker: Worker, format_: str) -> None:
    query = "SELECT " + ", ".join(f"{expression} AS c{n}" for n, (expression, _, _) in enumerate(VALUES))
    status, kind, raw = await post(worker, query, f"/v1/sql?format={format_}")
    assert (status, kind.startswith("application/vnd.apache.")) == (200, True)
    table = read(format_, raw)
    found = [str(field.type).replace("element:", "item:") for field in table.schema]
    assert found == [kind for _, kind, _ in VALUES]
    assert list(table.to_pylist()[0].values()) == [value for _, _, value in VALUES]


async def test_history_is_exact_and_named_by_accept(any_worker: Worker) -> None:
    session = Session(run="a")
    await store(any_worker, session, frame(session, range(3), {"x": [0.1, 2, float("nan")]}))
    query = "SELECT run_id, step, time, value FROM history ORDER BY step"
    status, kind, raw = await post(any_worker, query, "/v1/sql", Accept="application/vnd.apache.arrow.stream")
    table = read("arrow", raw)
    assert (status, kind, table["step"].to_pylist()) == (200, "application/vnd.apache.arrow.stream", [0, 1, 2])
    assert table["value"].to_pylist()[:2] == [0.1, 2.0]
    assert math.isnan(table["value"].to_pylist()[2])


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
async def test_many_batches_and_none(postgres_dsn: str, format_: str) -> None:
    async with start_worker(postgres_dsn, sql=Sql(batch_bytes=20_000)) as worker:
        path = f"/v1/sql?format={format_}"
        table = read(format_, (await post(worker, "SELECT generate_series(1, 20000) AS n", path))[2])
        assert table["n"].to_pylist() == list(range(1, 20001))
        empty = read(format_, (await post(worker, "SELECT run, points FROM runs WHERE false", path))[2])
        assert (empty.num_rows, empty.column_names) == (0, ["run", "points"])


@pytest.mark.parametrize("format_", ["arrow", "parquet"])
@pytest.mark.parametrize("limits", [{"rows": 10}, {"answer_bytes": 500}])
async def test_truncated_answer_is_cut_off(postgres_dsn: str, format_: str, limits: dict[str, int]) -> None:
    async with start_worker(postgres_dsn, sql=Sql(**limits)) as worker:
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(worker, "SELECT generate_series(1, 5000) AS n", f"/v1/sql?format={format_}")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 AS a, 2 AS a", "two columns are called 'a'"),
        ("SELECT ARRAY[[1, 2], [3, 4]] AS a", "the column 'a' has a value that Arrow cannot hold"),
        ("SELECT metrc FROM history", 'column "metrc" does not exist'),
    ],
)
async def test_errors_have_a_status_and_a_message(worker: Worker, query: str, message: str) -> None:
    status, _, raw = await post(worker, query, "/v1/sql?format=arrow")
    assert (status, orjson.loads(raw)["error"]["message"]) == (400, message)


async def test_server_without_pyarrow_says_so(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    status, _, raw = await post(worker, "SELECT 1 AS a", "/v1/sql?format=parquet")
    error = orjson.loads(raw)["error"]
    assert (status, error["message"].partition(":")[0]) == (400, "this server cannot send Arrow or Parquet")
    assert "pip install 'stepwell[arrow]'" in error["hint"]
