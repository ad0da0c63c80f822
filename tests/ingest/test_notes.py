"""Notes on the server: stored once and in order, in the ledger's transaction, and counted separately."""

from __future__ import annotations

import asyncpg
import orjson
import pytest

import stepwell_schema
from fixtures.ingest import T0, Client, Session, WritePath, get, post, stored_steps
from stepwell import wire
from stepwell.errors import UnavailableError
from stepwell_ingest.db.migrate import _BOOTSTRAP
from stepwell_ingest.server.worker import Worker
from stepwell_ingest.write.attachment import AttachRequest

pytestmark = pytest.mark.db

STORED = "SELECT writer_id, epoch, seq, ord, step, kind, value::text FROM stepwell.note ORDER BY run_id, seq, ord"


def notes(session: Session, *items: tuple[int, str, object]) -> bytes:
    """The session's next frame, with notes."""
    objects = [wire.Object(step, T0 + step, kind, orjson.dumps(value)) for step, kind, value in items]
    frame = wire.encode_notes(session.id, session.seq, objects)
    session.seq += 1
    return frame


async def test_notes_are_stored_in_order(write_path: WritePath) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    frames = [session.frame(3), notes(session, (3, "summary", {"set": {"a": 1}}), (0, "meta", {})), session.frame(2)]
    submission = write_path.put(cursor, *frames)
    await write_path.store()
    assert submission.done.result().stored == 3
    assert [tuple(row) for row in await write_path.pool.fetch(STORED)] == [
        (1, 1, 1, 0, 3, "summary", '{"set": {"a": 1}}'),
        (1, 1, 1, 1, 0, "meta", "{}"),
    ]
    assert await stored_steps(write_path.pool) == [0, 1, 2, 3, 4]
    ledger = await write_path.pool.fetchrow("SELECT next_seq, last_step, points, objects FROM stepwell.ledger")
    assert tuple(ledger) == (3, 4, 5, 0)


async def test_notes_alone_supersede_nothing(write_path: WritePath) -> None:
    first, second = Session(), Session()
    write_path.put(await write_path.attach(first), first.frame(3))
    await write_path.store()
    write_path.put(await write_path.attach(second), notes(second, (0, "meta", {"name": "again"})))
    await write_path.store()
    assert await stored_steps(write_path.pool) == [0, 1, 2]
    assert await write_path.pool.fetchval("SELECT first_step FROM stepwell.ledger WHERE epoch = 2") is None


