"""Checks that rows already read are still shown: a run may be deleted or rewound between two pages of a read.

Stands between the reads and Postgres, and gives out snapshots of one run. Each snapshot is compared with the one
before: logging only adds to what a run shows of an epoch, and only a rewind or a restart hides something. Promises that
a read of several pages either shows one history or ends with an error that explains why it does not.
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
        run_id: the run's number in SQL.

    Attributes:
        run_id, sql: the run's number, and the named queries.
        mark: a value for cursors that changes whenever shown points are hidden.
    """

    def __init__(self, database: Database, run_id: int) -> None:
        self.run_id = run_id
        self.sql = database.sql
        self._database = database
        self._ends: dict[tuple[int, int, int], int] = {}
        self.mark = 0

    @asynccontextmanager
    async def snapshot(self, taken_below: int = 0) -> AsyncIterator[asyncpg.Connection]:
        """A connection in a transaction in which the run exists, and still shows what it showed in the snapshot before.

        Args:
            taken_below: the step below which the read has taken all rows.

        Raises:
            NotFoundError: the run has been deleted.
            RewoundError: a step below `taken_below` was shown in the snapshot before and is hidden now.
            OverloadedError, UsageError, UnavailableError: see `Database.snapshot`.
        """
        async with self._database.snapshot() as connection:
            rows = await connection.fetch(self.sql["bounds"], self.run_id)
            if not rows:
                raise NotFoundError("the run has been deleted", hint="the rows read so far are incomplete")
            ends = {(row["run_id"], row["writer_id"], row["epoch"]): row["end_step"] for row in rows}
            cut = min((end for epoch, end in ends.items() if end < self._ends.get(epoch, 0)), default=None)
            if cut is not None and cut < taken_below:
                raise RewoundError(
                    "the run was rewound or restarted during the read",
                    detail=f"rows from step {cut} on are no longer shown",
                    hint="read it again",
                )
            self._ends = ends
            hidden = [tuple(row) for row in rows if row["below"] is not None]
            self.mark = zlib.crc32(repr([(*at[:3], at[4]) for at in hidden]).encode())
            yield connection
