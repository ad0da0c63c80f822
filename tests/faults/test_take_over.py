"""A process replaces one that is still alive: whichever reaches the server first, nothing is lost or hidden.

The process that started first is disconnected and replaced; later it is connected again. The judge checks only what was
acknowledged to either of them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from faults.journal import read_journal
from faults.proxy import Action, Rule
from faults.service import Logger, Service, service
from stepwell_ingest.db.cluster import Cluster

pytestmark = pytest.mark.db

FENCED = "a newer process has taken over writer 0"


@pytest.fixture
async def stepwell(postgres_dsn: str, pg_cluster: Cluster, tmp_path: Path) -> AsyncIterator[Service]:
    async with service(postgres_dsn, pg_cluster, tmp_path) as made:
        yield made


async def superseded(pg: asyncpg.Connection) -> int:
    return int(await pg.fetchval("SELECT count(*) FROM stepwell.history_superseded"))


def replacement(stepwell: Service) -> Logger:
    """Starts a logger on another node, which has its own proxy."""
    place = stepwell.place / "elsewhere"
    place.mkdir()
    stepwell.loggers.append(Logger(stepwell.worker.url, place, first_step=5))
    return stepwell.loggers[-1]


async def test_replaced_process_that_attaches_late_hides_nothing(
    stepwell: Service, pg: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    stepwell.web.rules.append(Rule("> request", Action.CUT, count=None))
    old = stepwell.logger(age_s=60)
    old.log(100)
    heir = replacement(stepwell)
    heir.log(50)
    assert await heir.flush()
    with caplog.at_level(logging.WARNING, "stepwell"):
        stepwell.web.rules.clear()
        assert await old.flush()
    name = f"0+{old.run._session.id.hex()[:8]}"
    assert f"a process that started later logs as writer 0, so this process logs as writer {name}" in (caplog.messages)
    heir.log(50)
    assert await heir.flush()
    await old.finish()
    await heir.finish()
    assert await superseded(pg) == 0
    shown = await pg.fetch(
        "SELECT writer, count(DISTINCT step) AS steps FROM stepwell.history GROUP BY writer ORDER BY 1"
    )
    assert [tuple(row) for row in shown] == [("0", 100), (name, 100)]


async def test_replaced_process_is_fenced_and_keeps_its_frames(stepwell: Service, pg: asyncpg.Connection) -> None:
    old = stepwell.logger(age_s=60)
    old.log(3)
    assert await old.flush()
    heir = replacement(stepwell)
    heir.log(50)
    assert await heir.flush()
    old.log(10)
    with pytest.raises(Exception, match=FENCED):
        await old.flush()
    await old.finish()
    await heir.finish()
    assert await superseded(pg) == 0
    assert old.run.account.left > 0
    assert read_journal(old.journal).stored == 2


async def test_immediate_restart_takes_over(stepwell: Service, pg: asyncpg.Connection) -> None:
    """Within 2 s, the process that attaches last counts as the newer one, even if its attach was slow."""
    old = stepwell.logger(age_s=1)
    old.log(20)
    assert await old.flush()
    heir = replacement(stepwell)
    heir.log(20)
    assert await heir.flush()
    assert await pg.fetchval("SELECT array_agg(DISTINCT writer) FROM stepwell.history") == ["0"]
    assert await pg.fetchval("SELECT count(DISTINCT step) FROM stepwell.history_superseded") == 15
    with pytest.raises(Exception, match=FENCED):
        old.log(1)
        await old.flush()
