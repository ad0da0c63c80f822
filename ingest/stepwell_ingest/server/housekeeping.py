"""The hourly work of a worker: creates partitions ahead of need, repairs the reader role's rights, sweeps deleted runs.

Several workers may do it at the same time: creating an existing partition does nothing, and a sweep that finds another
one running ends.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg

from stepwell.errors import Error
from stepwell_ingest.db.connect import maintenance_connection
from stepwell_ingest.db.errors import postgres_errors
from stepwell_ingest.delete.sweeper import Sweeper
from stepwell_schema import queries

log = logging.getLogger(__name__)

_EVERY_S = 3600.0


class Housekeeping:
    """Maintains the tables of history and the rights of the reader role.

    Args:
        pool: connections of the write path.
        dsn: the DSN of Postgres.
        connect_s: the longest wait for a connection.
    """

    def __init__(self, pool: asyncpg.Pool, dsn: str, connect_s: float) -> None:
        self._pool = pool
        self._dsn = dsn
        self._connect_s = connect_s
        self._sql = queries("write")

    async def run(self) -> None:
        """Works every hour until it is cancelled."""
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                with postgres_errors("make partitions"):
                    await self._pool.execute(self._sql["ensure_partitions"])
                    await self._pool.execute(queries("sql")["restore_reader"])
                    await self._pool.execute(queries("sql")["bind_reader"])
                await self.sweep()
            except Error as error:
                log.warning(
                    "%s", error
                )  # partitions are two months ahead, and readers never see rows that wait for a sweep
            except asyncpg.PostgresError as error:
                log.error("cannot sweep deleted runs: %s", error)

    async def sweep(self) -> None:
        """Removes the rows of deleted runs, unless another process is sweeping.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        with postgres_errors("sweep"):
            # A connection of its own: a sweep may take long, and the pool ends a statement after a minute.
            connection = await maintenance_connection(self._dsn, "sweep", self._connect_s)
            try:
                await Sweeper(connection).sweep()
            finally:
                await connection.close(timeout=5)
