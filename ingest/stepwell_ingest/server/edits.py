"""Changes that readers make to runs: names, config, summary, and deletion.

They are rare, so each opens a connection of its own, apart from those for frames and reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stepwell_ingest.db.connect import maintenance_connection
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.delete.plan import check_forks
from stepwell_ingest.delete.remover import remove
from stepwell_schema import queries


class Edits:
    """Changes runs.

    Args:
        dsn: the DSN of Postgres.
        connect_s: the longest wait for a connection.
        statement_s: the longest that a statement may take.
    """

    def __init__(self, dsn: str, connect_s: float, statement_s: float) -> None:
        self._dsn = dsn
        self._connect_s = connect_s
        self._statement_s = statement_s

    async def change(self, run_id: int, meta: str | None, config: str | None, summary: str | None) -> bool:
        """Stores changes, each as a JSON object; returns whether the run exists.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        async with self._connection("edit") as connection:
            return bool(await connection.fetchval(queries("write")["edit_run"], run_id, meta, config, summary))

    async def delete(self, run_id: int, path: str) -> int:
        """Deletes a run for every reader; the next sweep removes its rows. Returns the number of deleted runs, 1 or 0.

        Args:
            path: entity/project/id of the run, for messages.

        Raises:
            UsageError: forks show its points.
            UnavailableError: Postgres cannot be reached, or the run is locked.
        """
        async with self._connection("delete") as connection:
            await check_forks(connection, {run_id: path})
            return await remove(connection, [run_id])

    @asynccontextmanager
    async def _connection(self, purpose: str) -> AsyncIterator[asyncpg.Connection]:
        with postgres_errors(f"{purpose} a run"):
            connection = await maintenance_connection(self._dsn, purpose, self._connect_s, self._statement_s)
            try:
                yield connection
            finally:
                await connection.close(timeout=self._connect_s)
