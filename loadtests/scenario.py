"""A scenario of the load tests: a TOML file in `scenarios/`, read into a frozen value. Pure."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parent / "scenarios"


@dataclass(frozen=True, slots=True)
class Scenario:
    """A load that does not depend on the server's speed: every frame is due at a fixed time.

    Attributes:
        name, about: its name, and what it is for people.
        writers: the number of connections.
        ranks: the number of writers in a run.
        steps, metrics: the size of a frame.
        every_s: the seconds between the frames of a writer, at rate 1.
        seconds: the duration of the load.
        rates: the times in seconds, and the rate from then on. 2: twice as many frames.
        life_s: after this time, a writer finishes, and another one takes its place; None: writers stay.
        cut_s: when all connections break; None: never.
        away_s, spread_s: they come back after this time, spread evenly over that time. Frames gather meanwhile.
        postgres: settings of Postgres.
    """

    name: str
    about: str
    writers: int
    ranks: int = 8
    steps: int = 10
    metrics: int = 20
    every_s: float = 1.0
    seconds: float = 15.0
    rates: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    life_s: float | None = None
    cut_s: float | None = None
    away_s: float = 0.0
    spread_s: float = 0.0
    postgres: dict[str, str] = field(default_factory=dict)

    def rate(self, at_s: float) -> float:
        """The rate at a time of the load."""
        return [rate for begin_s, rate in self.rates if begin_s <= at_s][-1]

    def scaled(self, writers: float, seconds: float) -> Scenario:
        """The scenario with this share of its writers, and times multiplied by `seconds`; at least two writers.

        A frame is sent as often as before.
        """
        times: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else value * seconds
            for name in ("seconds", "life_s", "cut_s", "away_s", "spread_s")
        }
        rates = tuple((begin_s * seconds, rate) for begin_s, rate in self.rates)
        count = max(2, round(self.writers * writers))
        return dataclasses.replace(self, writers=count, ranks=min(self.ranks, count), rates=rates, **times)


def read_scenario(file: Path) -> Scenario:
    """Reads a file.

    Raises:
        TypeError: it lacks a field or has an unknown one.
    """
    fields: dict[str, Any] = tomllib.loads(file.read_text())
    if "rates" in fields:
        fields["rates"] = tuple((float(begin_s), float(rate)) for begin_s, rate in fields["rates"])
    return Scenario(name=file.stem, **fields)


def all_scenarios() -> list[Scenario]:
    """All scenarios, by name."""
    return [read_scenario(file) for file in sorted(PLACE.glob("*.toml"))]
