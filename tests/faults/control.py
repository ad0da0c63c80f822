"""The negative controls: acknowledgements before COMMIT is on disk, and a ledger without fencing.

If the judge finds no loss here, its clean verdicts elsewhere prove nothing. The database is set to
`synchronous_commit=off` and delays writing its log. The worker sets `on` for its own connections; in a careless worker,
the child process undoes that (`faults.programs.Worker`), while a durable worker is unchanged. Fencing is undone in the
same way.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from faults.harness import CARELESS, PATIENCE_S, Child, Stack, stack
from faults.judge import Judge, Verdict
from faults.programs import Sync, Writer
from faults.stages import Victim
from faults.zombies import Zombies

_VICTIMS = (Victim.BACKEND, Victim.POSTMASTER)


@dataclass(slots=True)
class Controls:
    """The verdicts of the judge after each kill.

    Attributes:
        careless: for the worker that does not wait for the disk; the last verdict for each victim should report a loss.
        durable: for the unchanged worker, on the same database.
    """

    careless: dict[Victim, list[Verdict]] = field(default_factory=dict)
    durable: dict[Victim, list[Verdict]] = field(default_factory=dict)


async def controls(seed: int, tries: int) -> Controls:
    """Runs both controls; repeats the careless one until something is lost, at most `tries` times."""
    found, chance, numbers = Controls(), random.Random(seed), count()
    async with stack(synchronous_commit="off", extra=CARELESS) as made:
        for durable, verdicts in ((False, found.careless), (True, found.durable)):
            worker = await made.run_worker(made.worker(durable=durable))
            await made.fetch("CHECKPOINT")  # keeps the schema, or the judge could not read anything
            for victim in _VICTIMS:
                judged = verdicts[victim] = [await _kill_once(made, victim, f"control-{next(numbers)}", chance)]
                while not durable and not judged[-1].lost and len(judged) < tries:
                    judged.append(await _kill_once(made, victim, f"control-{next(numbers)}", chance))
            worker.kill()
            await worker.ended.wait()
    return found


async def _kill_once(made: Stack, victim: Victim, project: str, chance: random.Random) -> Verdict:
    journal, directory = made.place / f"{project}.journal", made.place / project
    directory.mkdir()
    seed = chance.getrandbits(32)
    writer = await made.run(Writer(made.url, str(directory), project, "run", "0", 0, str(journal), seed=seed))
    for _ in range(chance.randint(5, 25)):
        await made.tell(writer, f"log {chance.randint(1, 50)}")
        await made.tell(writer, "flush 10")
    backend = await made.any_backend()
    made.strike(victim, backend)
    await made.recover(victim, backend)
    writer.kill()
    await asyncio.wait_for(writer.ended.wait(), 60)
    return await Judge(made.dsn, project, delivered=False).verdict({"run": [journal]})


async def take_overs(seed: int, *, fencing: bool) -> Verdict:
    """The verdict after some processes were replaced and continued to log."""
    async with stack() as made:
        await made.run_worker(made.worker(fencing=fencing))
        journals: list[Path] = []
        zombies, done = Zombies(made, made.place / "zombies", "control", "run", journals, seed), asyncio.Event()
        living = asyncio.create_task(zombies.until(done))
        async with asyncio.timeout(PATIENCE_S):
            while zombies.fenced < 3 and not living.done():  # noqa: ASYNC110 - a counter of the zombies
                await asyncio.sleep(0.01)
            done.set()
            await living
            while (await _deliver(made, zombies.directory)).status:
                pass
        return await Judge(made.dsn, "control").verdict({"run": journals})


async def _deliver(made: Stack, directory: Path) -> Child:
    child = await made.run(Sync(made.url, str(directory)))
    await child.ended.wait()
    return child
