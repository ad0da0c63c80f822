"""One batch is one transaction: rows and ledger are updated together, and frames that Postgres refuses fail alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping

import asyncpg
import pytest

from fixtures.ingest import Session, WritePath, eventually, make_block, make_frame, open_write_path, stored_steps
from stepwell import wire
from stepwell.errors import Error, SequenceGapError, UnavailableError
from stepwell_ingest.write import pgcopy, validation
from stepwell_ingest.write.batcher import Outcome, Submission
from stepwell_ingest.write.names import MetricNames

pytestmark = pytest.mark.db

LEDGER = "SELECT next_seq, last_step, points, objects, rejected, length(checksums) FROM stepwell.ledger"
NUL = rb'"\u0000"'


@pytest.fixture
def unchecked_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables the validation of objects, so that Postgres has something to refuse."""
    monkeypatch.setattr(validation, "_check_object", lambda *_: None)


def refused(submission: Submission) -> list[tuple[int, str]]:
    return [(seq, error.code) for seq, error in submission.done.result().rejected]


async def rejected_seqs(path: WritePath) -> list[tuple[str, int, str]]:
    rows = await path.pool.fetch("SELECT writer, seq, code FROM stepwell.rejections ORDER BY writer, seq")
    return [tuple(row) for row in rows]


async def test_rows_and_ledger_move_together(write_path: WritePath) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    frames = [session.frame(3, ["loss", "acc"]), session.frame(2, objects=[(4, "note", "x")])]
    submission = write_path.put(cursor, *frames)
    assert not submission.done.done()
    await write_path.store()
    checksum = wire.peek(frames[1]).checksum
    assert await submission.done == Outcome(next_seq=2, stored=2, duplicate=0, rejected=[], checksum=checksum)
    assert tuple(await write_path.pool.fetchrow(LEDGER)) == (2, 4, 8, 1, 0, 8)
    assert (cursor.committed_seq, cursor.committed_step, cursor.tail_seq, cursor.in_flight) == (2, 4, 2, [])
    assert await stored_steps(write_path.pool) == [0, 1, 2, 3, 4]


async def test_many_writers_share_a_transaction(write_path: WritePath) -> None:
    sessions = [Session(writer=str(rank), run=f"run-{rank % 3}") for rank in range(30)]
    submissions = []
    for session in sessions:
        cursor = await write_path.attach(session)
        submissions += [write_path.put(cursor, session.frame(2)), write_path.put(cursor, session.frame(2))]
    await write_path.store()
    assert all(submission.done.result().stored == 1 for submission in submissions)
    assert await write_path.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM stepwell.ledger") == 1
    for session in sessions:
        assert await stored_steps(write_path.pool, session.writer, session.run) == [0, 1, 2, 3]


async def test_concurrent_copiers_store_every_frame_once(write_path: WritePath) -> None:
    sessions = [Session(writer=str(rank)) for rank in range(8)]
    cursors = [await write_path.attach(session) for session in sessions]
    write_path.batcher._batch_frames = 4
    submissions = [
        write_path.put(cursor, session.frame())
        for _ in range(20)
        for session, cursor in zip(sessions, cursors, strict=True)
    ]
    await write_path.store(copiers=3)
    assert sum(submission.done.result().stored for submission in submissions) == 160
    for session in sessions:
        assert await stored_steps(write_path.pool, session.writer) == list(range(20))


