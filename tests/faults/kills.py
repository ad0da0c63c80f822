"""`python -m faults.kills --kills 200 --seed 1`: kills spread over every stage of SDK, sync, worker and Postgres.

Prints the seed first, then the number of kills at each stage, then the judge's verdict. The exit code says whether the
verdict is clean.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

from faults.churn import Churn, Churned, spread
from faults.harness import stack
from faults.stages import Point, PostgresPoint


async def churn(kills: int, seed: int, *, network: bool = False, thorough: bool = True) -> Churned:
    """One churn with kills spread over all stages."""
    return await churn_at(spread(kills, seed), seed, network=network, thorough=thorough)


async def churn_at(
    points: list[Point | PostgresPoint], seed: int, *, network: bool = False, thorough: bool = True
) -> Churned:
    """One churn on a stack of its own, with a kill at each of these stages."""
    async with stack() as made:
        return await Churn(made, points, seed, network=network, thorough=thorough).run()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.kills", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--network", action="store_true", help="the proxies cut connections besides")
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    began = time.monotonic()
    churned = asyncio.run(churn(options.kills, options.seed, network=options.network))
    sys.stdout.write(f"{churned}\n{time.monotonic() - began:.0f} s\n")
    return 0 if churned.verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
