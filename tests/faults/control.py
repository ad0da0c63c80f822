"""The negative control: a Stepwell that acknowledges before COMMIT is on the disk, and the same kills, and the same judge.

If the judge finds nothing lost here, its clean verdicts elsewhere prove nothing. The worker's own
`synchronous_commit=on` is undone in the child (`faults.programs.Worker`), and Postgres is told to take its time with
writing its log. `durable=True` is the control of the control: the same, but with the worker as it is.
"""

from __future__ import annotations

import asyncio
import random

from faults.harness import CARELESS, Stack, stack
from faults.judge import Judge, Verdict
from faults.programs import Writer
from faults.stages import Victim


async def verdicts(victim: Victim, seed: int, *, durable: bool, tries: int) -> list[Verdict]:
    """Kills, until something was lost or `tries` are over; a verdict for each."""
    found: list[Verdict] = []
    chance = random.Random(seed)
    async with stack(synchronous_commit="off", extra=CARELESS) as made:
        worker = await made.run_worker(made.worker(durable=durable))
        await made.fetch("CHECKPOINT")  # else the schema is lost, too, and the judge has nothing to read
        while len(found) < tries and not (found and found[-1].lost):
            found.append(await _kill_once(made, victim, f"control-{len(found)}", chance))
        worker.kill()
    return found


async def _kill_once(made: Stack, victim: Victim, project: str, chance: random.Random) -> Verdict:
    journal, directory = made.place / f"{project}.journal", made.place / project
    directory.mkdir()
    writer = await made.run(Writer(made.url, str(directory), project, "run", "0", 0, str(journal), seed=chance.getrandbits(32)))
    for _ in range(chance.randint(5, 25)):
        await made.tell(writer, f"log {chance.randint(1, 50)}")
        await made.tell(writer, "flush 10")
    made.strike(victim, await made.any_backend())
    await made.recover(victim)
    writer.kill()
    await asyncio.wait_for(writer.ended.wait(), 60)
    return await Judge(made.dsn, project, delivered=False).verdict({"run": [journal]})
