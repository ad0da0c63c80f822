"""The scenarios of the load tests, in a tiny form: their shape, and that every acknowledged point is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import uvloop

from drive import Driver
from report import page
from scenario import Scenario, all_scenarios
from stack import Stack, running

SCENARIOS = all_scenarios()
#: What the result of a scenario says.
FIELDS = {
    *("writers", "frames", "acknowledged", "points", "frame_bytes", "attach_s", "finish_s", "ack_ms", "back_ms"),
    *("driver_late_ms", "driver_cores", "errors", "prefix"),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Stack]:
    with running() as stack:
        yield stack


def tiny(scenario: Scenario) -> Scenario:
    """The scenario with eight writers, for two seconds."""
    return scenario.scaled(8 / scenario.writers, 2 / scenario.seconds)


async def measure(server: Stack, scenario: Scenario) -> tuple[dict[str, Any], int]:
    """The result of a scenario, and the number of points that are stored."""
    result = await Driver(server.url, scenario).run()
    connection = await asyncpg.connect(server.dsn)
    stored = await connection.fetchval(
        "SELECT sum(points) FROM stepwell.ledger JOIN stepwell.run USING (run_id) WHERE starts_with(name, $1)",
        result["prefix"],
    )
    await connection.close()
    return result, stored


@pytest.mark.db
@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_acknowledged_points_are_stored(server: Stack, scenario: Scenario) -> None:
    result, stored = uvloop.run(measure(server, tiny(scenario)))
    assert set(result) == FIELDS
    assert result["errors"] == {}
    assert result["frames"] == result["acknowledged"] > 0
    assert result["points"] == stored
    assert (result["writers"] > 8) == (scenario.life_s is not None)
    assert len(result["back_ms"]) == (4 if scenario.cut_s is not None else 0)


def test_scaled_scenario_keeps_its_pace() -> None:
    scenario = Scenario("s", "", 100, every_s=2.0, seconds=30.0, rates=((0.0, 1.0), (20.0, 4.0)), cut_s=10.0)
    small = scenario.scaled(0.1, 0.5)
    assert (small.writers, small.every_s, small.seconds, small.cut_s, small.life_s) == (10, 2.0, 15.0, 5.0, None)
    assert [small.rate(at_s) for at_s in (0, 9.9, 10, 14)] == [1.0, 1.0, 4.0, 4.0]
    assert scenario.scaled(0.001, 1.0).writers == 2


def test_report_has_all_results(tmp_path: Path) -> None:
    load = tmp_path / "2026-12-01-load.jsonl"
    result = {
        "name": "steady",
        "ack_ms": {"p50": 1.0, "p99": 2.0, "p999": 3.0},
        "python_us_per_frame": 4,
        "postgres_us_per_frame": 5,
        "errors": {"<lost>": 1},
    }
    load.write_text("\n".join(map(json.dumps, ({"name": "machine", "at": "2026-12-01T10:00:00+00:00"}, result))))
    other = tmp_path / "2026-12-02-sql.jsonl"
    other.write_text(json.dumps({"name": "leaderboard", "stepwell_ms": 249}) + "\n")
    text = page(tmp_path.glob("*.jsonl"))
    assert text.count("<svg") == 2
    for expected in ("2026-12-01 10:00", "p99 2", "Postgres 5", "errors.&lt;lost&gt;", "2026-12-02-sql", "leaderboard"):
        assert expected in text
