"""A busy worker asks for fewer frames, an idle one withdraws its advice."""

from __future__ import annotations

import pytest

from fixtures.ingest import Client, Session, start_worker
from stepwell_ingest.write.pace import LEAST_MS, MOST_MS, Pace


@pytest.mark.parametrize(("busy", "late_s", "batch_s"), [(0.9, 0.0, 0.0), (0.1, 0.5, 0.0), (0.1, 0.0, 2.0)])
def test_overloaded_worker_asks_for_fewer_frames(busy: float, late_s: float, batch_s: float) -> None:
    pace = Pace(lambda: batch_s)
    advice = []
    for _ in range(20):
        pace.look(busy, late_s)
        advice.append(pace.advised_ms)
    assert advice == sorted(advice)
    assert advice[0] == 75
    assert advice[-1] == MOST_MS


def test_idle_worker_withdraws_its_advice() -> None:
    pace = Pace(lambda: 0.0)
    pace.advised_ms = 1000
    pace.look(0.1, 0.0)
    assert pace.advised_ms == 833
    for _ in range(30):
        pace.look(0.1, 0.0)
    assert pace.advised_ms == LEAST_MS


def test_busy_worker_keeps_its_advice() -> None:
    pace = Pace(lambda: 0.0)
    pace.advised_ms = 1000
    pace.look(0.5, 0.0)
    assert pace.advised_ms == 1000


@pytest.mark.db
async def test_every_answer_carries_the_advice(postgres_dsn: str) -> None:
    session = Session()
    async with start_worker(postgres_dsn) as worker, Client(worker) as client:
        assert (await client.attach(session))["pace_ms"] == LEAST_MS
        worker.services.pace.advised_ms = 400
        assert (await client.exchange(session.frame()))["pace_ms"] == 400
