"""Forks of a run under faults: the points that each fork showed when it was made, compared with those it shows later.

Used by the state machine. Forks are made by SQL and moved to a separate project, so that the judge does not see them.
Steps of running processes may still arrive up to the fork step; shown points never disappear or change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg

_SHOWN = """
SELECT writer, metric AS key, step, float8send(value) AS value FROM stepwell.history WHERE run_id = $1
UNION ALL SELECT writer, key, step, convert_to(value::text, 'UTF8') FROM stepwell.history_objects WHERE run_id = $1
"""
_MAKE = """
SELECT run_id FROM stepwell.attach_v1('default', $1, $2, 'fork', gen_random_uuid(), false, '{}', fork_run => 'run',
                                      fork_step_ => $3)
"""

Rows = dict[tuple[str, str, int], bytes]


@dataclass(frozen=True, slots=True)
class _Fork:
    run_id: int
    step: int
    shown: Rows


class Forks:
    """The forks of the run `run` of a project.

    Args:
        dsn: the DSN of the database, without proxies.
        project: a project of the entity `default`.
    """

    def __init__(self, dsn: str, project: str) -> None:
        self._dsn = dsn
        self._project = project
        self._made: list[_Fork] = []

    async def make(self, back: int) -> None:
        """Makes another fork, `below` steps below the highest stored step; none while there is no step."""
        connection = await asyncpg.connect(self._dsn)
        try:
            last = await connection.fetchval(
                "SELECT last_step FROM stepwell.runs WHERE project = $1 AND run = 'run'", self._project
            )
            if last is None:
                return
            step = max(0, last - back)
            async with connection.transaction():
                run_id = await connection.fetchval(_MAKE, self._project, f"fork-{len(self._made)}", step)
                aside = "UPDATE stepwell.run SET project = project || '-forks' WHERE run_id = $1"
                await connection.execute(aside, run_id)
                self._made.append(_Fork(run_id, step, await _shown(connection, run_id)))
        finally:
            await connection.close()

    async def complaints(self) -> list[str]:
        """The changed points, before and after a rewind of the run to step 0, which hides its own later points."""
        connection = await asyncpg.connect(self._dsn)
        try:
            found = await self._compare(connection, "later")
            run = (self._project, "run")
            await connection.execute(
                "SELECT stepwell.attach_v1('default', $1, $2, w.name, gen_random_uuid(), false, '{}', rewind_to => 0) "
                "FROM stepwell.writer w JOIN stepwell.run r USING (run_id) WHERE r.project = $1 AND r.name = $2",
                *run,
            )
            return found + await self._compare(connection, "after a rewind")
        finally:
            await connection.close()

    async def _compare(self, connection: asyncpg.Connection, when: str) -> list[str]:
        found = []
        for fork in self._made:
            now = await _shown(connection, fork.run_id)
            other = [at for at, value in fork.shown.items() if now.get(at) != value]
            above = [at for at in now if at[2] > fork.step]
            if other or above:
                found.append(f"fork at step {fork.step} {when}: {other[:3]} changed, {above[:3]} too high")
        return found


async def _shown(connection: asyncpg.Connection, run_id: int) -> Rows:
    rows: list[Any] = await connection.fetch(_SHOWN, run_id)
    shown = {(row["writer"], row["key"], row["step"]): row["value"] for row in rows}
    assert len(shown) == len(rows), "a step of a writer is shown twice"
    return shown
