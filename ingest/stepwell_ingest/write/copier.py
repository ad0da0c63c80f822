"""One batch, one transaction: the ledger rows move by compare-and-set, blocks and objects go in by COPY, then COMMIT.

Receives batches; answers their submissions, never before COMMIT. Promises: a frame is stored once or not at all,
together with the move of its ledger row; a frame that Postgres refuses fails alone (the batch is halved until it is
found, then it is recorded as rejected and its seq counts as used); when it is unknown whether a COMMIT happened, every
sender is told to retry, and the ledger settles it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator

import asyncpg

from stepwell.errors import Error, RejectionError, SequenceGapError, UnavailableError, WireError
from stepwell_ingest.config import Timeouts
from stepwell_ingest.db.errors import is_missing_partition, no_partition, postgres_errors
from stepwell_ingest.metrics import Metrics
from stepwell_ingest.write import pgcopy
from stepwell_ingest.write.batcher import Batch, Batcher, Submission
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.failures import Failures
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_ingest.write.locked import LockedError, locked_error, pause_s
from stepwell_ingest.write.names import Ids, MetricNames
from stepwell_ingest.write.pressure import Pressure
from stepwell_ingest.write.rows import (
    Group,
    Move,
    block_rows,
    halves,
    move_of,
    naming_blobs,
    note_rows,
    object_rows,
)
from stepwell_schema import queries

log = logging.getLogger(__name__)


class RowsError(RejectionError):
    """Postgres refused the rows of a frame that had passed validation."""

    code = "rows"


class _OutOfStepError(Exception):
    """The ledger rows of some writers did not move: another worker or a newer epoch came first (`groups`), or another
    transaction has locked them (`locked`)."""

    def __init__(self, groups: list[Group], locked: list[Group]) -> None:
        self.groups = groups
        self.locked = locked


class Copier:
    """Stores batches, one after the other. A worker runs several copiers concurrently.

    Args:
        pool: connections to Postgres.
        catalog: reads stale cursors again.
        names: looks up metric ids.
        batcher: the source of batches.
        metrics: counts what is stored.
        timeouts: how long to wait for connections, statements and locked writers.
        pressure: determines the pause between batches.
        failures: records whether batches are stored.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        catalog: Catalog,
        names: MetricNames,
        batcher: Batcher,
        metrics: Metrics,
        timeouts: Timeouts,
        pressure: Pressure,
        failures: Failures,
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._names = names
        self._batcher = batcher
        self._metrics = metrics
        self._timeouts = timeouts
        self._pressure = pressure
        self._failures = failures
        self._sql = queries("write")

    async def run(self) -> None:
        """Runs until cancelled. When cancelled in the middle of a batch, it answers that batch with a retryable
        error."""
        while True:
            batch = await self._batcher.next_batch()
            began = time.perf_counter()
            # Writers with metric names that must be looked up first do not hold up the others.
            parts = deque(part for part in batch.parted(self._is_known) if part.writers)
            try:
                while parts:
                    await self._store_batch(parts[0])
                    self._batcher.release(parts.popleft())
            except BaseException:
                for part in parts:
                    for item in part.submissions():
                        if not item.done.done():
                            self._give_up(part, item.cursor, UnavailableError("the server is stopping"))
                    self._batcher.release(part)
                raise
            if pause_s := self._pressure.pause_s(time.perf_counter() - began):
                await asyncio.sleep(pause_s)

    def _is_known(self, submission: Submission) -> bool:
        run_id = submission.cursor.run_id
        return all(self._names.known(run_id, entry.frame.blocks) for entry in submission.entries)

    async def _store_batch(self, batch: Batch) -> None:
        began = time.perf_counter()
        try:
            stale = UnavailableError(
                "this worker's copy of the writer's ledger row may be out of date",
                hint="the SDK attaches again and continues",
            )
            groups: list[Group] = []
            for queue in batch.writers.values():
                live = [item for item in queue if not item.cursor.stale]
                for item in queue:
                    if item.cursor.stale:
                        item.fail(stale)
                entries = [entry for item in live for entry in item.entries]
                if entries:
                    groups.append(Group(live[0].cursor, entries))
            ids, failed = await self._resolve_names(groups)
            lost = {id(group.cursor) for group, _ in failed}
            failed += await self._store([group for group in groups if id(group.cursor) not in lost], ids)
            for group, error in failed:
                final = self._put_back(batch, group.cursor) if isinstance(error, LockedError) else error
                if final is not None:
                    self._give_up(batch, group.cursor, final)
            if len(failed) < len(groups):
                self._failures.over()
            elif away := [
                error
                for _, error in failed
                if isinstance(error, UnavailableError) and not isinstance(error, LockedError)
            ]:
                self._failures.add(away[-1])
            for item in batch.submissions():
                if item.done.done():
                    continue
                if item.duplicates:  # a retry of a rejected frame is told of the rejection again
                    seqs = item.duplicates
                    refused = await self._catalog.rejections(item.cursor, min(seqs), max(seqs) + 1)
                    item.conflicts += [(seq, error) for seq, error in refused if seq in set(seqs)]
                item.succeed()
        except BaseException as error:
            if isinstance(error, Error):
                answer = error
            else:
                answer = UnavailableError(
                    "unexpected error while storing a batch", detail=f"{type(error).__name__}: {error}"
                )
            if not isinstance(error, Error | asyncio.CancelledError):
                log.exception("unexpected error while storing a batch")
            for item in batch.submissions():
                if not item.done.done():
                    self._give_up(batch, item.cursor, answer)
            if not isinstance(error, Exception):
                raise
            self._metrics.batches_failed.inc()
            self._failures.add(answer)
        else:
            self._metrics.batch_stored(batch.frames, batch.size, time.perf_counter() - began)

    def _put_back(self, batch: Batch, cursor: LedgerCursor) -> LockedError | None:
        """Schedules a retry for a locked writer; returns the error instead once it has been locked for too long."""
        first, now = batch.writers[cursor.key][0], time.monotonic()
        if not first.tries:
            first.first_try = now
        if now - first.first_try > self._timeouts.locked_s:
            return locked_error(f"writer {cursor.writer} or its run", now - first.first_try)
        self._batcher.put_back(batch, cursor, pause_s(first.tries))
        first.tries += 1
        return None

    def _give_up(self, batch: Batch, cursor: LedgerCursor, error: Error) -> None:
        """Fails all submissions of a writer with `error`, in the batch and in its queue; the cursor becomes stale."""
        cursor.stale = True  # the catalog reads it again at the next request
        for queue in batch.writers.values():
            for item in queue:
                if item.cursor is cursor:
                    item.fail(error)
        self._batcher.fail_queue(cursor, error)

    async def _resolve_names(self, groups: Iterable[Group]) -> tuple[Ids, list[tuple[Group, Error]]]:
        """Looks up the metric ids of every key set in the batch; returns the groups whose ids are not available now,
        and why.

        A frame whose names cannot be stored becomes a rejection.
        """
        ids: Ids = {}
        failed: list[tuple[Group, Error]] = []
        await self._names.prepare(
            (group.cursor.run_id, entry.frame.blocks)
            for group in groups
            for entry in group.entries
            if entry.rejection is None
        )
        for group in groups:
            for entry in group.entries:
                if entry.rejection is not None:
                    continue
                try:
                    await self._names.ids(group.cursor.run_id, entry.frame.blocks, ids)
                except LockedError as error:
                    failed.append((group, error))
                    break
                except RejectionError as error:
                    entry.rejection = error
                except WireError as error:
                    entry.rejection = RowsError(error.message, detail=error.detail)
                except asyncpg.PostgresError as error:  # caused by the rows: `MetricNames` converts all others
                    if is_missing_partition(error):
                        failed.append((group, no_partition(error)))
                        break
                    entry.rejection = RowsError("Postgres refused to store these names", detail=str(error)[:500])
        return ids, failed

    async def _store(self, groups: list[Group], ids: Ids) -> list[tuple[Group, Error]]:
        """Commits the groups; returns those that could not be stored, with the reasons.

        Raises:
            UnavailableError: Postgres cannot be reached, or it is unknown whether the COMMIT happened.
        """
        failed: list[tuple[Group, Error]] = []
        while groups:
            try:
                with postgres_errors("store a batch"):
                    await self._commit(groups, ids)
                break
            except _OutOfStepError as error:
                failed += [(group, await self._why_out_of_step(group.cursor)) for group in error.groups]
                failed += [(group, locked_error(f"writer {group.cursor.writer}", 0.0)) for group in error.locked]
                lost = {id(group.cursor) for group in (*error.groups, *error.locked)}
                groups = [group for group in groups if id(group.cursor) not in lost]
            except asyncpg.PostgresError as error:  # caused by the rows: postgres_errors converts all other errors
                if len(groups) == 1 and is_missing_partition(error):
                    failed.append((groups[0], no_partition(error)))
                    break
                if len(groups) == 1 and len(groups[0].entries) == 1:
                    entry = groups[0].entries[0]
                    if entry.rejection is not None:
                        raise UnavailableError("a rejection could not be recorded", detail=str(error)[:500]) from error
                    entry.rejection = RowsError("Postgres refused to store this frame", detail=str(error)[:500])
                    continue
                first, second = halves(groups)
                failed += await self._store(first, ids)
                lost = {id(group.cursor) for group, _ in failed}
                # Halves of one writer: if the first was not stored, the second must not be, either.
                failed += await self._store([group for group in second if id(group.cursor) not in lost], ids)
                break
        return failed

    async def _commit(self, groups: list[Group], ids: Ids) -> None:
        groups = [group for group in groups if group.entries]
        moves = [move_of(cursor, entries) for cursor, entries in groups]
        async with self._pool.acquire(timeout=self._timeouts.connect_s) as connection, connection.transaction():
            slot = await self._move_ledger(connection, groups, moves)
            blocks = list(block_rows(groups, ids))
            if blocks:
                await self._copy(
                    *(connection, f"hot_block_{slot}", pgcopy.BLOCK_COLUMNS, pgcopy.block_pieces(blocks), len(blocks))
                )
            objects = list(object_rows(groups))
            if objects:
                await self._copy(
                    *(connection, "hot_object", pgcopy.OBJECT_COLUMNS, pgcopy.object_pieces(objects), len(objects))
                )
            notes = list(note_rows(groups))
            if notes:
                await self._copy(connection, "note", pgcopy.NOTE_COLUMNS, pgcopy.note_pieces(notes), len(notes))
            named = list(naming_blobs(objects, notes))
            if named:
                await connection.execute(
                    self._sql["use_blobs"], *map(list, zip(*named, strict=True)), timeout=self._timeouts.statement_s
                )
            await self._record_rejections(connection, groups)
        self._metrics.entries_committed(entry for _, entries in groups for entry in entries)
        for move in moves:
            move.cursor.commit(len(move.entries), move.last_step, move.first_step)

    async def _move_ledger(self, connection: asyncpg.Connection, groups: list[Group], moves: list[Move]) -> int:
        """Moves all ledger rows, or raises; returns the slot of hot_block for the blocks."""
        rows = zip(*(move.row() for move in moves), strict=True)
        ring: int
        ring, behind, locked = await connection.fetchrow(
            self._sql["move_ledger"], *map(list, rows), timeout=self._timeouts.statement_s
        )
        if behind or locked:
            raise _OutOfStepError(*([groups[position - 1] for position in found or ()] for found in (behind, locked)))
        # Also for a writer's first epoch: in a fork, its first step hides inherited points.
        opened = [(*move.cursor.key, move.first_step) for move in moves if move.opens]
        if opened:
            held = await connection.fetch(
                self._sql["lock_superseded"], *map(list, zip(*opened, strict=True)), timeout=self._timeouts.statement_s
            )
            if held:
                writers = {tuple(row) for row in held}
                raise _OutOfStepError([], [group for group in groups if group.cursor.key in writers])
            await connection.execute(
                self._sql["supersede"], *map(list, zip(*opened, strict=True)), timeout=self._timeouts.statement_s
            )
        return ring

    async def _copy(
        self,
        connection: asyncpg.Connection,
        table: str,
        columns: tuple[str, ...],
        pieces: Iterator[memoryview | bytes] | Iterator[bytes],
        count: int,
    ) -> None:
        async def source() -> AsyncIterator[memoryview | bytes]:
            for piece in pieces:
                yield piece

        # This timeout fires before asyncpg's own, which raises an AttributeError between two pieces (0.32). The latter
        # is set below to twice as long, because otherwise the pool's `command_timeout` would apply.
        async with asyncio.timeout(self._timeouts.statement_s):
            tag = await connection.copy_to_table(
                table,
                schema_name="stepwell",
                columns=columns,
                source=source(),
                format="binary",
                timeout=2 * self._timeouts.statement_s,
            )
        if tag != f"COPY {count}":
            raise UnavailableError(
                "Postgres stored a different number of rows than it was given", detail=f"{tag} of {count}"
            )

    async def _record_rejections(self, connection: asyncpg.Connection, groups: Iterable[Group]) -> None:
        rows = [
            (
                *cursor.key,
                entry.header.seq,
                refusal.code,
                str(refusal).replace("\0", "\ufffd")[:2000],
                entry.header.points or entry.header.dropped,
                entry.header.objects - entry.header.notes,
                min((int(block.steps.min()) for block in entry.frame.blocks), default=None),
                max((int(block.steps.max()) for block in entry.frame.blocks), default=None),
            )
            for cursor, entries in groups
            for entry in entries
            if (refusal := entry.refusal) is not None
        ]
        if rows:
            await connection.execute(
                self._sql["insert_rejections"], *map(list, zip(*rows, strict=True)), timeout=self._timeouts.statement_s
            )

    async def _why_out_of_step(self, cursor: LedgerCursor) -> Error:
        """Finds out from the ledger why a row did not move."""
        try:
            fresh = await self._catalog.reload(cursor)
        except Error as error:
            return error  # fenced, or its run was deleted
        return SequenceGapError(
            "another worker stored frames of this writer",
            expected=fresh.committed_seq,
            detail=f"writer {cursor.writer}, this worker was at seq {cursor.committed_seq}",
        )
