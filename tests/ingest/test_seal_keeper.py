"""The sealing loop: the order of epochs, several of them at once, and failing epochs, which block no others."""

from __future__ import annotations

import asyncio
import dataclasses

import asyncpg
import numpy as np
import pytest

from fixtures.histories import EAGER, Histories, Stored
from fixtures.ingest import Client, Session, eventually, start_worker
from stepwell_ingest.config import SealSettings
from stepwell_ingest.seal.chunks import EpochKey
from stepwell_ingest.seal.keeper import Keeper
from stepwell_ingest.seal.sealer import Sealer
from stepwell_ingest.seal.windows import POINTS

pytestmark = pytest.mark.db

#: Epochs are sealed neither because of age nor because of silence.
PATIENT = SealSettings(idle_s=3600.0, age_s=3600.0)


@pytest.fixture
async def made(pool: asyncpg.Pool) -> Histories:
    return Histories(pool)


async def put(made: Histories, stored: Stored, count: int) -> None:
    await made.put(stored, ["loss"], np.arange(float(count)).reshape(1, count))


async def sealed_below(pool: asyncpg.Pool, stored: Stored) -> int:
    below = await pool.fetchval(
        "SELECT sealed_below FROM stepwell.ledger WHERE (run_id, writer_id, epoch) = ($1, $2, $3)", *stored.key
    )
    return int(below)


async def test_active_epoch_is_sealed_in_full_chunks(made: Histories, pool: asyncpg.Pool) -> None:
    stored = await made.attach("run", "0")
    await put(made, stored, POINTS - 1)
    assert await Keeper(pool, PATIENT).look() == 0
    await put(made, stored, 1500)
    assert await Keeper(pool, PATIENT).look() == 2 * POINTS
    assert await sealed_below(pool, stored) == 2 * POINTS  # the rest waits for a full chunk
    await made.check()


async def test_single_step_blocks_count_as_one(made: Histories, pool: asyncpg.Pool) -> None:
    """Steps with gaps look like many, and arrays of one step look like larger ones."""
    stored = await made.attach("run", "0")
    for _ in range(20):
        await made.put(stored, ["loss"], np.array([[1.0]]))
        stored.next_step += 999
    settings = dataclasses.replace(PATIENT, steps=21)
    assert await Sealer(pool, settings).candidates() == [(stored.key, False, False)]
    assert await Keeper(pool, settings).look() == 0
    await made.put(stored, ["loss"], np.array([[1.0]]))
    assert await Keeper(pool, settings).look() > 0


@pytest.mark.parametrize(
    ("settings", "statement"),
    [
        (SealSettings(age_s=3600.0), "UPDATE stepwell.ledger SET moved_at = now() - interval '61 s'"),
        (SealSettings(idle_s=3600.0), "UPDATE stepwell.ledger SET sealed_at = now() - interval '601 s'"),
        (PATIENT, "UPDATE stepwell.ledger SET fenced = true"),
        (PATIENT, "UPDATE stepwell.writer SET state = 'finished'"),
        (PATIENT, "UPDATE stepwell.writer SET state = 'crashed'"),
    ],
    ids=["idle", "old", "fenced", "finished", "crashed"],
)
async def test_ended_or_old_epoch_is_sealed_completely(
    made: Histories, pool: asyncpg.Pool, settings: SealSettings, statement: str
) -> None:
    stored = await made.attach("run", "0")
    await put(made, stored, 7)
    keeper = Keeper(pool, settings)
    assert await keeper.look() == 0
    await pool.execute(statement)
    assert await keeper.look() == 7
    assert await sealed_below(pool, stored) == 7
    await made.check()


async def test_epoch_without_hot_rows_is_skipped(made: Histories, pool: asyncpg.Pool) -> None:
    """A resumed epoch begins after the steps of the previous epoch."""
    first = await made.attach("run", "0")
    await put(made, first, 5)
    second = await made.attach("run", "0", resume_="allow")
    await pool.execute("UPDATE stepwell.ledger SET moved_at = now() - interval '1 h'")
    keeper = Keeper(pool, EAGER)
    assert await keeper.look() == 5
    await keeper.look()
    assert await sealed_below(pool, second) == 5
    assert await Sealer(pool, EAGER).candidates() == []


