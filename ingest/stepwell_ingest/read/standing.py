"""Whether what a read has taken so far is still shown: a run may be deleted or rewound between two of its pages.

Between the reads and Postgres. Gives out snapshots of one run. Each later one is compared with the one before: what a
run shows of an epoch only ever grows by logging, and only a rewind or a restart takes something away. Promises that a
read of several pages either shows one history or ends with an error that says why it does not.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stepwell.errors import NotFoundError, RewoundError
from stepwell_ingest.read.database import Database


class Standing:
    """Snapshots of a run for one read.

    Args:
        run_id: Postgres' number for the run.

    Attributes:
        run_id, sql: of the run, and the named queries.
        mark: changes whenever something that was shown is hidden; for cursors.
    """

    def __init__(self, database: Database, run_id: int) -> None:
        self.run_id = run_id
        self.sql = database.sql
        self._database = database
        self._ends: dict[tuple[int, int, int], int] = {}
        self.mark = 0

    @asynccontextmanager
    async def snapshot(self, taken_below: int = 0) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction in which the run is there, and shows what it did in the snapshot before.

        Args:
            taken_below: the read has taken steps below this one.

        Raises:
            NotFoundError: the run has been deleted.
            RewoundError: a step below `taken_below` was shown in the snapshot before and is hidden now.
            OverloadedError, UsageError, UnavailableError: see `Database.snapshot`.
        """
        async with self._database.snapshot() as connection:
            rows = await connection.fetch(self.sql["bounds"], self.run_id)
            if not rows:
                raise NotFoundError("the run has been deleted", hint="what was read of it is not complete")
            ends = {(row["run_id"], row["writer_id"], row["epoch"]): row["end_step"] for row in rows}
            cut = min((end for epoch, end in ends.items() if end < self._ends.get(epoch, 0)), default=None)
            if cut is not None and cut < taken_below:
                raise RewoundError(
                    "the run was rewound or restarted while it was read",
                    detail=f"steps from {cut} on that were read are no longer shown",
                    hint="read it again",
                )
            self._ends = ends
            hidden = [tuple(row) for row in rows if row["below"] is not None]
            self.mark = zlib.crc32(repr([(*at[:3], at[4]) for at in hidden]).encode())
            yield connection
