"""Removes what deleted runs have left in the tables of history: whole months where no run is left, else row by row.

Behind `remover`; the command sweeps, and so does a worker every hour. In come rows of `deleted_run`; out goes space.
Promises: each transaction is bounded, and nobody's COPY waits for it; killed anywhere, the next sweep goes on, since a
deleted run stays on the list until nothing of it is left; a pass of the sealer or a merge leaves nothing behind it.

Why nothing is left behind: a batch or a pass that began before the run was deleted has either committed (then its rows
are seen here) or finds no ledger row and is undone; a merge does not write to the ledger, so it is waited for, and
later ones look for the ledger row first (`queries/seal.sql`, short_tracks).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from stepwell_schema import queries

log = logging.getLogger(__name__)

#: Rows of one transaction. A chunk has up to 8 KiB, so this is about 16 MiB.
_ROWS = 2000
#: Waiting for the sealer keeps nobody from anything: a pass takes seconds.
_SEALER_MS = 120_000
#: DETACH … CONCURRENTLY waits for readers of the table, without being in the way of anybody.
_DETACH_MS = 30_000
#: DROP takes a table that nobody can find any more; only readers that were there before may hold it.
_DROP_MS = 5_000
#: The third: another partition of the same parent is half taken out.
_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.ObjectNotInPrerequisiteStateError)


@dataclass(slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        runs: of which nothing is left now.
        rows: removed one by one.
        months: dropped whole.
        dropped_bytes: of these.
        left: runs of which something is left, because it was in use.
    """

    runs: int = 0
    rows: int = 0
    months: int = 0
    dropped_bytes: int = 0
    left: int = 0


class Sweeper:
    """Sweeps over one connection, which it needs for itself and outside of a transaction.

    Args:
        on_progress: told what is done so far, now and then.
    """

    def __init__(self, connection: asyncpg.Connection, on_progress: Callable[[Swept], None] = lambda _: None) -> None:
        self._connection = connection
        self._on_progress = on_progress
        self._sql = queries("delete")
        self._swept = Swept()

    async def sweep(self) -> Swept | None:
        """Removes all that there is to remove; None: another sweep is under way.

        Raises:
            asyncpg.PostgresError, OSError: Postgres is away; the next sweep goes on.
        """
        self._swept = swept = Swept()
        async with self._alone() as claimed:
            if not claimed:
                return None
            await self._finish_what_was_begun()
            runs: dict[int, str] = {}
            busy: list[int] = []
            for row in await self._connection.fetch(self._sql["to_sweep"]):
                if await self._quiet(row):
                    runs[row["run_id"]] = row["month"]
                else:
                    busy.append(row["run_id"])
            for month in await self._connection.fetch(self._sql["months_to_drop"], list(runs)):
                if not any(month["lower_id"] <= run_id < month["upper_id"] for run_id in busy):
                    await self._drop_month(month)
            tables: dict[str, list[int]] = {}  # by month: to look for them takes as long as to sweep a small run
            for run_id, month_name in runs.items():
                if month_name not in tables:
                    found = await self._connection.fetch(self._sql["tables_of_run"], run_id)
                    tables[month_name] = [row["oid"] for row in found]
                await self._sweep_run(run_id, tables[month_name])
            swept.left = len(await self._connection.fetch(self._sql["to_sweep"]))
        return swept

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[bool]:
        claimed = bool(await self._connection.fetchval(self._sql["claim_sweep"]))
        try:
            yield claimed
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("RESET lock_timeout")
                if claimed:
                    await self._connection.execute(self._sql["release_sweep"])

    async def _wait_at_most(self, milliseconds: int) -> None:
        await self._connection.execute(f"SET lock_timeout = {milliseconds}")

    async def _quiet(self, run: asyncpg.Record) -> bool:
        """Whether no pass is under way that may still write rows of the run."""
        await self._wait_at_most(_SEALER_MS)
        try:
            await self._connection.execute(self._sql["await_sealing"], run["run_id"], run["writers"])
        except _IN_USE as error:
            log.info("run %d is being sealed or merged: %s", run["run_id"], error)
            return False
        return True

    async def _finish_what_was_begun(self) -> None:
        """Tables that a sweep had taken out of their parent, or half, when it was killed."""
        for row in await self._connection.fetch(self._sql["half_detached"]):
            await self._detach(row["parent_name"], row["name"], "FINALIZE")
        for row in await self._connection.fetch(self._sql["tables_to_drop"]):
            await self._drop(row["name"], row["bytes"])

    async def _drop_month(self, month: asyncpg.Record) -> None:
        tables = await self._connection.fetch(self._sql["partitions_of_month"], month["lower_id"], month["upper_id"])
        dropped = 0
        for row in tables:
            if row["detaching"]:
                continue
            await self._wait_at_most(_DROP_MS)
            try:
                await self._connection.execute(self._sql["mark_for_drop"], row["oid"])
            except _IN_USE:
                continue
            if await self._detach(row["parent_name"], row["name"], "CONCURRENTLY"):
                dropped += await self._drop(row["name"], row["bytes"])
        self._swept.months += dropped == len(tables)
        self._on_progress(self._swept)

    async def _detach(self, parent: str, table: str, how: str) -> bool:
        await self._wait_at_most(_DETACH_MS)
        try:
            await self._connection.execute(f"ALTER TABLE {parent} DETACH PARTITION {table} {how}")
        except _IN_USE as error:
            log.info("%s is in use; the next sweep takes it out: %s", table, error)
            return False
        return True

    async def _drop(self, table: str, size: int) -> bool:
        await self._wait_at_most(_DROP_MS)
        try:
            await self._connection.execute(f"DROP TABLE IF EXISTS {table}")
        except _IN_USE as error:
            log.info("%s is in use; the next sweep drops it: %s", table, error)
            return False
        self._swept.dropped_bytes += size
        return True

    async def _sweep_run(self, run_id: int, tables: list[int]) -> None:
        await self._wait_at_most(_DROP_MS)
        try:
            for table in tables:
                while True:
                    began = time.monotonic()
                    count = await self._connection.fetchval(self._sql["sweep_rows"], table, run_id, _ROWS)
                    self._swept.rows += count
                    if count < _ROWS:
                        break
                    self._on_progress(self._swept)
                    await asyncio.sleep(time.monotonic() - began)  # half of the time belongs to others
        except _IN_USE as error:
            log.info("rows of run %d are in use; the next sweep takes them: %s", run_id, error)
            return
        await self._connection.execute(self._sql["swept"], [run_id])
        self._swept.runs += 1
