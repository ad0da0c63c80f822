"""Removes the rows of deleted runs from the tables of history: whole months if they have no other run, else row by row.

Runs after `remover`, from the command and hourly from a worker. Takes the runs in `deleted_run` and frees their space.
Promises: each transaction is bounded, and no COPY waits for it; wherever a sweep is killed, the next one continues,
since a deleted run stays on the list until nothing of it is left; after a run's sweep, no sealing pass or merge writes
rows of it.

Why no rows are missed: a batch or a pass that began before the run was deleted has either committed (then its rows are
visible here) or finds no ledger row and is rolled back; a merge does not write to the ledger, so the sweep waits for
it, and later merges look for the ledger row first (`queries/seal.sql`, short_tracks).
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

#: The most rows that one transaction removes. A chunk has up to 8 KiB, so they have about 16 MiB.
_ROWS = 2000
#: The longest wait for the sealer, which blocks no other work; a pass takes seconds.
_SEALER_MS = 120_000
#: The longest wait of DETACH … CONCURRENTLY for readers of the table; it does not block others.
_DETACH_MS = 30_000
#: The longest wait of DROP: no new reader can find the table; only earlier readers may hold it.
_DROP_MS = 5_000
#: The errors of a table in use. The third one is raised while another partition of the same parent is partly detached.
_IN_USE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.ObjectNotInPrerequisiteStateError)


@dataclass(slots=True)
class Swept:
    """The result of a sweep.

    Attributes:
        runs: the number of runs of which nothing is left.
        rows: the number of rows that were removed one by one.
        months: the number of months that were dropped whole.
        dropped_bytes: the size of these months.
        left: the number of runs of which something is left, because it was in use.
    """

    runs: int = 0
    rows: int = 0
    months: int = 0
    dropped_bytes: int = 0
    left: int = 0


class Sweeper:
    """Sweeps deleted runs.

    Args:
        connection: a connection that nothing else uses, outside of a transaction.
        on_progress: called from time to time with the work done so far.
    """

    def __init__(self, connection: asyncpg.Connection, on_progress: Callable[[Swept], None] = lambda _: None) -> None:
        self._connection = connection
        self._on_progress = on_progress
        self._sql = queries("delete")
        self._swept = Swept()

    async def sweep(self) -> Swept | None:
        """Removes everything that deleted runs have left; None: another sweep is running.

        Raises:
            asyncpg.PostgresError, OSError: Postgres cannot be reached; the next sweep continues.
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
            tables: dict[str, list[int]] = {}  # by month: finding them takes as long as sweeping a small run
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
        """Returns whether no sealing pass in progress may still write rows of the run."""
        await self._wait_at_most(_SEALER_MS)
        try:
            await self._connection.execute(self._sql["await_sealing"], run["run_id"], run["writers"])
        except _IN_USE as error:
            log.info("run %d is being sealed or merged: %s", run["run_id"], error)
            return False
        return True

    async def _finish_what_was_begun(self) -> None:
        """Handles tables that a killed sweep had detached from their parent, fully or partly."""
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
            log.info("%s is in use; the next sweep detaches it: %s", table, error)
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
                    await asyncio.sleep(time.monotonic() - began)  # leave half of the time to others
        except _IN_USE as error:
            log.info("rows of run %d are in use; the next sweep removes them: %s", run_id, error)
            return
        await self._connection.execute(self._sql["swept"], [run_id])
        self._swept.runs += 1
