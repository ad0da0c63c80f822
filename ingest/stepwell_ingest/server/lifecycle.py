"""Lifecycle of writers: records heartbeats of those that this worker hears from, and marks silent ones as crashed.

Runs beside the write path. Reads the open streams and the positions of all ledger cursors; writes `heartbeat_at` and
the states `running` and `crashed`. A heartbeat carries the epoch, so a fenced process cannot keep its writer alive. Any
worker may mark writers as crashed (*reap* them).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import Callable, Iterable

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.config import Timeouts
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_schema import queries

log = logging.getLogger(__name__)

Key = tuple[int, int, int]


class Lifecycle:
    """Heartbeats and reaping of one worker.

    Args:
        pool: connections to Postgres.
        timeouts: the interval of heartbeats, and the silence after which a writer counts as crashed.
        attached: returns the cursors of open streams.
        known: returns all cursors of this worker; a writer whose cursor moved since the last beat is alive.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        timeouts: Timeouts,
        attached: Callable[[], Iterable[LedgerCursor]],
        known: Callable[[], Iterable[LedgerCursor]],
    ) -> None:
        self._pool = pool
        self._timeouts = timeouts
        self._attached = attached
        self._known = known
        self._positions: dict[Key, int] = {}
        self._sql = queries("lifecycle")

    async def run(self) -> None:
        """Beats and reaps until cancelled. The next beat makes up for one that fails.

        Reaping begins once beats have succeeded for `silent_s`: at a start, and after Postgres was unreachable or this
        process was stalled, writers may be reconnecting, and other workers may not have recorded yet which writers they
        hear from.
        """
        since = beaten = time.monotonic()
        while True:
            await asyncio.sleep(self._timeouts.beat_s)
            try:
                await self.beat()
                now = time.monotonic()
                if now - beaten > self._timeouts.silent_s / 2:
                    since = now
                beaten = now
                if now - since > self._timeouts.silent_s:
                    await self.reap()
            except (Error, asyncpg.PostgresError) as error:
                log.warning("%s", error)

    async def beat(self) -> None:
        """Records a heartbeat for every writer heard from since the last beat.

        Raises:
            UnavailableError: Postgres cannot be reached; the next beat includes these writers.
        """
        positions = {cursor.key: cursor.committed_seq for cursor in self._known() if not cursor.stale}
        moved = {key for key, seq in positions.items() if seq and self._positions.get(key, seq) != seq}
        attached = {cursor.key: cursor for cursor in self._attached() if not cursor.stale}
        keys = sorted(moved | attached.keys())
        # A late session is no sign that the process of its writer is alive.
        late = {cursor.key for cursor in (*self._known(), *attached.values()) if cursor.late}
        if keys:
            with postgres_errors("record heartbeats"):
                async with self._pool.acquire(timeout=self._timeouts.connect_s) as connection:
                    crashed = await connection.fetch(self._sql["heartbeat"], *map(list, zip(*keys, strict=True)))
                    for row in crashed:
                        if tuple(row) not in late:
                            with contextlib.suppress(asyncpg.LockNotAvailableError):  # the next beat tries again
                                await connection.execute(self._sql["return"], *row)
        self._positions = positions

    async def reap(self) -> None:
        """Marks writers that no worker has heard from for `silent_s` as crashed.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        with postgres_errors("look for silent writers"):
            async with self._pool.acquire(timeout=self._timeouts.connect_s) as connection:
                silent = datetime.timedelta(seconds=self._timeouts.silent_s)
                reaped = await connection.fetchval(self._sql["reap"], silent)
        if reaped:
            log.info("%d silent writers were marked as crashed", reaped)