async def test_failing_epoch_pauses_and_blocks_no_other(
    made: Histories, pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    broken, fine = await made.attach("broken", "0"), await made.attach("fine", "0")
    await put(made, broken, 64)
    await put(made, fine, 4)
    await pool.execute(
        "ALTER TABLE stepwell.chunk ADD CONSTRAINT no CHECK (run_id <> %d)" % broken.key.run_id  # noqa: UP031 - no parameters here
    )
    keeper = Keeper(pool, EAGER)
    assert await keeper.look() == 4
    assert len(caplog.messages) == 1
    assert "cannot seal" in caplog.messages[0]
    await put(made, fine, 4)
    assert await keeper.look() == 4
    assert len(caplog.messages) == 1  # it pauses
    await made.check()
    await pool.execute("ALTER TABLE stepwell.chunk DROP CONSTRAINT no")
    assert await Keeper(pool, EAGER).look() == 64
    await made.check()


async def test_bug_in_one_epoch_blocks_no_other(
    made: Histories, pool: asyncpg.Pool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, fine = await made.attach("broken", "0"), await made.attach("fine", "0")
    await put(made, broken, 64)
    await put(made, fine, 4)
    seal = Sealer.seal

    async def fails(self: Sealer, epoch: object, whole: bool) -> object:
        if epoch == broken.key:
            raise ZeroDivisionError
        return await seal(self, epoch, whole)  # type: ignore[arg-type]  # of the candidates

    monkeypatch.setattr(Sealer, "seal", fails)
    assert await Keeper(pool, EAGER).look() == 4
    assert "ZeroDivisionError" in caplog.text


async def test_small_epochs_hide_no_others(made: Histories, pool: asyncpg.Pool) -> None:
    settings = dataclasses.replace(PATIENT, at_once=2)
    for name in ("a", "b", "c"):  # many steps by their numbers, but only two
        stored = await made.attach(name, "0")
        await made.put(stored, ["loss"], np.ones((1, 2)), 5000)
    over = await made.attach("over", "0")
    await put(made, over, 1)
    await pool.execute("UPDATE stepwell.writer SET state = 'finished' WHERE run_id = $1", over.key.run_id)
    keeper = Keeper(pool, settings)
    assert await keeper.look() + await keeper.look() == 1


async def ended(made: Histories, pool: asyncpg.Pool, run: str, count: int) -> Stored:
    stored = await made.attach(run, "0")
    await put(made, stored, count)
    await pool.execute("UPDATE stepwell.writer SET state = 'finished' WHERE run_id = $1", stored.key.run_id)
    return stored


async def test_small_and_large_epochs_take_turns(
    made: Histories, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(PATIENT, points=50, at_once=3, pass_bytes=1000, every_s=0.0)
    large = await ended(made, pool, "large", 90)
    for _ in range(40):
        await put(made, large, 90)
    small = [await ended(made, pool, f"small-{number}", 7) for number in range(7)]
    larger = await ended(made, pool, "larger", 20_000)
    order: list[object] = []
    seal = Sealer.seal

    async def noted(self: Sealer, epoch: EpochKey, whole: bool) -> object:
        order.append(epoch)
        return await seal(self, epoch, whole)

    monkeypatch.setattr(Sealer, "seal", noted)
    keeper = Keeper(pool, settings)
    for turn in range(3):
        order.clear()
        await keeper.look()
        oldest = [stored.key for stored in small[3 * turn : 3 * turn + 3]]
        assert order[: len(oldest)] == oldest  # as many as a look takes, those that have waited longest
        assert order[len(oldest)] == (larger.key if turn == 0 else large.key)  # and a large one each time
    assert await sealed_below(pool, large) < 90 * 41  # it has given way to the others
    while await keeper.look():
        pass
    await made.check()


async def test_several_sealers_seal_each_point_once(made: Histories, pool: asyncpg.Pool) -> None:
    for number in range(6):
        stored = await made.attach(f"run-{number}", "0")
        for _ in range(4):
            await made.put(stored, ["loss", "acc"], np.ones((2, 300)))
    settings = dataclasses.replace(EAGER, pass_bytes=5000)
    keepers = [Keeper(pool, settings) for _ in range(4)]
    for keeper in keepers:
        keeper._merged_at = -1e9
    done = 0
    while points := sum(await asyncio.gather(*(keeper.look() for keeper in keepers))):
        done += points
        for keeper in keepers:  # an epoch that another keeper was merging rests; its last steps must not wait for that
            keeper._resting.clear()
    assert done == 6 * 4 * 600
    await made.check()
    assert await pool.fetchval("SELECT sum(points) FROM stepwell.metric_total") == done


async def test_sealing_during_writes(any_postgres_dsn: str, pool: asyncpg.Pool) -> None:
    keeper = Keeper(pool, dataclasses.replace(EAGER, lock_ms=50))
    sealed = 0
    async with start_worker(any_postgres_dsn) as worker, Client(worker) as client:
        session = Session()
        await client.attach(session)
        for turn in range(40):
            await client.send(session.frame(25, ("loss", "acc")))
            await client.hear_acks(turn + 1)
            sealed += await keeper.look()
        assert (await client.finish())["type"] == "finished"
        sealed += await keeper.look()
    rows = await pool.fetch("SELECT metric, step, value FROM stepwell.history ORDER BY metric, step")
    assert [tuple(row) for row in rows] == [
        (metric, step, step + offset) for metric, offset in (("acc", 0.001), ("loss", 0.0)) for step in range(1000)
    ]
    assert sealed == 2000


async def test_keeper_survives_a_postgres_outage(
    made: Histories, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stepwell_ingest.seal.keeper._RETRY_S", 0.01)
    stored = await made.attach("run", "0")
    await put(made, stored, 5)
    keeper = Keeper(pool, dataclasses.replace(EAGER, every_s=0.01))
    original, calls = Sealer.candidates, 0

    async def away(self: Sealer, but: object = ()) -> object:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise ConnectionRefusedError("Postgres is away")
        return await original(self, but)  # type: ignore[arg-type]  # just passed on

    monkeypatch.setattr(Sealer, "candidates", away)
    running = asyncio.create_task(keeper.run())

    async def sealed() -> bool:
        return await sealed_below(pool, stored) == 5

    await eventually(sealed)
    running.cancel()
    assert len(caplog.messages) == 2
    await made.check()
