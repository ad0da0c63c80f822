"""Processes that live on although they have been replaced, in the midst of a churn: what a missing fence would let in.

Comes in: a stack whose other parts die meanwhile, and a run. One process after the other takes the same writer over;
the one before it goes on, above the first step of the new one. Fenced, it keeps what it logs there in its spool, and
`stepwell sync` brings that home under a name of its own. Were it not, the server would acknowledge steps that the new
epoch has superseded: the judge misses them.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from faults.harness import Child, Stack
from faults.journal import Record, read_journal
from faults.programs import Writer

#: Steps between a process and its replacement. Half of it beyond that, a replaced one goes on.
_GAP = 10_000


@dataclass(slots=True)
class Zombies:
    """One writer that is taken over again and again.

    Args:
        directory: of spools and journals.
        journals: where the journals of all processes are noted.
        seed: of how much they log.

    Attributes:
        lives: how many processes there were.
        fenced: how many of them logged on after their replacement had stored something.
    """

    stack: Stack
    directory: Path
    project: str
    run: str
    journals: list[Path]
    seed: int
    lives: int = 0
    fenced: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.directory.mkdir()

    async def until(self, done: asyncio.Event) -> None:
        """Take-over after take-over, and the end of all of them."""
        old = await self._start()
        while not done.is_set():
            await self._log(old)
            heir = await self._start()
            while not done.is_set() and _record(heir).stored < 0:
                await self._log(heir)
            if _record(heir).stored >= 0:  # its COMMIT is on the disk, so the fence is
                self.fenced += 1
                await self.stack.tell(old, f"skip {_GAP * 3 // 2}")
            for _ in range(self._random.randint(1, 3)):
                await self._log(old)
                await self._log(heir)
            await self._end(old)
            old = heir
        await self._end(old)

    async def _start(self) -> Child:
        journal = self.directory / f"{self.lives}.journal"
        self.journals.append(journal)
        options = (
            self.stack.url,
            str(self.directory),
            self.project,
            self.run,
            "zombie",
            self.lives * _GAP,
            str(journal),
        )
        # Who starts later is younger, by more than the server asks for.
        writer = Writer(*options, seed=self._random.getrandbits(32), age_s=100_000.0 - 10 * self.lives)
        self.lives += 1
        return await self.stack.run(writer)

    async def _log(self, child: Child) -> None:
        await self.stack.tell(child, f"log {self._random.randint(1, 40)}")
        await self.stack.tell(child, "flush 0.3")
        # Else these log more than all others, and to compare all ways to read it takes longer than the kills.
        await asyncio.sleep(0.1)

    async def _end(self, child: Child) -> None:
        await self.stack.tell(child, "finish")
        await child.ended.wait()


def _record(child: Child) -> Record:
    assert isinstance(child.program, Writer)
    return read_journal(Path(child.program.journal))
