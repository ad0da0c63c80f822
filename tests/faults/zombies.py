"""Processes that keep running after they were replaced, during a churn; they detect missing fencing.

The input is a stack whose other parts are killed meanwhile, and a run. One process after another takes over the same
writer; the previous one continues to log above the first step of the new one. Since it is fenced, its new frames stay
in its spool, and `stepwell sync` delivers them under a separate name. Without fencing, the server would acknowledge
steps that the new epoch has superseded, and the judge would report them as lost.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from pathlib import Path

from faults.harness import Child, Stack
from faults.journal import Record, read_journal
from faults.programs import Writer

#: The number of steps between a process and its replacement. A replaced process continues half of that above it.
_GAP = 10_000


@dataclass(slots=True)
class Zombies:
    """One writer that is taken over repeatedly.

    Args:
        directory: the directory of spools and journals.
        journals: the list to which the journals of all processes are added.
        seed: the seed of the number of steps that they log.

    Attributes:
        lives: the number of processes so far.
        fenced: the number of processes that continued to log after their replacement had stored something.
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
        """Runs takeovers, and ends all processes at the end."""
        old = await self._start()
        while not done.is_set():
            await self._log(old)
            heir = await self._start()
            while not done.is_set() and _record(heir).stored < 0:
                await self._log(heir)
            if _record(heir).stored >= 0:  # its COMMIT is on disk, so the fence is, too
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
        # The replacement is younger by more than the server requires.
        writer = Writer(*options, seed=self._random.getrandbits(32), age_s=100_000.0 - 10 * self.lives)
        self.lives += 1
        return await self.stack.run(writer)

    async def _log(self, child: Child) -> None:
        await self.stack.tell(child, f"log {self._random.randint(1, 40)}")
        await self.stack.tell(child, "flush 0.3")
        # Otherwise these would log more than all others, and comparing all reads would take longer than the kills.
        await asyncio.sleep(0.1)

    async def _end(self, child: Child) -> None:
        await self.stack.tell(child, "finish")
        await child.ended.wait()


def _record(child: Child) -> Record:
    assert isinstance(child.program, Writer)
    return read_journal(Path(child.program.journal))
