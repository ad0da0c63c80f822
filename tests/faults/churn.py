"""A complete Stepwell whose parts are killed continually, each at a given stage, and the verdict at the end.

    writers     log, flush and finish; each life is armed with a stage of the SDK. What a dead one leaves is delivered
                by `stepwell sync`, which has its own stage, before or while its successor logs. While only stages of
                `sync` remain, writers log offline, so that there is always something to deliver
    slow one    a writer that logs a few steps at a time throughout, so that its epoch has many short tracks to merge
    zombies     one writer that is taken over repeatedly, by processes that all keep running (`faults.zombies`)
    workers     two on one port; each life is armed with a stage of the worker
    sealers     two on one Postgres, with short intervals; each life is armed with a stage of the sealer
    reader      has a snapshot that is older than the work of the sealers; it must see the same points twice
    Postgres    one kill after the other, at places of the protocol or at random moments

The input is a seed and a number of kills, which are spread evenly over all stages. The churn ends when all kills have
fired; then everything recovers, spools are delivered, a fresh writer logs, and the judge gives its verdict. Finally,
all ways to read are compared with each other, while sealers are still at work (`faults.families`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import asyncpg

from faults import stages
from faults.families import Families
from faults.harness import PATIENCE_S, Child, Stack
from faults.journal import read_journal
from faults.judge import Judge, Verdict
from faults.programs import Armed, Sync, Writer
from faults.proxy import Action, Link, Rule
from faults.snapshots import read_twice
from faults.stages import Point, PostgresPoint, Victim
from faults.zombies import Zombies
from stepwell.spool import Spool

#: A kill from outside, at a random moment.
ANY_MOMENT = {side: Point(f"{side}: at any moment", "", stages.How.BEFORE) for side in ("sdk", "worker", "sealer")}
#: If there is no kill for this long, something hangs. On a busy machine, a sealer may get no CPU time for minutes.
_STALL_S = 600.0
#: The number of lives in which a stage may be missed before it counts as unreachable.
_TRIES = 40


def all_points() -> list[Point | PostgresPoint]:
    """Every named stage once."""
    return [*stages.POINTS.values(), *ANY_MOMENT.values(), *stages.POSTGRES_POINTS]


def spread(kills: int, seed: int) -> list[Point | PostgresPoint]:
    """`count` stages in random order, each equally often (± 1)."""
    shuffler = random.Random(seed)
    chosen: list[Point | PostgresPoint] = []
    while len(chosen) < kills:
        batch = all_points()
        shuffler.shuffle(batch)
        chosen += batch[: kills - len(chosen)]
    return chosen


@dataclass(slots=True)
class Churned:
    """What happened, and the result."""

    seed: int
    verdict: Verdict
    kills: Counter[str]
    lives: Counter[str]

    def __str__(self) -> str:
        sides: Counter[str] = Counter()
        for name, count in self.kills.items():
            sides[name.split(":")[0]] += count
        lines = [f"{count:4}  {name}" for name, count in sorted(self.kills.items())]
        lines.append(
            f"{self.kills.total():4}  kills ({', '.join(f'{side} {count}' for side, count in sorted(sides.items()))}), "
            f"{len(self.kills)} stages; lives: {', '.join(f'{kind} {n}' for kind, n in sorted(self.lives.items()))}"
        )
        return "\n".join([*lines, f"seed {self.seed}: {self.verdict}"])


@dataclass(slots=True)
class _Turn:
    """A stage that waits for its kill."""

    point: Point
    tries: int = 0


@dataclass(slots=True)
class Churn:
    """One run of the churn.

    Args:
        stack: a started stack without workers.
        points: the stages, one kill each.
        seed: the seed of all random choices here.
        thorough: whether lives are long; see also `Families`.
        network: whether the proxies also cut connections.
    """

    stack: Stack
    points: list[Point | PostgresPoint]
    seed: int
    writers: int = 4
    workers: int = 2
    sealers: int = 2
    network: bool = False
    thorough: bool = True
    kills: Counter[str] = field(default_factory=Counter)
    lives: Counter[str] = field(default_factory=Counter)
    journals: dict[str, list[Path]] = field(default_factory=dict)
    _queues: dict[str, deque[_Turn]] = field(default_factory=dict)
    _waiting: dict[Child, Point] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    _open: int = 0
    _done: asyncio.Event = field(default_factory=asyncio.Event)
    _random: random.Random = field(init=False)

    async def run(self) -> Churned:
        """Runs all kills and the recovery, and returns the verdict."""
        self._random = random.Random(self.seed)
        strikes = [point for point in self.points if isinstance(point, PostgresPoint)]
        for point in self.points:
            if isinstance(point, Point):
                self._queues.setdefault(point.side, deque()).append(_Turn(point))
        self._open = len(self.points)
        if self.network:
            self._trouble_the_network()
        place, journals = self.stack.place / f"{self.project}-zombies", self.journals.setdefault("run-0", [])
        zombies = Zombies(self.stack, place, self.project, "run-0", journals, self.seed)
        try:
            async with asyncio.TaskGroup() as group:
                keepers = [group.create_task(self._keep("worker")) for _ in range(self.workers)]
                keepers += [group.create_task(self._keep("sealer")) for _ in range(self.sealers)]
                keepers.append(group.create_task(self._read()))
                logging = [group.create_task(self._keep_writer(number)) for number in range(self.writers)]
                logging.append(group.create_task(zombies.until(self._done)))
                logging.append(group.create_task(self._log_slowly()))
                group.create_task(self._strike_postgres(strikes))
                keepers.append(group.create_task(self._watch_progress()))
                await asyncio.wait(logging)
                self.lives.update(zombie=zombies.lives, fenced=zombies.fenced)
                self.stack.web_proxy.rules.clear()
                self.stack.postgres_proxy.rules.clear()
                verdict = await self._settle()
                for keeper in keepers:
                    keeper.cancel()
        finally:
            self.stack.web_proxy.rules.clear()
            self.stack.postgres_proxy.rules.clear()
        return Churned(self.seed, verdict, self.kills, self.lives)

    @property
    def project(self) -> str:
        return f"churn-{self.seed}"

    def _next(self, side: str) -> _Turn | None:
        queue = self._queues.get(side)
        return queue.popleft() if queue else None

    def _killed(self, name: str) -> None:
        self.kills[name] += 1
        self._open -= 1
        if not self._open:
            self._done.set()

    def _armed(self, turn: _Turn | None) -> Armed | None:
        if turn is None or not turn.point.target:
            return None
        return Armed(turn.point.name, self._random.randint(1, turn.point.hits) if not turn.tries else 1)

    def _settled(self, turn: _Turn | None, child: Child) -> None:
        """Records the end of a life: its kill counts, or its stage waits for another life."""
        if turn is None:
            return
        if child.fired or (not turn.point.target and child.status == -9):
            self._killed(turn.point.name)
            return
        turn.tries += 1
        if turn.tries > _TRIES:
            raise AssertionError(f"the stage {turn.point.name!r} was not reached in {_TRIES} lives")
        self._queues[turn.point.side].append(turn)

    async def _keep_writer(self, number: int) -> None:
        run, name, directory = f"run-{number // 2}", str(number % 2), self.stack.place / f"{self.project}-{number}"
        directory.mkdir()
        journals = self.journals.setdefault(run, [])
        first_step = 0
        delivery: asyncio.Task[bool] | None = None
        while not self._done.is_set():
            turn = self._next("sdk")
            journal = directory / f"{len(journals)}.journal"
            journals.append(journal)
            child = await self.stack.run(
                Writer(
                    *(self.stack.url, str(directory), self.project, run, name, first_step, str(journal)),
                    steps=self._random.randint(100, 900 if self.thorough else 300),
                    seed=self._random.getrandbits(32),
                    armed=self._armed(turn),
                    offline=turn is None and bool(self._queues.get("sync")),
                )
            )
            self.lives["writer"] += 1
            await self._watch(turn, child)
            if child.status not in (0, -stages.signal.SIGKILL):
                self.complaints.append(f"a writer ended with status {child.status}")
            first_step = max(first_step, read_journal(journal).last_tried + self._random.randint(1, 10))
            if delivery is not None:
                await delivery
            # Delivered before its successor attaches (the session continues) or concurrently (it may have been fenced).
            delivery = asyncio.create_task(self._deliver(directory))
            if self._random.random() < 0.5:
                await delivery
        if delivery is not None:
            await delivery

    async def _log_slowly(self) -> None:
        directory = self.stack.place / f"{self.project}-slow"
        directory.mkdir()
        journal = directory / "0.journal"
        self.journals.setdefault("run-1", []).append(journal)
        options = (self.stack.url, str(directory), self.project, "run-1", "slow", 0, str(journal))
        child = await self.stack.run(Writer(*options, seed=self._random.getrandbits(32)))
        while not self._done.is_set():
            await self.stack.tell(child, f"log {self._random.randint(1, 10)}")
            await asyncio.sleep(0.1)
        await self.stack.tell(child, "finish")
        await child.ended.wait()

    async def _keep(self, side: Literal["worker", "sealer"]) -> None:
        while True:
            turn = self._next(side)
            make = self.stack.worker if side == "worker" else self.stack.sealer
            child = await self.stack.run_worker(make(armed=self._armed(turn)))
            self.lives[side] += 1
            await self._watch(turn, child)

    async def _read(self) -> None:
        # asyncpg raises the last one when Postgres dies between two of its messages.
        away = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, asyncpg.InternalClientError)
        while True:
            with contextlib.suppress(*away):
                run = f"run-{self._random.randrange(self.writers // 2)}"
                before, after = await read_twice(self.stack.dsn, self.project, self._random.random(), run)
                self.lives["reader"] += 1
                if before != after:
                    self.complaints.append(f"a snapshot of {len(before)} points became one of {len(after)}")
            await asyncio.sleep(0.1)

    async def _watch(self, turn: _Turn | None, child: Child) -> None:
        if turn is not None:
            self._waiting[child] = turn.point
        if turn is not None and not turn.point.target:
            await asyncio.sleep(self._random.random() * 0.8)
            child.kill()
        elif turn is not None and turn.point.drained:
            await asyncio.sleep(self._random.random() * 0.8)
            child.kill(stages.signal.SIGTERM)
        await child.ended.wait()
        self._waiting.pop(child, None)
        self._settled(turn, child)

    async def _watch_progress(self) -> None:
        """Raises an error if no process dies any more although one should."""
        while not self._done.is_set():
            before = self.kills.total()
            await asyncio.sleep(_STALL_S)
            if before == self.kills.total() and not self._done.is_set():
                armed = ", ".join(sorted(point.name for point in self._waiting.values()))
                log = (self.stack.place / "sealer.log").read_text()[-2000:]
                raise AssertionError(
                    f"no kill for {_STALL_S:.0f} s, {self._open} to come; armed: {armed}; sealers say:\n{log}"
                )

    async def _deliver(self, directory: Path) -> bool:
        """Runs `stepwell sync`; returns whether it has delivered everything."""
        # A delivery with nothing to deliver reaches no stage.
        turn = self._next("sync") if Spool.discover(directory) else None
        child = await self.stack.run(Sync(self.stack.url, str(directory), armed=self._armed(turn)))
        self.lives["sync"] += 1
        await child.ended.wait()
        self._settled(turn, child)
        return child.status == 0

    async def _strike_postgres(self, points: list[PostgresPoint]) -> None:
        for point in points:
            await asyncio.sleep(0.2 + self._random.random() * 0.6)
            if point.trigger is None:
                self.stack.strike(point.victim, await self.stack.any_backend())
            else:
                await self._strike_at(point.trigger, point.victim)
            await self.stack.recover(point.victim)
            self._killed(point.name)

    async def _strike_at(self, trigger: str, victim: Victim) -> None:
        struck = asyncio.Event()
        answered = self._random.random() < 0.5

        def strike(link: Link) -> bytes | None:
            self.stack.strike(victim, link.peer)
            struck.set()
            if answered:
                return None
            link.end(Action.CUT)
            return b""

        rule = Rule(trigger, strike, skip=self._random.randint(0, 20))
        self.stack.postgres_proxy.rules.append(rule)
        async with asyncio.timeout(PATIENCE_S):
            await struck.wait()
        self.stack.postgres_proxy.rules.remove(rule)

    def _trouble_the_network(self) -> None:
        troubles = [
            ("< ack", Action.CUT),
            ("> frames", Action.RESET),
            ("< attached", Action.CUT),
            ("> frames", Action.HANG),
        ]
        self.stack.web_proxy.rules += [
            Rule(at, action, count=None, probability=0.01, seed=self.seed + i)
            for i, (at, action) in enumerate(troubles)
        ]
        troubles = [("< COMMIT", Action.CUT), ("> COMMIT", Action.RESET), ("< COPY", Action.CUT)]
        self.stack.postgres_proxy.rules += [
            Rule(at, action, count=None, probability=0.01, seed=self.seed + i)
            for i, (at, action) in enumerate(troubles)
        ]

    async def _settle(self) -> Verdict:
        """Delivers every spool, logs new values, and returns the judge's verdict."""
        parts = [*map(str, range(self.writers)), "zombies", "slow"]
        directories = [self.stack.place / f"{self.project}-{part}" for part in parts]
        async with asyncio.timeout(PATIENCE_S):
            for directory in directories:
                while not await self._deliver(directory):
                    pass
        fresh = self.stack.place / f"{self.project}.fresh.journal"
        self.journals["fresh"] = [fresh]
        child = await self.stack.run(
            Writer(self.stack.url, str(directories[0]), self.project, "fresh", "0", 0, str(fresh), steps=20)
        )
        await child.ended.wait()
        verdict = await Judge(self.stack.dsn, self.project, blobs=self.stack.blobs).verdict(self.journals)
        verdict.complaints += self.complaints
        for record in (read_journal(path) for paths in self.journals.values() for path in paths):
            self.lives.update(interrupt=len(record.interrupted), nested=len(record.nested), page=len(record.pages))
        families = Families(
            self.stack.dsn, f"http://127.0.0.1:{self.stack.port}", self.project, self.seed, self.thorough
        )
        verdict.complaints += await families.complaints()
        account = read_journal(fresh).account
        if account is None or account.left or not account.stored:
            verdict.complaints.append(f"a fresh frame does not flow: {account}")
        left = [path for directory in directories for path in Spool.discover(directory)]
        verdict.complaints += [f"a spool is left behind: {path}" for path in left]
        return verdict
