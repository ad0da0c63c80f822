"""Which blobs are there: the row that says so, and the object that must be there with it.

Between intake and collector. In come hashes; out go sizes. A blob is there when `stepwell.blob` has its row and the
store its object. Promises that whoever is told so may rely on it for the grace period (`blob_grace_s`), whatever a
collector does at that moment: both write the row, and Postgres lets one of them go first
(`functions/120_blob_collection.sql`).
"""

from __future__ import annotations

import datetime

import asyncpg

from stepwell.errors import UnavailableError
from stepwell_ingest.blobs import incoming
from stepwell_ingest.blobs.store import Store
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

#: A removal that was begun longer ago is no more, wherever its process has gone: collectors ask the store for nothing
#: in the second half of it, and the store's library gives a request up after 20 s (`store._RETRY`).
REMOVAL_LEASE_S = 300.0
#: How old a promise may be without being written anew, so that a file that is logged often costs few writes.
_FRESH_S = 300.0


class Presence:
    """Rows and objects of blobs as one answer.

    Args:
        grace_s: for how long a promise must hold.
    """

    def __init__(self, pool: asyncpg.Pool, store: Store, grace_s: float) -> None:
        self._pool = pool
        self._store = store
        self._fresh = datetime.timedelta(seconds=min(_FRESH_S, grace_s / 10))
        self._sql = queries("blobs")

    async def size(self, sha256: str) -> int | None:
        """The size of a blob that is there now, None when it is not; promises nothing.

        Raises:
            UnavailableError: Postgres or the store does not answer.
        """
        with postgres_errors("look a blob up"):
            row = await self._pool.fetchval(self._sql["blob"], bytes.fromhex(sha256))
        return await self._if_there(sha256, row)

    async def promise(self, sha256: str) -> int | None:
        """Likewise, for somebody who then does not send it: from now on it stays for the grace period.

        Raises:
            UnavailableError: likewise.
        """
        with postgres_errors("look a blob up"):
            row = await self._pool.fetchval(self._sql["touch_blob"], bytes.fromhex(sha256), self._fresh)
        return await self._if_there(sha256, row)

    async def record(self, sha256: str, size: int) -> None:
        """Says that the store has a blob; call it after `put`, and acknowledge after it. Stays, as `promise` says.

        Raises:
            UnavailableError: it is being removed, or was while it was put, and must be put again; or as in `size`.
        """
        lease = datetime.timedelta(seconds=REMOVAL_LEASE_S)
        with postgres_errors("record a blob"):
            recorded = await self._pool.fetchval(self._sql["record_blob"], bytes.fromhex(sha256), size, lease)
        # A removal that began before the put may have ended behind it. From the row on there can be no other one, so
        # what is there now stays.
        if not recorded or await self._store.size(incoming.path_of(sha256)) != size:
            raise UnavailableError(
                "an older copy of this blob is being removed", detail=sha256, hint="send it again after a pause"
            )

    async def _if_there(self, sha256: str, row: int | None) -> int | None:
        # A row whose object is gone (another folder or bucket, a folder that was cleared) heals by an upload.
        if row is None or await self._store.size(incoming.path_of(sha256)) != row:
            return None
        return int(row)