async def test_repeated_notes_are_duplicates(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    session = Session()
    frame = notes(session, (0, "config", {"set": {"lr": 1}}))
    async with Client(any_worker) as client:
        await client.attach(session)
        assert (await client.exchange(frame))["stored"] == 1
    async with Client(any_worker) as client:
        await client.attach(session)
        assert (await client.exchange(frame))["duplicate"] == 1
    status, reply, _ = await post(any_worker, "/v1/frames", frame)
    assert (status, reply["writers"][0]["duplicate"]) == (200, 1)
    assert await any_pg.fetchval("SELECT count(*) FROM stepwell.note") == 1
    _, page, _ = await get(any_worker, "/metrics")
    assert "stepwell_notes_stored_total 1.0" in page
    assert "stepwell_objects_stored_total 0.0" in page


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


BAD_NOTES = [
    pytest.param("x" * 65, {}, id="kind"),
    pytest.param("config", {"set": {"a": "\0"}}, id="NUL"),
    pytest.param("config", {"set": {"a": nested(200)}}, id="depth"),
    pytest.param("object", {"key": "a", "step": "1", "time": T0, "value": 1}, id="step of an object"),
    pytest.param("object", {"key": "a", "step": 2**63 - 1, "time": T0, "value": 1}, id="step beyond the last"),
    pytest.param("object", {"key": "", "step": 1, "time": T0, "value": 1}, id="key of an object"),
    pytest.param("object", {"key": "a", "step": 1, "time": -1, "value": 1}, id="time of an object"),
    pytest.param("object", [1], id="no object"),
]


@pytest.mark.parametrize(("kind", "value"), BAD_NOTES)
async def test_bad_note_is_refused_alone(worker: Worker, postgres_dsn: str, kind: str, value: object) -> None:
    session = Session()
    picture = {"key": "a", "step": 0, "time": T0, "value": {"_type": "image-file"}}
    async with Client(worker) as client:
        await client.attach(session)
        frame = notes(session, (0, "meta", {"name": "x"}), (0, kind, value), (0, "object", picture))
        reply = await client.exchange(frame)
        assert ([item["code"] for item in reply["rejected"]], reply["stored"]) == (["object"], 1)
        assert "1 of 3 notes are refused, and the others are stored" in str(reply["rejected"])
        assert (await client.exchange(session.frame(1)))["stored"] == 1
    async with Client(worker) as client:  # a retry gets it again
        await client.attach(session)
        again = await client.exchange(frame)
        assert ([item["seq"] for item in again["rejected"]], again["duplicate"]) == ([0], 1)
    connection = await asyncpg.connect(postgres_dsn)
    try:
        stored = await connection.fetch("SELECT kind, ord FROM stepwell.note ORDER BY seq, ord")
        assert [tuple(row) for row in stored] == [("meta", 0), ("object", 1)]
        rejection = await connection.fetchrow("SELECT seq, code, points, objects FROM stepwell.rejections")
        assert tuple(rejection) == (0, "object", 0, 0)
        assert await connection.fetchval("SELECT rejected FROM stepwell.ledger") == 1
    finally:
        await connection.close()
    _, page, _ = await get(worker, "/metrics")
    assert "stepwell_notes_stored_total 2.0" in page


async def test_frame_of_bad_notes_is_refused(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(any_worker) as client:
        await client.attach(session)
        reply = await client.exchange(notes(session, (0, "x" * 65, {}), (0, "meta", "\0")))
        assert ([item["code"] for item in reply["rejected"]], reply["stored"]) == (["object"], 0)
    assert await any_pg.fetchval("SELECT count(*) FROM stepwell.note") == 0


async def test_attach_nesting_is_limited(worker: Worker) -> None:
    async with Client(worker) as client:
        await client.say(Session().attach(info={"config": {"a": nested(200)}}))
        reply = await client.hear()
        assert (reply["code"], reply["message"]) == ("data", "'info' is nested too deeply")
    async with Client(worker) as client:
        await client.say(Session().attach(info={"config": {"a": nested(90), "text": r"\u0000"}}))
        assert (await client.hear())["type"] == "attached"


async def test_note_partitions_are_added_for_earlier_months(any_empty_dsn: str) -> None:
    """A database of an earlier version, whose runs continue to send notes."""
    connection = await asyncpg.connect(any_empty_dsn)
    try:
        await connection.execute(_BOOTSTRAP)
        for file in stepwell_schema.migrations():
            if file.name < "0004":
                await connection.execute(file.sql)
        await connection.execute(
            "CREATE TABLE stepwell.hot_object_2021_05 PARTITION OF stepwell.hot_object FOR VALUES FROM (10) TO (20)"
        )
        await connection.execute(next(file.sql for file in stepwell_schema.migrations() if file.name > "0004"))
        bound = await connection.fetchval(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'note_2021_05'"
        )
        assert bound == "FOR VALUES FROM ('10') TO ('20')"
    finally:
        await connection.close()


async def test_notes_wait_for_a_missing_partition(write_path: WritePath) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    partition = await write_path.pool.fetchval(
        "SELECT c.relname FROM pg_class c, stepwell.run r WHERE c.relname = 'note_' || to_char(r.created_at, 'YYYY_MM')"
    )
    await write_path.pool.execute(f"DROP TABLE stepwell.{partition}")
    submission = write_path.put(cursor, notes(session, (0, "meta", {})))
    await write_path.store()
    with pytest.raises(UnavailableError, match="there is no partition for this run"):
        await submission.done
    again = AttachRequest("team", "mnist", "run-1", "0", bytes(16), False, {"config": {"lr": 1}})
    with pytest.raises(UnavailableError, match="there is no partition for this run"):
        await write_path.catalog.attach(again)
    await write_path.pool.execute("SELECT stepwell.ensure_partitions_v1((now() AT TIME ZONE 'UTC')::date, 1)")
    assert (await write_path.catalog.attach(again)).cursor.epoch == 2
    assert await write_path.pool.fetchval("SELECT count(*) FROM stepwell.note") == 1
