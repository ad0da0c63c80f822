"""Three workers behind HAProxy, killed, stopped and started again under load: nothing is lost or stored twice."""

from __future__ import annotations

import asyncio

import pytest

from faults.balanced import balanced
from faults.churn import ANY_MOMENT, Churn, Churned
from faults.stages import POINTS

pytestmark = [pytest.mark.db, pytest.mark.slow]


async def churn() -> Churned:
    points = [*(point for point in POINTS.values() if point.drained), *6 * [ANY_MOMENT["worker"]]]
    async with balanced(workers=3) as stack:
        made = Churn(stack, points, seed=3, workers=3, sealers=1, thorough=False)
        return await made.run()


def test_killed_workers_behind_haproxy_lose_nothing() -> None:
    churned = asyncio.run(churn())
    assert churned.verdict.clean, str(churned)
    assert churned.kills.total() == 8
    assert churned.verdict.obligations > 1000
