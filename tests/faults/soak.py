"""`python -m faults.soak --seconds 3600 --seed 1`: churns and state machines in turn, each with its own seed.

It ends after that time, or when a verdict is not clean. Prints the seed first, then each verdict, then the totals.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from faults.judge import KINDS, Verdict
from faults.kills import churn
from faults.state_machine import Ground, Machine

_KILLS = 120


def machine(seed: int, examples: int, steps: int) -> list[Verdict]:
    """Runs `examples` examples of the state machine on a new ground.

    Raises:
        AssertionError: a verdict is not clean; hypothesis has printed the shortest example.
    """
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],  # failures that depend on the time of a kill do not shrink
        print_blob=False,
    )
    with Ground() as ground:

        class Grounded(Machine):
            def __init__(self) -> None:
                super().__init__(ground)

        try:
            run_state_machine_as_test(hypothesis.seed(seed)(Grounded), settings=settings)
        except hypothesis.errors.HypothesisException as error:  # a failure that the second run does not reproduce
            raise AssertionError("\n".join(ground.failures) or str(error)) from error
        return ground.verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m faults.soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    options = parser.parse_args()
    say(f"seed {options.seed}")
    chance = random.Random(options.seed)
    deadline = time.monotonic() + options.seconds
    total: Counter[str] = Counter()
    verdicts: list[Verdict] = []
    while time.monotonic() < deadline and all(verdict.clean for verdict in verdicts):
        seed = chance.randrange(1 << 31)
        churned = asyncio.run(churn(_KILLS, seed, network=chance.random() < 0.5))
        total["kills"] += churned.kills.total()
        verdicts.append(churned.verdict)
        say(f"churn of {churned.kills.total()} kills, seed {seed}: {churned.verdict}")
        if time.monotonic() < deadline:
            found = machine(seed, examples=10, steps=30)
            total["examples"] += len(found)
            verdicts += found
            say(f"state machine of {len(found)} examples, seed {seed}: {sum(verdict.clean for verdict in found)} clean")
    summed = {kind: sum(getattr(item, kind) for item in verdicts) for kind in ("obligations", *KINDS)}
    say(
        f"{total['kills']} kills, {total['examples']} examples, {summed['obligations']:,} acknowledged values: "
        + ", ".join(f"{summed[kind]} {kind}" for kind in KINDS)
    )
    return 0 if all(verdict.clean for verdict in verdicts) else 1


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
