"""The presence of blobs: a blob is stored when `stepwell.blob` has its row and the store has its object.

Stands between intake and collector. Receives hashes; returns sizes. Promises that a client that is told that a blob is
stored may rely on it for the grace period (`blob_grace_s`), whatever a collector does at that moment: both write the
row, and Postgres orders the writes (`functions/120_blob_collection.sql`).
"""

from __future__ import annotations

import datetime

import asyncpg

from stepwell.errors import UnavailableError
from stepwell_ingest.access.rights import SERVER, Scope
from stepwell_ingest.blobs import incoming
from stepwell_ingest.blobs.store import Store
from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

#: A removal that began longer ago has ended, even if its process was suspended: collectors send no request to the store
#: in the second half of this time, and the store's library gives a request up after 20 s (`store._RETRY`).
REMOVAL_LEASE_S = 300.0
#: The age up to which a promise is not renewed, so that a file that is logged often costs few writes.
_FRESH_S = 300.0


class Presence:
    """Combines the rows and the objects of blobs.

    Args:
        pool: connections to Postgres, for the rows.
        store: the store of the objects.
        grace_s: how long a promise must hold, in seconds.
    """

    def __init__(self, pool: asyncpg.Pool, store: Store, grace_s: float) -> None:
        self._pool = pool
        self._store = store
        self._fresh = datetime.timedelta(seconds=min(_FRESH_S, grace_s / 10))
        self._sql = queries("blobs")

    async def size(self, sha256: str, scope: Scope = SERVER) -> int | None:
        """The size of a blob that is stored now, or None; promises nothing for later.

        Args:
            scope: where the reader may read; the blob must have been uploaded there.

        Raises:
            UnavailableError: Postgres or the store does not answer.
        """
        with postgres_errors("look up a blob"):
            if scope == SERVER:
                row = await self._pool.fetchval(self._sql["blob"], bytes.fromhex(sha256))
            else:
                arguments = (bytes.fromhex(sha256), scope.entity, scope.project)
                row = await self._pool.fetchval(self._sql["readable_blob"], *arguments)
        return await self._if_there(sha256, row)

    async def promise(self, sha256: str, owner: incoming.Owner | None) -> int | None:
        """The size of a stored blob, or None, for a client that will then not send it: the blob stays for the grace
        period from now on.

        Args:
            owner: the owner for whom the blob must have been uploaded; None: it may be any.

        Raises:
            UnavailableError: Postgres or the store does not answer.
        """
        with postgres_errors("look up a blob"):
            name = "touch_blob" if owner is None else "touch_own_blob"
            row = await self._pool.fetchval(self._sql[name], bytes.fromhex(sha256), self._fresh, *(owner or ()))
        return await self._if_there(sha256, row)

    async def record(self, sha256: str, size: int, owner: incoming.Owner | None) -> None:
        """Records that the store has a blob, after its `put` and before its acknowledgement. Promises what `promise`
        does.

        Args:
            owner: the owner, who has sent all bytes of the blob; None: the server has no keys, and records no owner.

        Raises:
            UnavailableError: the blob is being removed, or was during the put, and must be put again; or as in `size`.
        """
        lease = datetime.timedelta(seconds=REMOVAL_LEASE_S)
        with postgres_errors("record a blob"):
            if owner is not None:
                await self._pool.execute(self._sql["own_blob"], bytes.fromhex(sha256), *owner)
            recorded = await self._pool.fetchval(self._sql["record_blob"], bytes.fromhex(sha256), size, lease)
        # A removal that began before the put may have ended after it. No other one can begin now that there is a row,
        # so an object that exists now stays.
        if not recorded or await self._store.size(incoming.path_of(sha256)) != size:
            raise UnavailableError(
                "an older copy of this blob is being removed", detail=sha256, hint="send it again after a pause"
            )

    async def _if_there(self, sha256: str, row: int | None) -> int | None:
        # A row whose object is gone (another folder or bucket, a folder that was cleared) is repaired by an upload.
        if row is None or await self._store.size(incoming.path_of(sha256)) != row:
            return None
        return int(row)
