"""Live views of objects: media that arrive after their step, files that arrive after their media, and notes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from fixtures.blobs import make_blob, put
from fixtures.ingest import T0, Session
from fixtures.live import Events, image, listen, note, picture
from fixtures.reads import RUN, frame, store
from stepwell_ingest.config import Config, Reads
from stepwell_ingest.read import live
from stepwell_ingest.read.deltas import event_since
from stepwell_ingest.read.runs import find_run
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

QUICK = Reads(live_poll_s=0.02, live_keep_alive_s=0.2)


@pytest.fixture
async def worker(postgres_dsn: str, tmp_path: Path) -> AsyncIterator[Worker]:
    worker = Worker(Config(postgres_dsn, port=0, reads=QUICK, blobs=str(tmp_path / "blobs")))
    await worker.start()
    yield worker
    await worker.stop()


async def delta(events: Events) -> Any:
    kind, _, data = await events.next()
    assert kind == "delta"
    return data


async def test_late_picture_is_sent(worker: Worker) -> None:
    """The points of steps 0 to 9 were sent before; the note of the picture has a seq, but no step of its own."""
    session, (sha256, data) = Session(), make_blob(1000)
    await put(worker, sha256, data)
    await store(worker, session, frame(session, range(10), {"x": range(10)}))
    async with listen(worker.url, RUN, ["x", "img"]) as events:
        await events.next()
        await store(worker, session, picture(session, (4, "img", image(sha256))))
        told = await delta(events)
        assert told["moved"] == told["cuts"] == []
        row = {"_step": 4, "_writer": "0", "_timestamp": (T0 + 4) / 1e6, "img": image(sha256)}
        assert told["rows"] == [row]


async def test_picture_is_sent_with_its_last_file(worker: Worker) -> None:
    session, blobs = Session(), [make_blob(1000, seed) for seed in (1, 2)]
    await store(worker, session, frame(session, [0], {"x": [0]}))
    async with listen(worker.url, RUN, ["x", "img"]) as events:
        await events.next()
        await store(worker, session, picture(session, (0, "img", image(*(sha256 for sha256, _ in blobs)))))
        await put(worker, *blobs[0])
        await store(worker, session, frame(session, [1], {"x": [1]}))
        told = await delta(events)
        assert [row["_step"] for row in told["rows"]] == [1]
        assert told["waiting"] == 1
        await put(worker, *blobs[1])
        told = await delta(events)
        assert [(row["_step"], "img" in row) for row in told["rows"]] == [(0, True)]
        assert "waiting" not in told


async def test_missed_file_is_sent_once_after_reconnect(worker: Worker) -> None:
    session, (sha256, data) = Session(), make_blob(1000)
    await store(worker, session, frame(session, [0], {"x": [0]}), picture(session, (0, "img", image(sha256))))
    async with listen(worker.url, RUN, ["img"]) as events:
        kind, cursor, about = await events.next()
        assert (kind, about["waiting"]) == ("start", 1)
    await put(worker, sha256, data)
    for _ in range(2):  # a reader that stored nothing gets it again
        async with listen(worker.url, RUN, ["img"], cursor) as events:
            _, after, told = await events.next()
            assert [row["_step"] for row in told["rows"]] == [0]
    async with listen(worker.url, RUN, ["img"], after) as events:
        await store(worker, session, frame(session, [1], {"x": [1]}))
        assert (await delta(events))["rows"] == []


async def test_many_files_are_checked_in_turns(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FILES_A_LOOK", 2)
    session, blobs = Session(), [make_blob(100, seed) for seed in range(7)]
    await store(
        worker, session, picture(session, *((step, "img", image(name)) for step, (name, _) in enumerate(blobs)))
    )
    async with listen(worker.url, RUN, ["img"]) as events:
        await events.next()
        for step, blob in enumerate(blobs):
            await put(worker, *blob)
            assert [row["_step"] for row in (await delta(events))["rows"]] == [step]


async def test_cursor_works_with_other_keys(worker: Worker) -> None:
    session, (sha256, data) = Session(), make_blob(1000)
    await store(worker, session, picture(session, (0, "img", image(sha256))))
    async with listen(worker.url, RUN) as events:
        _, cursor, _ = await events.next()
    await put(worker, sha256, data)
    async with listen(worker.url, RUN, ["img"], cursor) as events:
        assert (await delta(events))["rows"][0]["img"] == image(sha256)


async def test_restart_that_hides_a_picture_is_a_cut(worker: Worker) -> None:
    first, second = Session(), Session()
    await store(
        worker, first, frame(first, range(5), {"x": range(5)}), picture(first, (6, "img", {"_type": "histogram"}))
    )
    async with listen(worker.url, RUN, ["img"]) as events:
        await events.next()
        await store(worker, second, frame(second, [5], {"x": [5]}))
        told = await delta(events)
        while not told["moved"]:
            told = await delta(events)
        assert told["cuts"] == [{"writer": "0", "from_step": 5}]


async def test_other_notes_are_counted(worker: Worker) -> None:
    session = Session()
    await store(worker, session)
    async with listen(worker.url, RUN, ["x"]) as events:
        await events.next()
        said = [("summary", {"set": {"a": 1}}), ("summary", {"set": {"b": 1}}), ("config", {"set": {"lr": 1}})]
        await store(worker, session, note(session, *said))
        nothing: dict[str, Any] = {"state": "running", "cuts": [], "moved": [], "rows": []}
        assert (await delta(events)) == nothing | {"said": {"config": 1, "summary": 2}}
        # A resume can change the config in its attach message, which is not a frame.
        await store(worker, Session(), resume="allow", info={"config": {"lr": 2}})
        assert (await delta(events))["said"] == {"config": 1}


async def test_old_cursor_without_objects_starts_over(worker: Worker) -> None:
    session = Session()
    await store(worker, session, frame(session, [0], {"x": [0]}))
    async with listen(worker.url, RUN, ["x"], "eJyLVioqzcvLzEtX0qlWMlCyijbUMYitjQUAWVcHFQ==") as events:
        kind, _, told = await events.next()
        assert (kind, told["reason"]) == ("reset", "the cursor comes from an older version of the server")


async def test_late_committed_frame_is_not_skipped(worker: Worker, postgres_dsn: str) -> None:
    """The transaction of writer 0 holds its ledger row; writer 1 starts later, but is committed and sent first."""
    slow, quick = Session(), Session(writer="1")
    await store(worker, slow, frame(slow, [0], {"x": [0]}))
    await store(worker, quick, frame(quick, [0], {"x": [0]}))
    row = await find_run(worker.services.reads, "team", "mnist", "run-1")
    start = await event_since(worker.services.reads, row, ("img",), None)
    assert start is not None
    histogram = {"_type": "histogram", "values": [1]}
    other = await asyncpg.connect(postgres_dsn)
    try:
        async with other.transaction():
            # Like the copier: ledger and notes in one transaction.
            await other.execute("UPDATE stepwell.ledger SET next_seq = next_seq + 1 WHERE writer_id = 1")
            await other.execute(
                "INSERT INTO stepwell.note SELECT run_id, 1, 1, next_seq - 1, 0, 0, now(), 'object', $1::text::jsonb "
                "FROM stepwell.ledger WHERE writer_id = 1",
                orjson.dumps({"key": "img", "step": 0, "time": T0, "value": histogram}).decode(),
            )
            await store(worker, quick, picture(quick, (0, "img", histogram)))
            meanwhile = await event_since(worker.services.reads, row, ("img",), start.cursor)
            assert meanwhile is not None
            assert meanwhile.page is not None
            assert meanwhile.page.writers == ["1"]
    finally:
        await other.close()
    after = await event_since(worker.services.reads, row, ("img",), meanwhile.cursor)
    assert after is not None
    assert after.page is not None
    assert after.page.writers == ["0"]


async def test_cursor_overflow_is_reported(postgres_dsn: str, tmp_path: Path) -> None:
    """Every other picture is stored, so each of the others is a separate range."""
    session, (there, data) = Session(), make_blob(10)
    some = Reads(live_poll_s=0.02, live_waiting=3)
    worker = Worker(Config(postgres_dsn, port=0, reads=some, blobs=str(tmp_path / "blobs")))
    await worker.start()
    try:
        await put(worker, there, data)
        names = [make_blob(10, seed) for seed in range(2, 7)]
        items = [(step, "img", image(there if step % 2 else names[step // 2][0])) for step in range(9)]
        await store(worker, session, picture(session, *items))
        async with listen(worker.url, RUN, ["img"]) as events:
            _, cursor, told = await events.next()
            assert (told["waiting"], told["forgotten"]) == (5, 2)
        for name in names:
            await put(worker, *name)
        async with listen(worker.url, RUN, ["img"], cursor) as events:
            steps: list[int] = []
            while len(steps) < 3:  # files that arrive later are sent in separate events
                told = await delta(events)
                assert "forgotten" not in told
                steps += [row["_step"] for row in told["rows"]]
            assert steps == [4, 6, 8]
    finally:
        await worker.stop()
