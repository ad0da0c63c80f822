"""Takes runs out of the catalog and the ledger: one short transaction a run, which ends it for everybody.

Between a plan and the sweep. In come run ids; out goes how many are gone. Promises: a run is there whole or not at all,
for every reader, whenever this is killed; what it leaves in the tables of history is invisible from then on, and the
next sweep finds it; nobody waits behind it for longer than `_LOCK_MS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import asyncpg

from stepwell.errors import UnavailableError, UsageError
from stepwell_schema import queries

log = logging.getLogger(__name__)

#: What queues behind the locks of one try waits for no longer; commits under way take milliseconds.
_LOCK_MS = 1000
_TRIES = 20
_PAUSE_S = 0.2


async def remove(
    connection: asyncpg.Connection, run_ids: Sequence[int], on_removed: Callable[[int], None] = lambda _: None
) -> int:
    """Deletes the runs, forks before those that they show; returns how many were there.

    Args:
        on_removed: told of each run that is gone, after COMMIT.

    Raises:
        UsageError: somebody forked one of them meanwhile; those before it are gone.
        UnavailableError: a run is locked all the time; likewise.
    """
    sql = queries("delete")
    removed = 0
    for row in await connection.fetch(sql["forks_first"], list(run_ids)):
        if await _remove_one(connection, sql["delete_run"], row["run_id"]):
            removed += 1
        on_removed(row["run_id"])
    return removed


async def _remove_one(connection: asyncpg.Connection, query: str, run_id: int) -> bool:
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
                return bool(await connection.fetchval(query, run_id))
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.debug("run %d is in use: %s", run_id, error)
            await asyncio.sleep(_PAUSE_S)
        except asyncpg.PostgresError as error:
            if error.sqlstate != "ST021":
                raise
            raise UsageError(
                "a run was forked while it was about to be deleted, so it stays", detail=f"forks: {error}"
            ) from error
    raise UnavailableError(
        "a run is locked by somebody else's transaction, so it stays",
        detail=f"run_id {run_id}, {_TRIES} tries of {_LOCK_MS} ms",
        hint="look for long transactions in pg_stat_activity, then delete again",
    )
