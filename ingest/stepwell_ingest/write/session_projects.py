"""The project of each session, for servers with keys: a client that knows a session's id may use the session only with
a right on its project.

A session stays in its project for good, so the answers of Postgres are cached; the least recently used ones are
dropped. Sessions that never attached have no project.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence

import asyncpg

from stepwell_ingest.db.errors import postgres_errors
from stepwell_schema import queries

_KEPT = 20_000


class SessionProjects:
    """The projects of sessions, as this worker knows them.

    Args:
        pool: connections to Postgres.
        connect_s: the longest wait for a connection.
    """

    def __init__(self, pool: asyncpg.Pool, connect_s: float) -> None:
        self._pool = pool
        self._connect_s = connect_s
        self._sql = queries("write")
        self._known: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    async def of(self, sessions: Sequence[bytes]) -> dict[bytes, tuple[str, str]]:
        """The entity and project of each session that has attached, also if its run was deleted since.

        Raises:
            UnavailableError: Postgres cannot be reached.
        """
        unknown = [session for session in sessions if session not in self._known]
        found = {session: self._known[session] for session in sessions if session in self._known}
        if unknown:
            with postgres_errors("look up the projects of writers"):
                async with self._pool.acquire(timeout=self._connect_s) as connection:
                    ids = [uuid.UUID(bytes=session) for session in unknown]
                    rows = await connection.fetch(self._sql["projects_of_sessions"], ids)
            found |= {row["session"].bytes: (row["entity"], row["project"]) for row in rows}
        for session, project in found.items():
            self._known[session] = project
            self._known.move_to_end(session)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return found
