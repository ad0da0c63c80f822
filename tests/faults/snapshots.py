"""A reader with an old snapshot: what it shows first, and what when much was sealed, merged and emptied since."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

Look = Callable[[asyncpg.Connection], Awaitable[Any]]


async def read_twice(dsn: str, project: str, pause_s: float, run: str | None = None) -> tuple[list[Any], list[Any]]:
    """The points of a project (or of one run, of its metric loss) as one snapshot shows them, now and after a pause."""

    async def look(connection: asyncpg.Connection) -> list[Any]:
        rows = await connection.fetch(
            "SELECT run, writer, metric, step, value FROM stepwell.history "
            + ("WHERE project = $1" if run is None else "WHERE project = $1 AND run = $2 AND metric = 'loss'"),
            *((project,) if run is None else (project, run)),
        )
        return sorted((*row[:4], struct.pack("<d", row[4])) for row in rows)

    async def pause() -> None:
        await asyncio.sleep(pause_s)

    before, after = await look_around(dsn, look, pause)
    return before, after


async def look_around(dsn: str, look: Look, meanwhile: Callable[[], Awaitable[None]]) -> tuple[Any, Any]:
    """What `look` finds with one snapshot, before and after `meanwhile`.

    The first look is another session's that has imported the snapshot and has ended: what a session has read is locked
    until it ends, and so could not be emptied whatever the server thought of snapshots.
    """
    holder = await asyncpg.connect(dsn)
    try:
        async with holder.transaction(isolation="repeatable_read", readonly=True):
            name = await holder.fetchval("SELECT pg_export_snapshot()")
            other = await asyncpg.connect(dsn)
            try:
                async with other.transaction(isolation="repeatable_read", readonly=True):
                    await other.execute(f"SET TRANSACTION SNAPSHOT '{name}'")
                    before = await look(other)
            finally:
                await other.close()
            await meanwhile()
            return before, await look(holder)
    finally:
        await holder.close()
