"""Turns a session into the cursor of its epoch: attaches the session, and caches its position.

Stands before the intake. The cache holds Postgres' answers; the copier's compare-and-set on the ledger row makes a
stale entry harmless, and `forget` drops it. The cache is bounded: the least recently used cursor without frames in
flight is dropped first.
"""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence

import asyncpg
import orjson

from stepwell.errors import (
    Error,
    FencedError,
    RunDeletedError,
    UnavailableError,
    UnknownWriterError,
    from_dict,
)
from stepwell_ingest.config import Timeouts
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.write.attachment import Attachment, AttachRequest, Earlier, attach_error, wrong_run
from stepwell_ingest.write.failures import Failures
from stepwell_ingest.write.grouping import Grouping
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_ingest.write.locked import locked_error, until_unlocked
from stepwell_schema import queries

_MAX_CURSORS = 20_000


class Catalog:
    """The sessions that this worker knows.

    Args:
        pool: connections to Postgres, for look-ups.
        attaching: more connections, for attaches, ends and disconnections (`db.connect.attach_pool`).
        timeouts: how long to wait for connections and locked runs.
        failures: records attaches that fail because of Postgres; None: the catalog makes a record of its own.
    """

    def __init__(
        self, pool: asyncpg.Pool, attaching: asyncpg.Pool, timeouts: Timeouts, failures: Failures | None = None
    ) -> None:
        self._pool = pool
        self._attaching = attaching
        self._timeouts = timeouts
        self._failures = failures or Failures("writer could attach", timeouts.failing_s)
        self._connect_s = timeouts.connect_s
        self._sql = queries("write")
        self._cursors: OrderedDict[bytes, LedgerCursor] = OrderedDict()
        self._together = Grouping(self._attach_all)
        self._ends = Grouping(self._finish_all)
        self._leaves = Grouping(self._leave_all)

    async def attach(self, request: AttachRequest) -> Attachment:
        """Gives the session a run, a writer and an epoch; creates the run and the writer if they are new.

        Raises:
            FencedError: a newer session took the writer over.
            WrongRunError: the session belongs to another run.
            RunDeletedError: its run was deleted.
            UsageError: the run exists and must not, or it (or the run to fork) must exist and does not.
            DataError: the message has a value that Postgres cannot store.
            LockedError: another transaction has had the run locked for `locked_s`.
            UnavailableError: Postgres cannot be reached.
        """
        with self._failures.watch():
            return await self._attach(request)

    async def _attach(self, request: AttachRequest) -> Attachment:
        came, row = time.monotonic(), None
        if not request.continues:
            row, stands = await until_unlocked(
                lambda: self._together.answer((request, came)),
                lambda answer: answer[0] is not None and answer[0]["run_id"] is None,
                self._timeouts.locked_s,
            )
        if row is None:  # the request asks where to continue, or is invalid
            made = await until_unlocked(
                lambda: self._attach_alone(request, came), lambda made: made is None, self._timeouts.locked_s
            )
            if made is not None:
                return made
        if row is None or row["run_id"] is None:
            raise locked_error(f"run {request.entity}/{request.project}/{request.run}", time.monotonic() - came)
        if row["fenced"]:
            raise _fenced(row["writer"], row["epoch"])
        return await self._attachment(request, row, self._adopt(request.session, stands))

    async def _attach_alone(self, request: AttachRequest, came: float) -> Attachment | None:
        """Attaches; None: another transaction has locked the run."""
        with postgres_errors("attach"):
            async with self._attaching.acquire(timeout=self._connect_s) as connection:
                waited_s = time.monotonic() - came
                try:
                    row = await connection.fetchrow(
                        self._sql["attach"],
                        *request[:4],
                        *(uuid.UUID(bytes=request.session), request.late, orjson.dumps(request.info).decode()),
                        *(request.resume, request.rewind_to, request.fork_run, request.fork_step),
                        request.age_s + waited_s,
                    )
                except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                    return None
                except asyncpg.PostgresError as error:
                    if error.sqlstate == "ST020":
                        raise await self._gone(connection, request.session, request) from error
                    raise attach_error(error, request) from error
                config = meta = tables = None
                if request.resume is not None or request.rewind_to is not None:
                    about = await connection.fetchrow(self._sql["about"], row["run_id"], row["writer_id"])
                    config, meta, tables = map(orjson.loads, about)
        if row["fenced"]:
            raise _fenced(row["writer"], row["epoch"])
        made = await self._attachment(request, row, await self.cursor(request.session, fresh=True))
        return made._replace(config=config, meta=meta, tables=tables)

    async def _attach_all(
        self, asked: Sequence[tuple[AttachRequest, float]]
    ) -> list[tuple[asyncpg.Record | None, asyncpg.Record | None]]:
        """The rows of `attach_all` and of the ledger for each session; None for those that must be attached alone."""
        requests = [request for request, _ in asked]
        sessions = [uuid.UUID(bytes=request.session) for request in requests]
        with postgres_errors("attach"):
            async with self._attaching.acquire(timeout=self._connect_s) as connection:
                now = time.monotonic()
                rows = await connection.fetch(
                    self._sql["attach_all"],
                    *map(list, zip(*(request[:4] for request in requests), strict=True)),
                    sessions,
                    [request.late for request in requests],
                    [orjson.dumps(request.info).decode() for request in requests],
                    [request.age_s + now - came for request, came in asked],
                )
                ledger = await connection.fetch(self._sql["cursors_by_session"], sessions)
        attached = {row["index"]: row for row in rows}
        stands = {row["session"]: row for row in ledger}
        return [(attached.get(index), stands.get(session)) for index, session in enumerate(sessions)]

    async def _attachment(self, request: AttachRequest, row: asyncpg.Record, cursor: LedgerCursor) -> Attachment:
        cursor.late = request.late
        rejected = []
        if request.from_seq is not None and request.from_seq < cursor.committed_seq:
            rejected = await self.rejections(cursor, request.from_seq, cursor.committed_seq)
        return Attachment(cursor, row["resumed"], None, None, None, rejected, await self._earlier(request, row, cursor))

    async def _earlier(self, request: AttachRequest, row: asyncpg.Record, cursor: LedgerCursor) -> Earlier | None:
        """See `Attachment.earlier`. A session that asks where to continue supersedes nothing that it does not know
        about."""
        if request.late or request.continues or cursor.committed_seq:
            return None
        if not row["resumed"] and row["writer"] == request.writer:
            return None
        with postgres_errors("look up earlier history"):
            async with self._pool.acquire(timeout=self._connect_s) as connection:
                found = await connection.fetchrow(self._sql["earlier"], *cursor.key, request.writer)
        return Earlier(*found)

    async def left(self, cursor: LedgerCursor) -> None:
        """Records that a connection has ended before its writer did.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        await self._leaves.answer(cursor)

    async def _leave_all(self, cursors: Sequence[LedgerCursor]) -> list[None]:
        with postgres_errors("record that a writer has disconnected"):
            async with self._attaching.acquire(timeout=self._connect_s) as connection:
                keys = zip(*(cursor.key for cursor in cursors), strict=True)
                await connection.execute(self._sql["left"], *map(list, keys))
        return [None] * len(cursors)

    async def finish(self, cursor: LedgerCursor, exit_code: int) -> None:
        """Records that a writer has ended.

        Raises:
            FencedError: a newer session took the writer over, so the writer has not ended.
            RunDeletedError: the run was deleted.
            LockedError: another transaction has had the run locked for `locked_s`.
            UnavailableError: Postgres cannot be reached.
        """
        began = time.monotonic()
        current = await until_unlocked(
            lambda: self._ends.answer((cursor, exit_code)), lambda answer: answer is None, self._timeouts.locked_s
        )
        if current is None:
            raise locked_error("the run", time.monotonic() - began)
        if not current:
            await self.reload(cursor)  # raises the reason, if there is one
            raise UnavailableError(
                "this worker's copy of the writer's ledger row may be out of date", hint="attach again"
            )

    async def _finish_all(self, ended: Sequence[tuple[LedgerCursor, int]]) -> list[bool | None]:
        """Records the ends; returns for each whether the epoch was the current one, or None if another transaction has
        locked the run."""
        with postgres_errors("record the end of a writer"):
            async with self._attaching.acquire(timeout=self._connect_s) as connection:
                rows = await connection.fetch(
                    self._sql["finish"],
                    *map(list, zip(*((*cursor.key, exit_code) for cursor, exit_code in ended), strict=True)),
                )
        return [current for _, current in sorted(rows)]

    async def rejections(self, cursor: LedgerCursor, first_seq: int, next_seq: int) -> list[tuple[int, Error]]:
        """The rejected frames of a session, from `first_seq` to below `next_seq`, for a sender that repeats them.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        with postgres_errors("look up rejections"):
            async with self._pool.acquire(timeout=self._connect_s) as connection:
                rows = await connection.fetch(self._sql["rejections_between"], *cursor.key, first_seq, next_seq)
        return [(row["seq"], from_dict(row)) for row in rows]

    async def cursor(self, session: bytes, fresh: bool = False) -> LedgerCursor:
        """The cursor of an attached session.

        Args:
            session: the id of the session, 16 bytes.
            fresh: whether to ask Postgres even if the session is cached: other workers may have stored frames of it.

        Raises:
            UnknownWriterError: the session never attached.
            RunDeletedError: its run was deleted.
            FencedError: a newer session took the writer over.
            UnavailableError: Postgres cannot be reached.
        """
        known = self._cursors.get(session)
        if known is not None and not known.stale and not fresh:
            self._cursors.move_to_end(session)
            return known
        with self._failures.watch(), postgres_errors("look up a writer"):
            async with self._pool.acquire(timeout=self._connect_s) as connection:
                row = await connection.fetchrow(self._sql["cursors_by_session"], [uuid.UUID(bytes=session)])
                gone = await self._gone(connection, session) if row is None else None
        if gone is not None:
            self.forget(session)
            raise gone
        return self._adopt(session, row)

    def _adopt(self, session: bytes, row: asyncpg.Record) -> LedgerCursor:
        """The cursor of a session, from its row in the ledger.

        Raises:
            FencedError: a newer session took the writer over.
        """
        if row["fenced"]:
            self.forget(session)
            raise _fenced(row["writer"], row["epoch"])
        # There must be one live cursor for each session. The cached cursor is kept if it is not behind the row (another
        # task may have made it meanwhile, and it may have frames in flight); otherwise, it becomes stale.
        known = self._cursors.get(session)
        if known is not None and not known.stale:
            if known.key == (row["run_id"], row["writer_id"], row["epoch"]) and known.committed_seq >= row["next_seq"]:
                return known
            known.stale = True
        cursor = LedgerCursor(
            *(row["run_id"], row["writer_id"], row["epoch"], row["writer"], session),
            *(row["next_seq"], row["last_step"], row["first_step"], row["checksums"]),
        )
        if len(self._cursors) >= _MAX_CURSORS:
            self._evict()
        self._cursors[session] = cursor
        self._cursors.move_to_end(session)
        return cursor

    async def _gone(
        self, connection: asyncpg.Connection, session: bytes, request: AttachRequest | None = None
    ) -> Error:
        """Why a session has no row in the ledger; a request for another project does not learn of a deleted run."""
        row = await connection.fetchrow(self._sql["deleted_run_of"], uuid.UUID(bytes=session))
        if row is not None and request is not None and (row["entity"], row["project"]) != request[:2]:
            return wrong_run(request)
        if row is not None:
            return RunDeletedError(
                f"run {row['entity']}/{row['project']}/{row['name']} was deleted on {row['deleted_at']} UTC",
                hint="nothing more can be logged to it; a new process creates a new run with that id. "
                "`stepwell sync --discard` removes what spools still hold of it",
            )
        return unknown_session(session)

    async def stored(self, sessions: Sequence[bytes]) -> dict[bytes, tuple[int, bool, str]]:
        """For each known session: the seq below which everything is stored, whether it is fenced, and the writer's
        state.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        with postgres_errors("look up writers"):
            async with self._pool.acquire(timeout=self._connect_s) as connection:
                ids = [uuid.UUID(bytes=session) for session in sessions]
                rows = await connection.fetch(self._sql["stored_by_session"], ids)
        return {row["session"].bytes: (row["next_seq"], row["fenced"], row["state"]) for row in rows}

    def _evict(self) -> None:
        """Drops the least recently used cursor that has nothing in flight."""
        for session, cursor in self._cursors.items():
            if not cursor.in_flight:
                # The cursor becomes stale: a stream that still holds it attaches again, so there are never two.
                self.forget(session)
                return

    def cursors(self) -> list[LedgerCursor]:
        """All cursors that are cached now."""
        return list(self._cursors.values())

    def forget(self, session: bytes) -> None:
        """Drops the cached cursor of a session; the next look-up asks Postgres."""
        cursor = self._cursors.pop(session, None)
        if cursor is not None:
            cursor.stale = True

    async def reload(self, cursor: LedgerCursor) -> LedgerCursor:
        """Reads a stale cursor anew from Postgres; raises the same errors as `cursor`."""
        cursor.stale = True
        return await self.cursor(cursor.session)


def unknown_session(session: bytes) -> UnknownWriterError:
    """The error for a session that never attached."""
    return UnknownWriterError(
        "no writer has this session",
        detail=f"session {session.hex()}",
        hint="attach first (POST /v1/attach, or the first message of a stream)",
    )


def _fenced(writer: str, epoch: int) -> FencedError:
    return FencedError(
        f"a newer process has taken over writer {writer}",
        detail=f"epoch {epoch} is closed",
        hint="two processes log as the same writer of one run: set STEPWELL_WRITER or RANK, or pass writer=… to init. "
        "`stepwell sync` delivers what the older process still has on disk, as a separate writer",
    )
