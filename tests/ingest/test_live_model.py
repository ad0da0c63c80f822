"""A reader that applies live events has the contents of the views at any time, whatever happens."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest

from fixtures.ingest import Session
from fixtures.live import Page, image, picture
from fixtures.reads import frame, store
from stepwell_ingest.config import Config
from stepwell_ingest.read.deltas import event_since
from stepwell_ingest.read.positions import LivePosition
from stepwell_ingest.read.runs import RunRow, find_run
from stepwell_ingest.server.worker import Worker

pytestmark = pytest.mark.db

KEYS = ("x", "a", "b", "c", "d")
SHOWN = """
SELECT writer, step, metric AS key, value::text FROM stepwell.history WHERE run = $1
UNION ALL SELECT writer, step, key, value->>'n' FROM stepwell.history_objects WHERE run = $1
"""


@pytest.fixture
async def worker(postgres_dsn: str) -> AsyncIterator[Worker]:
    worker = Worker(Config(postgres_dsn, port=0))
    await worker.start()
    yield worker
    await worker.stop()


@dataclass
class Story:
    """Random events of a run, and its readers. All logged values are different numbers."""

    worker: Worker
    pg: asyncpg.Connection
    name: str
    run: RunRow
    dice: random.Random
    sessions: dict[str, Session] = field(default_factory=dict)
    missing: list[bytes] = field(default_factory=list)
    used: set[tuple[str, int, str]] = field(default_factory=set)
    logged: int = 0
    seen: set[str] = field(default_factory=set)

    async def shown(self) -> dict[tuple[str, int, str], float]:
        return {tuple(row)[:3]: float(row["value"]) for row in await self.pg.fetch(SHOWN, self.name)}

    async def look(self, reader: Page) -> None:
        seen = None if reader.cursor is None else LivePosition.decode(reader.cursor)
        event = await event_since(self.worker.services.reads, self.run, KEYS, seen)
        assert event is not None
        assert event.kind in (("start",) if seen is None else ("delta", "quiet"))
        if seen is None:
            reader.points = await self.shown()
        elif event.kind == "delta":
            reader.take(event)
        reader.cursor = event.cursor.encode()
        assert reader.points == await self.shown()
        self.seen |= {key for _, _, key in reader.points}

    async def start(self, writer: str) -> None:
        session = self.sessions[writer] = Session(self.name, writer)
        last = max((step for name, step, _ in await self.shown() if name == writer), default=-1)
        how: dict[str, Any] = self.dice.choice(
            [{}, {"resume": "allow"}, {"rewind_to": self.dice.randrange(last + 1)} if last >= 0 else {}]
        )
        await store(self.worker, session, **how)
        query = "SELECT last_step FROM stepwell.ledger WHERE session = $1"
        session.step = await self.pg.fetchval(query, session.id.hex()) + 1
        if not how:
            session.step = self.dice.randrange(20)

    async def log(self, session: Session) -> None:
        steps = range(session.step, session.step + self.dice.randrange(1, 4))
        self.logged += 1
        await store(self.worker, session, frame(session, steps, {"x": [self.logged] * len(steps)}))
        session.step = steps[-1] + 1

    async def log_media(self, session: Session) -> None:
        items = []
        for _ in range(self.dice.randrange(1, 4)):
            step = self.dice.randrange(max(0, session.step - 3), session.step + 3)
            key = self.dice.choice(KEYS[1:])
            if (session.writer, step, key) in self.used:
                continue
            self.used.add((session.writer, step, key))
            self.logged += 1
            files = [self.dice.randbytes(32) for _ in range(self.dice.choice((0, 1, 1, 2)))]
            self.missing += files
            items.append((step, key, image(*(name.hex() for name in files), n=self.logged)))
        if not items:
            return
        if self.dice.random() < 0.3:  # as from a client without notes: in a row
            step = max(session.step, *(step for step, _, _ in items))
            items = [
                (step, f"{key}", value) for _, key, value in items[:1] if (session.writer, step, key) not in self.used
            ]
            self.used |= {(session.writer, step, key) for step, key, _ in items}
            await store(self.worker, session, frame(session, [step], {"x": [0]}, objects=items))
            session.step = step + 1
        else:
            await store(self.worker, session, picture(session, *items))

    async def files(self) -> None:
        for _ in range(min(len(self.missing), self.dice.randrange(1, 4))):
            name = self.missing.pop(self.dice.choice((0, 0, -1)))
            await self.pg.execute("INSERT INTO stepwell.blob (sha256, size) VALUES ($1, 1)", name)


@pytest.mark.parametrize("seed", range(8))
async def test_live_readers_match_the_views(worker: Worker, pg: asyncpg.Connection, seed: int) -> None:
    """Points, media, files, restarts, resumes and rewinds, with three readers that read at different times."""
    await store(worker, Session(writer="idle"))
    story = Story(
        worker, pg, "run-1", await find_run(worker.services.reads, "team", "mnist", "run-1"), random.Random(seed)
    )
    readers = [Page() for _ in range(3)]
    for _ in range(120):
        what = story.dice.choices(("points", "media", "files", "start", "look"), (4, 5, 3, 1, 4))[0]
        writer = story.dice.choice("01")
        if what == "look":
            await story.look(story.dice.choice(readers))
        elif what == "files":
            await story.files()
        elif what == "start" or writer not in story.sessions:
            await story.start(writer)
        elif what == "points":
            await story.log(story.sessions[writer])
        else:
            await story.log_media(story.sessions[writer])
    for reader in readers:
        await story.look(reader)
    assert story.seen == set(KEYS)


@pytest.mark.parametrize("seed", range(8))
async def test_live_readers_of_a_fork_match_the_views(worker: Worker, pg: asyncpg.Connection, seed: int) -> None:
    """The fork is rewound and restarted below and above its fork step, while its parent continues or is rewound."""
    parents = {writer: Session(writer=writer) for writer in "012"}
    for session in parents.values():
        objects = [(step, "a", image(n=-step)) for step in range(0, 6, 2)]
        await store(worker, session, frame(session, range(6), {"x": range(6)}, objects=objects))
        session.step = 6
    await store(worker, Session("child", "idle"), fork_run="run-1", fork_step=9)
    run = await find_run(worker.services.reads, "team", "mnist", "child")
    story = Story(worker, pg, "child", run, random.Random(seed), used={(w, s, "a") for w in "012" for s in range(20)})
    readers = [Page() for _ in range(2)]
    for _ in range(80):
        what = story.dice.choices(("points", "start", "parent", "rewind", "look"), (4, 1, 2, 0.3, 5))[0]
        writer = story.dice.choice("01")
        if what == "look":
            await story.look(story.dice.choice(readers))
        elif what == "parent":
            await story.log(parents[story.dice.choice("012")])
        elif what == "rewind":
            parents["0"] = Session(writer="0")
            await store(worker, parents["0"], rewind_to=2)
            parents["0"].step = 3
        elif what == "start" or writer not in story.sessions:
            await story.start(writer)
        else:
            await story.log(story.sessions[writer])
    for reader in readers:
        await story.look(reader)
    assert story.seen == {"x", "a"}
