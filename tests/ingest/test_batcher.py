"""The batcher: batches grow while no copier takes them, a writer is in one batch at a time, every submission is
answered."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stepwell.errors import Error, StepOrderError, UnavailableError
from stepwell.wire import Frame, Header
from stepwell_ingest.write.batcher import Batch, Batcher, Entry, Submission
from stepwell_ingest.write.ledger import LedgerCursor


def cursor(writer: int) -> LedgerCursor:
    return LedgerCursor(1, writer, 1, str(writer), writer.to_bytes(16), 0, -1, None, b"")


def header(seq: int) -> Header:
    return Header(0, 64, 0, bytes(16), seq, 0, 0, 0, 0, 5000 + seq)


def submission(
    where: LedgerCursor, seq: int = 0, size: int = 64, frames: int = 1, loop: asyncio.AbstractEventLoop | None = None
) -> Submission:
    entries = [Entry(header(seq + n), Frame(header(seq + n), [], []), -1) for n in range(frames)]
    last = header(seq + max(frames, 1) - 1)
    done = (loop or asyncio.get_running_loop()).create_future()
    return Submission(where, entries, [], [], last, size, done)


def taken(batch: Batch) -> list[Submission]:
    return [item for queue in batch.writers.values() for item in queue]


async def test_lone_submission_is_not_delayed() -> None:
    batcher = Batcher(1000, 100)
    waiting = asyncio.create_task(batcher.next_batch())
    await asyncio.sleep(0)
    item = submission(cursor(1))
    batcher.put(item)
    batch = await waiting
    assert taken(batch) == [item]
    assert (batch.frames, batch.size) == (1, 64)
    assert not batcher.idle
    batcher.release(batch)
    assert batcher.idle


async def test_submissions_gather_while_copiers_are_busy() -> None:
    batcher = Batcher(100_000, 1000)
    one, two = cursor(1), cursor(2)
    items = [submission(where, seq) for seq in range(5) for where in (one, two)]
    for item in items:
        batcher.put(item)
    assert batcher.waiting == 10
    batch = await batcher.next_batch()
    assert batch.writers == {one.key: items[::2], two.key: items[1::2]}
    assert batcher.waiting == 0


async def test_writer_is_in_one_batch_at_a_time() -> None:
    batcher = Batcher(100_000, 1000)
    where, other = cursor(1), cursor(2)
    batcher.put(submission(where, 0))
    first = await batcher.next_batch()
    batcher.put(submission(where, 1))
    batcher.put(submission(other, 0))
    second = await batcher.next_batch()
    assert list(second.writers) == [other.key]
    third = asyncio.create_task(batcher.next_batch())
    await asyncio.sleep(0)
    assert not third.done()
    batcher.release(first)
    assert [item.last.seq for item in taken(await third)] == [1]


async def test_batch_is_limited_by_bytes() -> None:
    batcher = Batcher(250, 1000)
    where = cursor(1)
    for seq in range(5):
        batcher.put(submission(where, seq, size=100))
    seen = []
    while not batcher.idle:
        batch = await batcher.next_batch()
        assert batch.size <= 250
        seen += [item.last.seq for item in taken(batch)]
        batcher.release(batch)
    assert seen == [0, 1, 2, 3, 4]


async def test_batch_is_limited_by_frames() -> None:
    batcher = Batcher(100_000, 3)
    for writer in range(5):
        batcher.put(submission(cursor(writer)))
    assert (await batcher.next_batch()).frames == 3
    assert (await batcher.next_batch()).frames == 2


async def test_oversized_submission_is_a_batch_alone() -> None:
    batcher = Batcher(100, 1000)
    batcher.put(submission(cursor(1), size=1000))
    batcher.put(submission(cursor(2), size=10))
    assert (await batcher.next_batch()).size == 1000
    assert (await batcher.next_batch()).size == 10


async def test_writer_that_did_not_fit_is_first_next_time() -> None:
    batcher = Batcher(150, 1000)
    for writer in (1, 2, 3):
        batcher.put(submission(cursor(writer), size=100))
    assert list((await batcher.next_batch()).writers) == [cursor(1).key]
    assert list((await batcher.next_batch()).writers) == [cursor(2).key]


async def test_stale_cursor_fails_only_its_queue() -> None:
    batcher = Batcher(100_000, 1000)
    old, new, other = cursor(1), cursor(1), cursor(2)
    items = [submission(old, 0), submission(old, 1), submission(new, 0), submission(other, 0)]
    for item in items:
        batcher.put(item)
    batcher.fail_queue(old, UnavailableError("gone"))
    for item in items[:2]:
        with pytest.raises(UnavailableError, match="gone"):
            await item.done
    assert taken(await batcher.next_batch()) == items[2:]


async def slow_batcher() -> Batcher:
    """A batcher that has just stored a slow batch, so that small frames gather (for up to a minute)."""
    batcher = Batcher(100_000, 1000, gather_s=60, gather_bytes=10_000, gather_frames=4)
    batcher.put(submission(cursor(9)))
    batch = await batcher.next_batch()
    batch.began -= 3600
    batcher.release(batch)
    batcher.put(submission(cursor(9), 1))
    batcher.release(await batcher.next_batch())
    return batcher


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_small_frames_are_gathered() -> None:
    batcher = await slow_batcher()
    waiting = asyncio.create_task(batcher.next_batch())
    for writer in range(3):
        batcher.put(submission(cursor(writer)))
        await settle()
    assert not waiting.done()
    batcher.put(submission(cursor(3)))
    assert (await waiting).frames == 4


async def test_large_frame_is_not_delayed() -> None:
    batcher = await slow_batcher()
    waiting = asyncio.create_task(batcher.next_batch())
    batcher.put(submission(cursor(1)))
    await settle()
    batcher.put(submission(cursor(2), size=10_000))
    assert (await waiting).size == 10_064


async def test_stopping_server_stores_gathered_frames() -> None:
    batcher = await slow_batcher()
    waiting = asyncio.create_task(batcher.next_batch())
    batcher.put(submission(cursor(1)))
    await settle()
    assert not waiting.done()
    batcher.close()
    assert (await waiting).frames == 1


async def test_batch_is_split_by_writers() -> None:
    batcher = Batcher(100_000, 1000)
    quick, slow = cursor(1), cursor(2)
    items = [submission(quick), submission(slow), submission(slow, 1)]
    for item in items:
        batcher.put(item)
    first, second = (await batcher.next_batch()).parted(lambda item: item is not items[2])
    assert (taken(first), first.frames, first.size) == ([items[0]], 1, 64)
    assert (taken(second), second.frames, second.size) == (items[1:], 2, 128)
    batcher.release(first)
    batcher.put(submission(quick, 1))
    batcher.put(submission(slow, 2))
    assert list((await batcher.next_batch()).writers) == [quick.key]
    batcher.release(second)
    assert list((await batcher.next_batch()).writers) == [slow.key]


async def test_failed_queue_leaves_nothing_behind() -> None:
    batcher = Batcher(100_000, 1000)
    where = cursor(1)
    batcher.put(submission(where, 0))
    batcher.fail_queue(where, UnavailableError("gone"))
    batcher.fail_queue(where, UnavailableError("gone"))
    assert batcher.idle
    batcher.put(submission(where, 0))
    assert len(taken(await batcher.next_batch())) == 1


async def test_closed_batcher_hands_out_the_rest() -> None:
    batcher = Batcher(100_000, 1000)
    batcher.check_open()
    batcher.put(submission(cursor(1)))
    batcher.close()
    with pytest.raises(UnavailableError, match="the server is stopping\n  Hint: the SDK reconnects automatically"):
        batcher.check_open()
    assert len(taken(await batcher.next_batch())) == 1


async def test_outcome_counts_each_frame() -> None:
    item = submission(cursor(1), 4, frames=3)
    refusal, conflict = StepOrderError("back"), Error("conflict")
    item.entries[1].rejection = refusal
    item.duplicates.append(2)
    item.conflicts.append((3, conflict))
    item.succeed()
    outcome = await item.done
    assert outcome.as_dict() == {
        "next_seq": 7,
        "stored": 2,
        "duplicate": 1,
        "rejected": [{"seq": 5, **refusal.as_dict()}, {"seq": 3, **conflict.as_dict()}],
        "checksum": 5006,
    }


async def test_cancelled_submission_is_not_answered() -> None:
    item = submission(cursor(1))
    item.done.cancel()
    item.succeed()
    item.fail(UnavailableError("gone"))
    assert item.done.cancelled()


class BatcherMachine(RuleBasedStateMachine):
    """Copiers take and release in any order while writers put and fail: nothing is lost, duplicated or reordered."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.batcher = Batcher(300, 5)
        self.cursors = [cursor(writer) for writer in range(3)]
        self.next_put = [0, 0, 0]
        self.next_taken = [0, 0, 0]
        self.batches: list[Batch] = []

    def teardown(self) -> None:
        self.loop.close()

    @rule(writer=st.integers(0, 2), size=st.integers(1, 400), frames=st.integers(0, 7))
    def put(self, writer: int, size: int, frames: int) -> None:
        item = submission(self.cursors[writer], 0, size, frames, self.loop)
        item.duplicates.append(self.next_put[writer])  # its place in the writer's order
        self.batcher.put(item)
        self.next_put[writer] += 1

    @precondition(lambda self: self.batcher._ready)
    @rule()
    def take(self) -> None:
        batch = self.loop.run_until_complete(self.batcher.next_batch())
        assert batch.writers
        for key, items in batch.writers.items():
            assert all(key not in other.writers for other in self.batches)
            for item in items:
                assert item.duplicates == [self.next_taken[key[1]]]
                self.next_taken[key[1]] += 1
        alone = len(taken(batch)) == 1
        assert alone or not batch.frames or batch.size <= 300 or len([i for i in taken(batch) if i.entries]) <= 1
        self.batches.append(batch)

    @precondition(lambda self: self.batches)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.batcher.release(self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1))))

    @rule(writer=st.integers(0, 2))
    def fail(self, writer: int) -> None:
        self.batcher.fail_queue(self.cursors[writer], UnavailableError("gone"))
        self.next_taken[writer] = self.next_put[writer]

    @invariant()
    def nothing_is_forgotten(self) -> None:
        waiting = sum(put - out for put, out in zip(self.next_put, self.next_taken, strict=True))
        assert self.batcher.waiting == waiting
        assert self.batcher.idle == (not waiting and not self.batches)
        queued = [item for queue in self.batcher._queues.values() for item in queue]
        assert self.batcher._queued_frames == sum(len(item.entries) for item in queued)
        assert self.batcher._queued_bytes == sum(item.size for item in queued)
        busy = {key for batch in self.batches for key in batch.writers}
        free = {where.key for n, where in enumerate(self.cursors) if self.next_put[n] > self.next_taken[n]} - busy
        assert set(self.batcher._ready) == free
        assert len(self.batcher._ready) == len(free)


TestBatcherAgainstItsModel = BatcherMachine.TestCase
TestBatcherAgainstItsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
