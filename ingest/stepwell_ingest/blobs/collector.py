"""Removes blobs that no run names any more: row marked, file removed, row removed.

The last station of a blob, behind the sweep of deleted runs. Takes rows of `blob` that `blob_use` does not name and
that no client was told of for the grace period. Promises: while a row is marked, no client is told that the blob is
there, and an upload of it is told to try again; killed anywhere, a later pass goes on; any number of servers may
collect at a time, since a row is marked by one of them. Only files with a row are removed, so other files in the folder
or bucket stay.
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
#: How soon after a sweep of deleted runs.
_LOOK_EVERY_S = 60.0
#: Rows of one look. As many files at most are removed in one lease.
_ROWS = 500


@dataclass(slots=True)
class Collected:
    """What a pass did.

    Attributes:
        blobs, bytes: removed, file and row.
    """

    blobs: int = 0
    bytes: int = 0


class Collector:
    """Collects over a connection of its own, made for each pass.

    Args:
        dsn: where Postgres is.
        store: where the files are.
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
                with postgres_errors("be asked for sweeps"):
                    last = await pool.fetchval(self._sql["last_sweep"])
                if last != swept_at or time.monotonic() - collected_at >= _EVERY_S:
                    await self.collect()
                    swept_at, collected_at = last, time.monotonic()
            except Error as error:
                log.warning("files that no run names could not be removed, which is tried again: %s", error)
            except asyncpg.PostgresError as error:
                log.error("files that no run names could not be removed: %s", error)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def collect(self) -> Collected | None:
        """One pass over all blobs; None: another collector is at work.

        Raises:
            UnavailableError: Postgres or the store does not answer; a later pass removes the rest.
        """
        with postgres_errors("collect files"):
            connection = await maintenance_connection(
                self._dsn, "collect", self._timeouts.connect_s, self._timeouts.statement_s
            )
            try:
                if not await connection.fetchval(self._sql["claim_collection"]):
                    return None
                collected = await self._pass(connection)
            finally:
                await connection.close(timeout=5)  # which ends the claim
        if collected.blobs:
            log.info("%d files (%d bytes) that no run names were removed", collected.blobs, collected.bytes)
        return collected

    async def _pass(self, connection: asyncpg.Connection) -> Collected:
        collected = Collected()
        after: bytes | None = None
        while True:
            began = time.monotonic()  # before the lease does
            found = await self._claim(connection, after)
            if found["claimed"]:
                await self._remove(connection, found["claimed"], found["claimed_at"], began, collected)
            after = found["last_seen"]
            if after is None:
                return collected
            await asyncio.sleep(time.monotonic() - began)  # half of the time belongs to others

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
        gone: list[bytes] = []
        try:
            for sha256 in claimed:
                if time.monotonic() - began > REMOVAL_LEASE_S / 2:
                    log.info("the store is slow: %d files are left for a later pass", len(claimed) - len(gone))
                    break
                await self._store.remove(incoming.path_of(sha256.hex()))
                gone.append(sha256)
        finally:
            if gone:
                await self._forget(connection, gone, claimed_at, collected)

    async def _forget(
        self, connection: asyncpg.Connection, gone: list[bytes], claimed_at: datetime.datetime, collected: Collected
    ) -> None:
        row = await connection.fetchrow(self._sql["removed"], gone, claimed_at)
        collected.blobs += row["blobs"]
        collected.bytes += row["bytes"]
