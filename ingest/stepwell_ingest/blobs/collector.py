"""Removes blobs that no run names any more: row marked, file moved aside, row removed, file removed.

The last station of a blob, after the sweep of deleted runs. Takes rows of `blob` that no row of `blob_use` names, if no
client was told within the grace period that the blob is stored. Promises: while a row is marked, no client is told that
its blob is stored, and an upload of the blob is told to retry; wherever a collector is killed, a later pass continues;
any number of servers may collect at the same time, since only one of them marks a row. Only files with a row are
removed, so other files in the folder or bucket stay.

A collector may be suspended for longer than its lease and then continue. By then the blob may have been uploaded again.
So a file is first moved to a name that belongs to this removal, and then the row decides: if it still has the mark of
this removal, the file is removed; if an upload has cleared the mark, the file is moved back. The content is the same in
either case.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import time
from dataclasses import dataclass

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.blobs import incoming
from stepwell_ingest.blobs.presence import REMOVAL_LEASE_S
from stepwell_ingest.blobs.store import Store
from stepwell_ingest.config import Timeouts
from stepwell_ingest.db.connect import maintenance_connection
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

log = logging.getLogger(__name__)

_EVERY_S = 3600.0
#: The longest delay after a sweep of deleted runs.
_LOOK_EVERY_S = 60.0
#: The most rows that one query examines, and so the most files that are removed in one lease.
_ROWS = 500
#: The folder of files between the two steps of their removal.
_ASIDE = "removing"


@dataclass(slots=True)
class Collected:
    """The result of a pass.

    Attributes:
        blobs, bytes: the number and the size of the blobs whose file and row were removed.
    """

    blobs: int = 0
    bytes: int = 0


class Collector:
    """Removes unused blobs, over a connection of its own for each pass.

    Args:
        dsn: the DSN of Postgres.
        store: the store of the files.
        timeouts: the grace period of blobs (`blob_grace_s`), and the time-outs of Postgres.
    """

    def __init__(self, dsn: str, store: Store, timeouts: Timeouts) -> None:
        self._dsn = dsn
        self._store = store
        self._timeouts = timeouts
        self._sql = queries("blobs")
        self._lease = datetime.timedelta(seconds=REMOVAL_LEASE_S)
        self._grace = datetime.timedelta(seconds=timeouts.blob_grace_s)

    async def run(self, pool: asyncpg.Pool) -> None:
        """Collects at the start, every hour, and soon after rows of a deleted run were swept, until it is cancelled."""
        swept_at, collected_at = None, -_EVERY_S
        while True:
            try:
                with postgres_errors("look for sweeps"):
                    last = await pool.fetchval(self._sql["last_sweep"])
                if last != swept_at or time.monotonic() - collected_at >= _EVERY_S:
                    await self.collect()
                    swept_at, collected_at = last, time.monotonic()
            except Error as error:
                log.warning("unused files could not be removed; trying again: %s", error)
            except asyncpg.PostgresError as error:
                log.error("unused files could not be removed: %s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def collect(self) -> Collected | None:
        """One pass over all blobs; None: another collector is at work.

        Raises:
            UnavailableError: Postgres or the store does not answer; a later pass removes the rest.
        """
        with postgres_errors("find unused files"):
            connection = await maintenance_connection(
                self._dsn, "collect", self._timeouts.connect_s, self._timeouts.statement_s
            )
            try:
                if not await connection.fetchval(self._sql["claim_collection"]):
                    return None
                collected = await self._pass(connection)
            finally:
                await connection.close(timeout=5)  # releases the claim
        if collected.blobs:
            log.info("%d unused files (%d bytes) were removed", collected.blobs, collected.bytes)
        return collected

    async def _pass(self, connection: asyncpg.Connection) -> Collected:
        await self._settle_left(connection)
        collected = Collected()
        after: bytes | None = None
        while True:
            began = time.monotonic()  # before the lease begins
            found = await self._claim(connection, after)
            if found["claimed"]:
                await self._remove(connection, found["claimed"], found["claimed_at"], began, collected)
            after = found["last_seen"]
            if after is None:
                return collected
            await asyncio.sleep(time.monotonic() - began)  # leave half of the time to others

    async def _claim(self, connection: asyncpg.Connection, after: bytes | None) -> asyncpg.Record:
        return await connection.fetchrow(self._sql["claim_unused"], after, _ROWS, self._grace, self._lease)

    async def _remove(
        self,
        connection: asyncpg.Connection,
        claimed: list[bytes],
        claimed_at: datetime.datetime,
        began: float,
        collected: Collected,
    ) -> None:
        aside: dict[bytes, str] = {}
        try:
            for sha256 in claimed:
                if time.monotonic() - began > REMOVAL_LEASE_S / 2:
                    log.info("the store is slow: %d files are left for a later pass", len(claimed) - len(aside))
                    break
                path = f"{_ASIDE}/{sha256.hex()}-{claimed_at.timestamp():.6f}"
                await self._store.move(incoming.path_of(sha256.hex()), path)
                aside[sha256] = path
        finally:
            if aside:
                await self._forget(connection, list(aside), claimed_at, collected)
        await self._settle(connection, aside)

    async def _forget(
        self, connection: asyncpg.Connection, moved: list[bytes], claimed_at: datetime.datetime, collected: Collected
    ) -> None:
        row = await connection.fetchrow(self._sql["removed"], moved, claimed_at)
        collected.blobs += row["blobs"]
        collected.bytes += row["bytes"]

    async def _settle(self, connection: asyncpg.Connection, aside: dict[bytes, str]) -> None:
        """Removes files that were moved aside, or moves them back, depending on their rows."""
        marked = {row["sha256"]: row["marked"] for row in await connection.fetch(self._sql["marks"], list(aside))}
        for sha256, path in aside.items():
            if sha256 not in marked:
                await self._store.remove(path)
            elif not marked[sha256]:
                log.warning("blob %s was uploaded while it was being removed, so it is kept", sha256.hex())
                await self._store.move(path, incoming.path_of(sha256.hex()))
            # A marked row belongs to another collector, or to a removal that was interrupted: a later pass decides.

    async def _settle_left(self, connection: asyncpg.Connection) -> None:
        """Settles files that killed collectors have left aside."""
        for path, _, _ in await self._store.below(f"{_ASIDE}/"):
            await self._settle(connection, {bytes.fromhex(path.rpartition("/")[2].partition("-")[0]): path})
