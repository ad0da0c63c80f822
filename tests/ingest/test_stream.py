"""The stream over a real socket without faults: attach, frames, acknowledgements, finish."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest

from fixtures.ingest import Client, Session, assert_empty, make_block, make_frame, start_worker, stored_steps
from stepwell import wire
from stepwell_ingest.api import stream
from stepwell_ingest.server import loop
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db


async def test_acknowledged_frames_are_in_history(any_worker: Worker, any_pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(any_worker) as client:
        attached = await client.attach(session, info={"config": {"lr": 0.1}, "host": "node-1"})
        expected = {"type": "attached", "protocol": 1, "writer": "0", "epoch": 1, "resumed": False}
        expected |= {"next_seq": 0, "last_step": -1, "rejected": [], "pace_ms": 50, "run_id": attached["run_id"]}
        assert attached == expected
        frame = session.frame(3, ["loss", "acc"], objects=[(1, "note", {"text": "ok"})])
        ack = await client.exchange(frame)
        counts = {"next_seq": 1, "stored": 1, "duplicate": 0, "rejected": []}
        assert ack == {"type": "ack", **counts, "checksum": wire.peek(frame).checksum, "pace_ms": 50}
        rows = await any_pg.fetch("SELECT metric, step, value FROM stepwell.history ORDER BY metric, step")
        assert list(map(tuple, rows)) == [
            *(("acc", step, step + 0.001) for step in range(3)),
            *(("loss", step, float(step)) for step in range(3)),
        ]
        notes = await any_pg.fetch("SELECT key, step, value FROM stepwell.history_objects")
        assert [(row["key"], row["step"], json.loads(row["value"])) for row in notes] == [("note", 1, {"text": "ok"})]
        run = await any_pg.fetchrow("SELECT * FROM stepwell.runs")
        assert (run["entity"], run["project"], run["run"], run["run_id"]) == (
            *("team", "mnist", "run-1", attached["run_id"]),
        )
        assert (run["state"], run["last_step"], run["points"], run["objects"], run["rejected"], run["writers"]) == (
            *("running", 2, 6, 1, 0, 1),
        )
        assert json.loads(run["config"]) == {"lr": 0.1}
        assert await client.finish() == {"type": "finished"}
        assert await any_pg.fetchval("SELECT state FROM stepwell.runs") == "finished"
    assert_empty(any_worker)


async def test_frames_in_flight_are_stored_in_order_once(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        for _ in range(40):
            await client.send(*(session.frame(2) for _ in range(5)))
        total = await client.hear_acks(200)
        assert (total["stored"], total["duplicate"], total["rejected"]) == (200, 0, [])
    assert await stored_steps(pg) == list(range(400))
    assert_empty(worker)


async def test_acknowledgements_are_monotonic_with_checksum(worker: Worker) -> None:
    session = Session()
    frames = [session.frame() for _ in range(50)]
    async with Client(worker) as client:
        await client.attach(session)
        for frame in frames:
            await client.send(frame)
        reached = 0
        while reached < 50:
            ack = await client.hear()
            assert ack["next_seq"] > reached
            reached = ack["next_seq"]
            assert ack["checksum"] == wire.peek(frames[reached - 1]).checksum


async def test_repeated_committed_frame_is_a_duplicate(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame(), session.frame()]
    async with Client(worker) as client:
        await client.attach(session)
        await client.exchange(*frames)
        ack = await client.exchange(*frames, session.frame())
        assert (ack["next_seq"], ack["stored"], ack["duplicate"], ack["rejected"]) == (3, 1, 2, [])
    assert await stored_steps(pg) == [0, 1, 2]


async def test_repeated_frame_in_flight_is_a_duplicate(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frame = session.frame()
    async with Client(worker) as client:
        await client.attach(session)
        # One message, so the second copy is checked before the first can be committed.
        ack = await client.exchange(frame, frame)
        assert (ack["next_seq"], ack["stored"], ack["duplicate"]) == (1, 1, 1)
    assert await stored_steps(pg) == [0]


async def test_connections_of_a_session_share_its_position(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    frames = [session.frame() for _ in range(20)]
    async with Client(worker) as half_open, Client(worker) as fresh:
        await half_open.attach(session)
        await fresh.attach(session)
        for frame in frames:
            await half_open.send(frame)
            await fresh.send(frame)
        totals = await asyncio.gather(half_open.hear_acks(20), fresh.hear_acks(20))
        assert sum(total["stored"] for total in totals) == 20
        assert sum(total["duplicate"] for total in totals) == 20
    assert await stored_steps(pg) == list(range(20))


async def test_reconnect_gets_the_position(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        first = await client.attach(session)
        await client.exchange(session.frame(4), session.frame(4))
    async with Client(worker) as client:
        again = await client.attach(session)
        assert again == {**first, "next_seq": 2, "last_step": 7}
        await client.exchange(session.frame())
    assert await stored_steps(pg) == list(range(9))


async def test_frames_of_a_disconnected_client_are_stored(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        for _ in range(30):
            await client.send(session.frame())
    async with Client(worker) as client:
        next_seq = (await client.attach(session))["next_seq"]
        session.seq = session.step = next_seq
        await client.send(*(session.frame() for _ in range(31 - next_seq)))
        await client.hear_acks(31)
    assert await stored_steps(pg) == list(range(31))
    assert_empty(worker)


async def test_config_is_taken_from_the_first_attach(worker: Worker, pg: asyncpg.Connection) -> None:
    """Later changes are notes; a reconnect, which repeats the initial config, must not undo them."""
    first, second = Session(), Session()

    async def config() -> object:
        return json.loads(await pg.fetchval("SELECT config FROM stepwell.runs"))

    async with Client(worker) as client:
        await client.attach(first, info={"config": {"lr": 0.1, "depth": 3}})
        await client.attach(first, info={"config": {"lr": 0.2}})
        assert await config() == {"lr": 0.1, "depth": 3}
        await client.attach(second, info={"config": {"lr": 0.3}})
        assert await config() == {"lr": 0.3, "depth": 3}
        await client.attach(second, info={})
        assert await config() == {"lr": 0.3, "depth": 3}


async def test_stream_may_carry_writers_in_sequence(worker: Worker, pg: asyncpg.Connection) -> None:
    ranks = [Session(writer=str(rank)) for rank in range(3)]
    async with Client(worker) as client:
        for rank in ranks:
            assert (await client.attach(rank))["writer"] == rank.writer
            await client.exchange(rank.frame(rank.seq + 2))
    for rank in ranks:
        assert await stored_steps(pg, rank.writer) == [0, 1]


async def test_writers_have_independent_positions(worker: Worker, pg: asyncpg.Connection) -> None:
    slow, fast = Session(writer="0"), Session(writer="1")
    async with Client(worker) as one, Client(worker) as two:
        await one.attach(slow)
        await two.attach(fast)
        await two.exchange(fast.frame(1000))
        ack = await one.exchange(slow.frame(), slow.frame())
        assert (ack["next_seq"], ack["stored"]) == (2, 2)
        assert (await one.attach(slow))["last_step"] == 1
        assert (await two.attach(fast))["last_step"] == 999
    assert await stored_steps(pg, "0") == [0, 1]
    assert await stored_steps(pg, "1") == list(range(1000))


async def test_last_finish_ends_the_run(worker: Worker, pg: asyncpg.Connection) -> None:
    look = "SELECT state, exit_code, finished_at > created_at FROM stepwell.runs WHERE run = $1"
    ends = {"good": ([0, 0], "finished", 0), "bad": ([0, 3], "failed", 3), "killed": ([-9, 0], "failed", -9)}
    for run, (exit_codes, state, exit_code) in ends.items():
        async with Client(worker) as one, Client(worker) as two:
            await one.attach(Session(run, writer="0"))
            await two.attach(Session(run, writer="1"))
            assert await one.finish(exit_codes[0]) == {"type": "finished"}
            assert tuple(await pg.fetchrow(look, run)) == ("running", None, None)
            assert await two.finish(exit_codes[1]) == {"type": "finished"}
            assert tuple(await pg.fetchrow(look, run)) == (state, exit_code, True)


async def test_finish_is_answered_after_earlier_frames(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    async with Client(worker) as client:
        await client.attach(session)
        for _ in range(20):
            await client.send(session.frame())
        await client.say({"type": "finish", "exit_code": 0})
        await client.hear_acks(20)
        assert await client.hear() == {"type": "finished"}
    assert await stored_steps(pg) == list(range(20))


async def test_blocks_of_a_frame_share_one_step_sequence(worker: Worker, pg: asyncpg.Connection) -> None:
    session = Session()
    blocks = [make_block([0, 2, 4]), make_block([1, 3], ["loss", "evaluation/acc"]), make_block([5], [])]
    async with Client(worker) as client:
        await client.attach(session)
        frame = make_frame(session.id, 0, [], blocks=blocks, objects=[(5, "only", "text")])
        assert (await client.exchange(frame))["stored"] == 1
    assert await stored_steps(pg) == [0, 1, 2, 3, 4]
    assert await pg.fetchval("SELECT last_step FROM stepwell.runs") == 5


def test_uvloop_serves_a_writer(postgres_dsn: str) -> None:
    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        session = Session()
        async with start_worker(postgres_dsn) as worker:
            async with Client(worker) as client:
                await client.attach(session)
                for _ in range(100):
                    await client.send(session.frame(10))
                assert (await client.hear_acks(100))["stored"] == 100
                assert await client.finish() == {"type": "finished"}
            assert_empty(worker)

    loop.run(main())


@pytest.mark.parametrize("wants", [True, False])
async def test_waiting_client_learns_that_others_are_stored(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, wants: bool
) -> None:
    monkeypatch.setattr(stream, "_TELL_S", 0.05)
    first, other = Session(), Session(run="other")
    async with Client(worker) as waiting, Client(worker) as storing:
        await waiting.attach(first, **({"progress": True} if wants else {}))
        await storing.attach(other)
        frame = first.frame(5)
        await waiting.socket.send_bytes(frame[:100])  # the server waits for the rest
        for _ in range(5):
            await storing.exchange(other.frame(1))
            await asyncio.sleep(0.1)
        await waiting.socket.send_bytes(frame[100:])
        heard = [await waiting.hear()]
        while heard[-1]["type"] != "ack":
            heard.append(await waiting.hear())
    assert {message["type"] for message in heard} == ({"storing", "ack"} if wants else {"ack"})