@pytest.mark.usefixtures("unchecked_objects")
async def test_frame_refused_by_postgres_is_rejected_alone(write_path: WritePath) -> None:
    sessions = [Session(writer=str(rank)) for rank in range(5)]
    cursors = [await write_path.attach(session) for session in sessions]
    submissions = []
    for rank, (session, cursor) in enumerate(zip(sessions, cursors, strict=True)):
        frames = [session.frame(2) for _ in range(7)]
        if rank in (1, 3):
            frames[4] = make_frame(session.id, 4, [8, 9], objects=[(9, "note", NUL)])
        submissions.append(write_path.put(cursor, *frames))
    await write_path.store()
    assert [refused(item) for item in submissions] == [[], [(4, "rows")], [], [(4, "rows")], []]
    error = submissions[1].done.result().rejected[0][1]
    assert str(error).startswith("Postgres refused to store this frame (unsupported Unicode escape sequence")
    assert [item.done.result().stored for item in submissions] == [7, 6, 7, 6, 7]
    assert await rejected_seqs(write_path) == [("1", 4, "rows"), ("3", 4, "rows")]
    for rank, session in enumerate(sessions):
        steps = [step for step in range(14) if rank not in (1, 3) or step not in (8, 9)]
        assert await stored_steps(write_path.pool, session.writer) == steps
    # The position is not lost: the writer continues, and a retry gets the same refusal.
    again = write_path.put(cursors[1], make_frame(sessions[1].id, 4, [8, 9], objects=[(9, "note", NUL)]))
    further = write_path.put(cursors[1], sessions[1].frame())
    await write_path.store()
    assert (refused(again), again.done.result().duplicate) == ([(4, "rows")], 1)
    assert further.done.result().stored == 1


@pytest.mark.usefixtures("unchecked_objects")
@pytest.mark.parametrize(("poisoned", "dead"), [(1, 127), (64, 64 * 7)], ids=["one of 64", "all of 64"])
async def test_refused_frame_leaves_few_dead_rows(any_postgres_dsn: str, poisoned: int, dead: int) -> None:
    """The batch is halved down to the frame: less than two dead rows per row of the batch, at worst 1 + log2."""
    async with open_write_path(any_postgres_dsn) as path:
        session = Session()
        cursor = await path.attach(session)
        frames = [session.frame() for _ in range(64 - poisoned)]
        frames += [make_frame(session.id, seq, [seq], objects=[(seq, "k", NUL)]) for seq in range(64 - poisoned, 64)]
        path.put(cursor, *frames)
        await path.store()
    connection = await asyncpg.connect(any_postgres_dsn)  # ended backends have reported statistics

    async def inserted() -> int:
        return int(
            await connection.fetchval(
                "SELECT coalesce(sum(n_tup_ins), 0)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'hot_block%'"
            )
        )

    await eventually(lambda: _at_least(inserted, dead))
    stored = await connection.fetchval("SELECT count(*) FROM stepwell.hot_block")
    assert (stored, await inserted() - stored) == (64 - poisoned, dead)
    await connection.close()


async def _at_least(count: Callable[[], Awaitable[int]], least: int) -> bool:
    return await count() >= least


@pytest.mark.usefixtures("unchecked_objects")
async def test_batch_of_bad_frames_is_rejected(write_path: WritePath) -> None:
    session = Session()
    cursor = await write_path.attach(session)
    frames = [make_frame(session.id, seq, [seq], objects=[(seq, "note", NUL)]) for seq in range(9)]
    submission = write_path.put(cursor, *frames)
    await write_path.store()
    assert refused(submission) == [(seq, "rows") for seq in range(9)]
    assert tuple(await write_path.pool.fetchrow(LEDGER)) == (9, -1, 0, 0, 9, 36)


async def test_too_many_metrics_report_the_limit(any_postgres_dsn: str) -> None:
    async with open_write_path(any_postgres_dsn, metrics_per_run=3) as path:
        session, neighbour = Session(), Session(run="run-2")
        cursor, other = await path.attach(session), await path.attach(neighbour)
        frames = [session.frame(1, ["loss", "a"]), session.frame(1, ["b", "c"]), session.frame(1, ["loss", "b"])]
        submission, beside = path.put(cursor, *frames), path.put(other, neighbour.frame(1, ["x", "y", "z"]))
        await path.store()
        [(seq, error)] = submission.done.result().rejected
        assert (seq, error.code, error.message) == (1, "limit", "the run has too many metrics")
        assert error.detail == "the run would have 4 metric names; its limit is 3"
        assert "raise --metrics-per-run" in str(error.hint)
        assert submission.done.result().stored == 2
        assert beside.done.result().stored == 1
        assert await rejected_seqs(path) == [("0", 1, "limit")]
        names = "SELECT name FROM stepwell.metric JOIN stepwell.run USING (run_id) WHERE run.name = 'run-1' ORDER BY 1"
        assert [row[0] for row in await path.pool.fetch(names.replace("SELECT name", "SELECT metric.name"))] == [
            *("a", "b", "loss"),
        ]


