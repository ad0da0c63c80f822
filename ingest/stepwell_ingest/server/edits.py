"""Changes that readers make: names, config and summary of runs, archiving and deletion; layouts and saved views.

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
    """Changes runs, and what people have arranged on the pages.

    Args:
        dsn: the DSN of Postgres.
        connect_s: the longest wait for a connection.
        statement_s: the longest that a statement may take.
    """

    def __init__(self, dsn: str, connect_s: float, statement_s: float) -> None:
        self._dsn = dsn
        self._connect_s = connect_s
        self._statement_s = statement_s

    async def change(
        self, run_id: int, meta: str | None, config: str | None, summary: str | None, archived: bool | None
    ) -> bool:
        """Stores changes in one transaction; returns whether the run exists.

        Args:
            meta, config, summary: a JSON object each; None: unchanged.
            archived: whether the run is archived; None: unchanged.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        sql = queries("write")
        async with self._connection("edit a run") as connection, connection.transaction():
            there = True
            if (meta, config, summary) != (None, None, None):
                there = bool(await connection.fetchval(sql["edit_run"], run_id, meta, config, summary))
            if there and archived is not None:
                there = bool(await connection.fetchval(sql["archive_run"], run_id, archived))
            return there

    async def put_layout(self, entity: str, project: str, layout: str, version: int) -> int | None:
        """Replaces the layout of a project; returns its new version.

        Args:
            layout: JSON.
            version: the version of the layout to replace; 0: there is none yet.

        Returns:
            The version; None: there is no such project, or the layout has another version by now.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        async with self._connection("save a layout") as connection:
            found: int | None = await connection.fetchval(
                queries("write")["put_layout"], entity, project, layout, version
            )
            return found

    async def put_view(self, entity: str, project: str, view: tuple[str, str, str, str | None], most: int) -> bool:
        """Saves a view, or replaces the one of that name.

        Args:
            view: the view's name, page and query, and its layout as JSON or None.
            most: how many views a project may have.

        Returns:
            Whether it was saved; False: the project has too many views, or does not exist.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        async with self._connection("save a view") as connection:
            return bool(await connection.fetchval(queries("write")["put_view"], entity, project, *view, most))

    async def delete_view(self, entity: str, project: str, name: str) -> bool:
        """Deletes a saved view; returns whether there was one of that name.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        async with self._connection("delete a view") as connection:
            return bool(await connection.fetchval(queries("write")["delete_view"], entity, project, name))

    async def delete(self, run_id: int, path: str, actor: str) -> int:
        """Deletes a run: no reader sees it any more, and the next sweep removes its rows. Returns 1, or 0 if there is
        no such run.

        Args:
            path: entity/project/id of the run, for messages.
            actor: who deletes it, for the audit log.

        Raises:
            UsageError: forks show its points.
            UnavailableError: Postgres cannot be reached, or the run is locked.
        """
        async with self._connection("delete a run") as connection:
            await check_forks(connection, {run_id: path})
            return await remove(connection, [run_id], actor=actor)

    @asynccontextmanager
    async def _connection(self, purpose: str) -> AsyncIterator[asyncpg.Connection]:
        with postgres_errors(purpose):
            connection = await maintenance_connection(
                self._dsn, purpose.partition(" ")[0], self._connect_s, self._statement_s
            )
            try:
                yield connection
            finally:
                await connection.close(timeout=self._connect_s)
