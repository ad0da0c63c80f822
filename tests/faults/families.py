"""Compares all ways to read the runs of a project: as they are, forked, rewound, and with deleted forks.

The forks are rewound together with their runs, and deleted at the end. Meanwhile, paged reads are in progress.

Complements the judge, which compares the view `history` with the journals. Takes the database and a server; returns one
sentence for each difference. Sealers may be active during all reads that are compared. It changes the runs: afterwards
they show what their last rewind left.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import asyncpg

import stepwell
from faults.payload import as_float, bits
from fixtures.agreement import disagreements
from stepwell.errors import Error, NotFoundError, RewoundError
from stepwell.wire import MAX_STEP
from stepwell_ingest.config import Reads
from stepwell_ingest.db.connect import read_pool
from stepwell_ingest.read.database import Database
from stepwell_ingest.read.deltas import event_since
from stepwell_ingest.read.history import Wanted, read_pages
from stepwell_ingest.read.positions import LivePosition
from stepwell_ingest.read.rows import Page
from stepwell_ingest.read.runs import find_run

#: The approximate number of pages of a read that is overtaken by a change, and the number of pages read before it.
_PAGES, _TAKEN = 6, 3
_POINTS = "SELECT writer, step, metric AS key, value FROM stepwell.history WHERE run_id = $1"
_OBJECTS = "SELECT writer, step, key, value FROM stepwell.history_objects WHERE run_id = $1"
_ATTACH = "SELECT stepwell.attach_v1('default', $1, $2, $3, gen_random_uuid(), false, '{{}}', {how})"
Shown = dict[tuple[str, int, str], int]


async def shown(connection: asyncpg.Connection, run_id: int) -> Shown:
    """The view `history` of a run: maps (writer, step, key) to the 64 bits of the value."""
    rows = await connection.fetch(_POINTS, run_id)
    return {(row["writer"], row["step"], row["key"]): bits(row["value"]) for row in rows}


def points_of(page: Page) -> Shown:
    """The numbers of a page."""
    found: Shown = {}
    for column in page.columns:
        at = range(len(page.steps)) if column.rows is None else column.rows.tolist()
        for row, value in zip(at, column.values, strict=True):
            if not isinstance(value, bytes):
                point = (page.writers[page.writer[row]], int(page.steps[row]), column.name)
                found[point] = bits(float(value))
    return found


class PagedRead:
    """A paged read of a run's history that a change is about to overtake.

    Args:
        database: the database of the server.
        name: the name of the run, in the entity `default`.
    """

    def __init__(self, database: Database, project: str, name: str) -> None:
        self._database = database
        self._place = (project, name)
        self._points: Shown = {}

    async def begin(self) -> None:
        """Reads the first pages."""
        run = await find_run(self._database, "default", *self._place)
        small = Database(self._database._pool, Reads(page_points=max(1, run.points // _PAGES)))
        self._pages = read_pages(small, run, Wanted())
        for _ in range(_TAKEN):
            async for page in self._pages:
                self._points |= points_of(page)
                break

    async def end(self, before: Shown, now: Shown | None) -> list[str]:
        """Reads the other pages; returns the errors of a read that does not report that it was cut.

        Args:
            before: the points that the run showed when the read began, which may be complete already.
            now: the points that the run shows now; None: it was deleted.
        """
        expected = NotFoundError if now is None else RewoundError
        try:
            async for page in self._pages:
                self._points |= points_of(page)
        except expected:
            return []
        if self._points in (before, now):
            return []
        return [f"a read of {self._place[1]} that was overtaken ends as if whole, with {len(self._points)} points"]


@dataclass
class LiveReader:
    """A reader that has read the history once, and has followed the run's events since."""

    project: str
    name: str
    run_id: int
    keys: tuple[str, ...]
    cursor: LivePosition | None = None
    points: Shown = field(default_factory=dict)

    async def look(self, database: Database, connection: asyncpg.Connection) -> list[str]:
        """Reads new events; returns the differences from the view."""
        run = await find_run(database, "default", self.project, self.name)
        event = await event_since(database, run, self.keys, self.cursor)
        seen, self.cursor = self.cursor, event.cursor
        now = await shown(connection, self.run_id)
        if seen is None or event.kind == "reset":
            self.points = now
            return []
        for cut in event.about.get("cuts", []):
            for at in [at for at in self.points if at[0] == cut["writer"] and at[1] >= cut["from_step"]]:
                del self.points[at]
        if event.page is not None:
            self.points |= points_of(event.page)
        if self.points == now:
            return []
        found = len(self.points.items() - now.items()), len(now.items() - self.points.items())
        return [f"the live view of {self.name} has {found[0]} points that history has not, and lacks {found[1]}"]