async def test_colliding_names_are_refused_alone(write_path: WritePath) -> None:
    # Two names of the same MD5, by Marc Stevens (2024).
    name = "TEXTCOLLBYfGiJUETHQ4h{}cKSMd5zYpgqf1YRDhkmxHkhPWptrkoyz28wnI9V0aHeAuaKnak"
    one, two = name.format("A"), name.format("E")
    session, twins, neighbour = Session(), Session(run="run-2"), Session(writer="1")
    submissions = [
        write_path.put(await write_path.attach(session), session.frame(1, [one]), session.frame(1, [two, "loss"])),
        write_path.put(await write_path.attach(twins), twins.frame(1, [one, two]), twins.frame()),
        write_path.put(await write_path.attach(neighbour), neighbour.frame()),
    ]
    await write_path.store()
    assert [[seq for seq, _ in refused(item)] for item in submissions] == [[1], [0], []]
    assert [item.done.result().stored for item in submissions] == [1, 1, 1]


async def test_more_key_sets_than_cached_can_be_stored(write_path: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell_ingest.write.names._MAX_KEY_SETS", 3)
    session = Session()
    cursor = await write_path.attach(session)
    blocks = [make_block([step], ["loss", f"layer/{step}"]) for step in range(50)]
    submission = write_path.put(cursor, make_frame(session.id, 0, [], blocks=blocks))
    await write_path.store()
    assert submission.done.result().stored == 1
    assert await stored_steps(write_path.pool) == list(range(50))
    wrong = "SELECT count(*) FROM stepwell.history WHERE metric LIKE 'layer/%' AND metric <> 'layer/' || step"
    assert await write_path.pool.fetchval(wrong) == 0


async def test_key_set_cache_is_bounded(write_path: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell_ingest.write.names._MAX_KEY_SET_BYTES", 200)
    session = Session()
    cursor = await write_path.attach(session)
    for number in range(50):
        write_path.put(cursor, session.frame(1, ["loss", f"metric/{number % 25}"]))
    await write_path.store()
    sizes = [len(names) + ids.nbytes for (_, names), ids in write_path.names._key_sets.items()]
    assert sum(sizes) == write_path.names._key_set_bytes <= 200
    assert await stored_steps(write_path.pool) == list(range(50))
    assert await write_path.pool.fetchval("SELECT count(*) FROM stepwell.history") == 100


async def test_new_names_do_not_delay_other_writers(write_path: WritePath) -> None:
    session, stranger = Session(), Session(run="run-2")
    cursor, other = await write_path.attach(session), await write_path.attach(stranger)
    write_path.put(cursor, session.frame())
    await write_path.store()
    run_locked = "SELECT FROM stepwell.run WHERE run_id = $1 FOR UPDATE"
    async with write_path.pool.acquire() as connection, connection.transaction():
        await connection.execute(run_locked, other.run_id)  # new names wait for this lock
        known, unknown = write_path.put(cursor, session.frame(1)), write_path.put(other, stranger.frame())
        task = write_path.start()
        assert (await known.done).stored == 1
        assert not unknown.done.done()
        again = write_path.put(cursor, session.frame(2))
        second = write_path.start()
        assert (await again.done).stored == 1
    assert (await unknown.done).stored == 1
    for copier in (task, second):
        copier.cancel()
    await asyncio.gather(task, second, return_exceptions=True)


async def test_new_names_are_looked_up_together(write_path: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [Session(run=f"run-{number}") for number in range(5)]
    looked_up: list[list[int]] = []
    intern = MetricNames._intern

    async def counted(self: MetricNames, names: Mapping[int, list[str]]) -> dict[int, dict[str, int]]:
        looked_up.append(list(names))
        return await intern(self, names)

    monkeypatch.setattr(MetricNames, "_intern", counted)
    items = [write_path.put(await write_path.attach(session), session.frame()) for session in sessions]
    await write_path.store()
    assert [item.done.result().stored for item in items] == [1] * 5
    assert looked_up == [sorted(item.cursor.run_id for item in items)]
    names = await write_path.pool.fetch("SELECT DISTINCT run, metric FROM stepwell.history ORDER BY 1")
    assert [row["run"] for row in names] == [session.run for session in sessions]


async def test_wrong_row_count_is_rolled_back(write_path: WritePath, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(rows: object) -> Iterator[bytes]:
        yield pgcopy.SIGNATURE
        yield pgcopy.TRAILER

    session = Session()
    cursor = await write_path.attach(session)
    frame = session.frame()
    submission = write_path.put(cursor, frame)
    with monkeypatch.context() as patch:
        patch.setattr(pgcopy, "block_pieces", lossy)
        await write_path.store()
    with pytest.raises(UnavailableError, match=r"stored a different number of rows than it was given \(COPY 0 of 1\)"):
        await submission.done
    assert tuple(await write_path.pool.fetchrow(LEDGER)) == (0, -1, 0, 0, 0, 0)
    again = write_path.put(await write_path.catalog.cursor(session.id), frame)
    await write_path.store()
    assert again.done.result().stored == 1
    assert await stored_steps(write_path.pool) == [0]


async def test_position_moved_by_another_worker_fails_alone(write_path: WritePath) -> None:
    session, neighbours = Session(), [Session(writer=str(rank)) for rank in range(1, 4)]
    elsewhere = WritePath(write_path.pool, write_path.limits)
    frames = [session.frame() for _ in range(3)]
    cursor = await write_path.attach(session)
    behind = [write_path.put(cursor, frame) for frame in frames]
    beside = [write_path.put(await write_path.attach(item), item.frame(2)) for item in neighbours]
    elsewhere.put(await elsewhere.attach(session), frames[0])
    await elsewhere.store()
    await write_path.store()
    for submission in behind:
        with pytest.raises(SequenceGapError, match="another worker stored frames of this writer") as caught:
            await submission.done
        assert caught.value.expected == 1
    assert [item.done.result().stored for item in beside] == [1, 1, 1]
    assert cursor.stale
    fresh = await write_path.catalog.cursor(session.id)
    assert (fresh.committed_seq, fresh.stale) == (1, False)
    again = write_path.put(fresh, *frames)
    await write_path.store()
    assert (again.done.result().stored, again.done.result().duplicate) == (2, 1)
    assert await stored_steps(write_path.pool) == [0, 1, 2]


async def test_frames_of_a_deleted_run_are_refused_alone(write_path: WritePath) -> None:
    session, neighbour = Session(), Session(run="run-2")
    cursor, other = await write_path.attach(session), await write_path.attach(neighbour)
    write_path.put(cursor, session.frame())
    await write_path.store()
    assert await write_path.pool.fetchval("SELECT stepwell.delete_run_v1($1)", cursor.run_id)
    submission, beside = write_path.put(cursor, session.frame()), write_path.put(other, neighbour.frame())
    await write_path.store()
    with pytest.raises(Error, match="run team/mnist/run-1 was deleted on 2") as caught:
        await submission.done
    assert (caught.value.code, caught.value.retryable) == ("run_deleted", False)
    assert "stepwell sync --discard" in str(caught.value.hint)
    assert beside.done.result().stored == 1
    assert [row[0] for row in await write_path.pool.fetch("SELECT DISTINCT run FROM stepwell.history")] == ["run-2"]
