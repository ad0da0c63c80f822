"""A reader with an old snapshot: its points before and after much was sealed, merged and truncated."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

Look = Callable[[asyncpg.Connection], Awaitable[Any]]


async def read_twice(dsn: str, project: str, pause_s: float, run: str | None = None) -> tuple[list[Any], list[Any]]:
    """The points of a project (or of the metric `loss` of one run) in one snapshot, now and after a pause."""

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
    """The results of `look` in one snapshot, before and after `meanwhile`.

    The first look is made in another session, which imports the snapshot and ends: tables that a session has read are
    locked until it ends, so they could not be truncated even if the server ignored snapshots.
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