@dataclass
class Families:
    """See the docstring of the module.

    Args:
        dsn: the DSN of Postgres itself, without a proxy.
        url: the URL of a server.
        project: a project of the entity `default`.
        seed: the seed of the fork and rewind steps.
        thorough: whether each family is rewound four times instead of twice, and sampled at three sizes instead of one.
    """

    dsn: str
    url: str
    project: str
    seed: int
    thorough: bool = True

    async def complaints(self) -> list[str]:
        """All differences."""
        chance = random.Random(self.seed)
        database = Database(await read_pool(self.dsn, Reads(), 10.0), Reads())
        connection = await asyncpg.connect(self.dsn)
        try:
            found = []
            query = "SELECT run, run_id, last_step FROM stepwell.runs WHERE project = $1 AND last_step IS NOT NULL"
            for run in await connection.fetch(query, self.project):
                found += await self._of_run(connection, database, run["run"], run["run_id"], run["last_step"], chance)
            return found
        finally:
            await connection.close()
            await database.close()

    async def _of_run(
        self,
        connection: asyncpg.Connection,
        database: Database,
        name: str,
        run_id: int,
        last: int,
        chance: random.Random,
    ) -> list[str]:
        found = await self.ways(connection, name, run_id)
        found += await self._beyond_the_end(connection, name, run_id, last)
        fork, fork_step = f"{name}-fork", chance.randint(0, last)
        writer = await connection.fetchval("SELECT min(name) FROM stepwell.writer WHERE run_id = $1", run_id)
        await connection.execute(
            _ATTACH.format(how="fork_run => $4, fork_step_ => $5"), self.project, fork, writer, name, fork_step
        )
        fork_id = await connection.fetchval("SELECT stepwell.find_run_v1('default', $1, $2)", self.project, fork)
        keys = tuple(sorted({key for _, _, key in await shown(connection, run_id)}))
        family = {name: run_id, fork: fork_id}
        readers = [LiveReader(self.project, each, id_, keys) for each, id_ in family.items()]
        for reader in readers:
            await reader.look(database, connection)
        found += await self.ways(connection, fork, fork_id)
        limits = {name: last, fork: fork_step}
        for each in (name, fork, fork, name) if self.thorough else (name, fork):
            limits[each] = chance.randint(0, limits[each])
            kept = {other: await shown(connection, id_) for other, id_ in family.items()}
            overtaken = PagedRead(database, self.project, each)
            await overtaken.begin()
            rewind = _ATTACH.format(how="rewind_to => $4")
            await connection.execute(rewind, self.project, each, writer, limits[each])
            for other, id_ in family.items():
                now = await shown(connection, id_)
                expected = {at: value for at, value in kept[other].items() if other != each or at[1] <= limits[each]}
                if now != expected:
                    found.append(f"{other} after {each} was rewound to {limits[each]}: {len(now)}, not {len(expected)}")
                if other == each:
                    found += await overtaken.end(kept[each], now)
                found += await self.ways(connection, other, id_)
            for reader in readers:
                found += await reader.look(database, connection)
        before = await shown(connection, fork_id)
        overtaken = PagedRead(database, self.project, fork)
        await overtaken.begin()
        await connection.execute("SELECT stepwell.delete_run_v1($1)", fork_id)
        return found + await overtaken.end(before, None)

    async def _beyond_the_end(self, connection: asyncpg.Connection, name: str, run_id: int, last: int) -> list[str]:
        """A rewind to a step that the run has not reached changes nothing, and the run continues at its end."""
        before = await shown(connection, run_id)
        beyond = min(last + 1000, MAX_STEP)
        writer = await connection.fetchval("SELECT min(name) FROM stepwell.writer WHERE run_id = $1", run_id)
        await connection.execute(_ATTACH.format(how="rewind_to => $4"), self.project, name, writer, beyond)
        behind = await connection.fetchval(
            "SELECT last_step FROM stepwell.ledger JOIN stepwell.writer w USING (run_id, writer_id) "
            "WHERE run_id = $1 AND w.name = $2 ORDER BY epoch DESC LIMIT 1",
            *(run_id, writer),
        )
        if behind > last or await shown(connection, run_id) != before:
            return [f"{name} goes on behind step {behind} after a rewind to {beyond}, and its last step is {last}"]
        return []

    async def ways(self, connection: asyncpg.Connection, name: str, run_id: int) -> list[str]:
        """The differences between the ways to read one run."""
        points = await shown(connection, run_id)
        objects = {(row["writer"], row["step"], row["key"]) for row in await connection.fetch(_OBJECTS, run_id)}
        found = await disagreements(connection, run_id, (1, 7, 64) if self.thorough else (7,))
        return found + await asyncio.to_thread(self._api, name, points, objects)

    def _api(self, name: str, points: Shown, objects: set[tuple[str, int, str]]) -> list[str]:
        """The differences of reads over HTTP."""
        api = stepwell.Api({"base_url": self.url, "entity": "default", "project": self.project})
        try:
            run = api.run(name)
            rows = list(run.scan_history())
            sampled = run.history(samples=50, pandas=False)
            series = {key: run.series(key) for key in {key for _, _, key in points}}
            summary = run.summary
        except Error as error:
            return [f"the API cannot read {name}: {error}"]
        reserved = {"_step", "_writer", "_timestamp", "_runtime"}
        writers = {writer for writer, _, _ in points} | {writer for writer, _, _ in objects}
        only = next(iter(writers), "") if len(writers) == 1 else None
        got = [(row.get("_writer", only), row["_step"], key) for row in rows for key in row.keys() - reserved]
        found = []
        if len(got) != len(set(got)) or set(got) != points.keys() | objects:
            found.append(f"scan_history of {name}: {len(got)} values, and history has {len(points)} and {len(objects)}")
        steps = {step for _, step, _ in got}
        if not {row["_step"] for row in sampled} <= steps or (steps and not sampled):
            found.append(f"a sample of {name} has steps that are not in it, or none")
        for key, of_key in series.items():
            told = {
                (of_key.writers[writer], step, key): bits(value)
                for step, value, writer in zip(
                    of_key.steps.tolist(), of_key.values.tolist(), of_key.writer, strict=True
                )
            }
            if told != {at: value for at, value in points.items() if at[2] == key}:
                found.append(f"series {key!r} of {name}: {len(told)} points")
            last = max(step for _, step, metric in points if metric == key)
            fits = [value for at, value in points.items() if at[1:] == (last, key)]
            # Compared as floats: jsonb has no −0.0, and writes large floats as integers.
            value = summary.get(key)
            if isinstance(value, int | float) and float(value) not in [as_float(pattern) for pattern in fits]:
                found.append(f"the summary of {name} has {value} for {key!r}")
            if summary.get(key) is None:
                found.append(f"the summary of {name} has no {key!r}")
        highest = max((step for _, step, _ in points), default=-1)
        if run.lastHistoryStep < highest:
            found.append(f"the last step of {name} is {run.lastHistoryStep}, and {highest} is shown")
        return found
