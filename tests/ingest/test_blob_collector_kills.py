"""A collector is killed between two steps of a removal: a later pass or an upload completes it."""

from __future__ import annotations

import asyncio
import signal
import sys

import asyncpg
import pytest

from fixtures.blobs import fetch, head, make_blob, put
from stepwell_ingest.blobs.collector import Collected, Collector
from stepwell_ingest.blobs.incoming import path_of
from stepwell_ingest.blobs.store import open_store
from stepwell_ingest.config import Timeouts
from stepwell_ingest.server.worker import Worker

pytestmark = [pytest.mark.db, pytest.mark.usefixtures("nobody_else_collects")]

#: A program that collects, and kills itself before or after the n-th call of a method.
PROGRAM = """
import asyncio, os, signal, sys
from stepwell_ingest.blobs import collector, store
from stepwell_ingest.config import Timeouts

owner, name, when, calls, dsn, place = *sys.argv[1:4], int(sys.argv[4]), *sys.argv[5:]
kind = store.Store if owner == "store" else collector.Collector
original = getattr(kind, name)

async def deadly(*arguments):
    global calls
    calls -= 1
    if when == "before" and calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    done = await original(*arguments)
    if when == "after" and calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return done

setattr(kind, name, deadly)
asyncio.run(collector.Collector(dsn, store.open_store(place), Timeouts()).collect())
"""
#: The kill point, and the numbers of marked rows, removed files and removed rows (of three).
KILLS = [
    ("collector", "_claim", "before", 1, 0, 0, 0),
    ("collector", "_claim", "after", 1, 3, 0, 0),
    ("store", "move", "before", 2, 3, 1, 0),
    ("store", "move", "after", 3, 3, 3, 0),
    ("collector", "_forget", "before", 1, 3, 3, 0),
    ("collector", "_forget", "after", 1, 0, 3, 3),
    ("store", "remove", "before", 2, 0, 3, 3),
    ("store", "remove", "after", 3, 0, 3, 3),
]


@pytest.mark.parametrize(("owner", "name", "when", "calls", "marked", "files", "rows"), KILLS)
@pytest.mark.slow
async def test_killed_collector_leaves_a_consistent_state(
    blob_worker: Worker,
    postgres_dsn: str,
    place: str,
    pg: asyncpg.Connection,
    owner: str,
    name: str,
    when: str,
    calls: int,
    marked: int,
    files: int,
    rows: int,
) -> None:
    blobs = dict(make_blob(1000, seed) for seed in range(3))
    for sha256, data in blobs.items():
        assert (await put(blob_worker, sha256, data))[0] == 201
    await pg.execute("UPDATE stepwell.blob SET touched_at = touched_at - interval '15 days'")
    program = [sys.executable, "-c", PROGRAM, owner, name, when, str(calls), postgres_dsn, place]
    process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()

    store = open_store(place)
    assert await pg.fetchval("SELECT count(removing_at) FROM stepwell.blob") == marked
    assert await pg.fetchval("SELECT count(*) FROM stepwell.blob") == 3 - rows
    assert [await store.size(path_of(sha256)) for sha256 in blobs].count(None) == files
    for sha256 in blobs:  # a blob with a marked row counts as missing, wherever its file is
        assert (await fetch(blob_worker, sha256))[0] == (404 if marked or rows else 200)
    if marked:
        first = min(blobs)
        assert (await put(blob_worker, first, blobs[first]))[0] == 503
        await pg.execute("UPDATE stepwell.blob SET removing_at = removing_at - interval '6 minutes'")
    else:
        first = max(blobs)
    # one blob is sent again before the next pass, and stays
    assert (await put(blob_worker, first, blobs[first]))[0] == (200 if not marked and not rows else 201)
    collector = Collector(postgres_dsn, store, Timeouts())
    while (collected := await collector.collect()) is None:  # noqa: ASYNC110 - Postgres sends no event
        await asyncio.sleep(0.01)  # Postgres has not noticed yet that the process has died
    assert collected == Collected(0 if rows else 2, 0 if rows else 2000)
    for sha256 in blobs:
        assert (await head(blob_worker, sha256))[0] == (200 if sha256 == first else 404)
        assert (await store.size(path_of(sha256)) is None) == (sha256 != first)
    assert await pg.fetchval("SELECT count(*) FROM stepwell.blob") == 1
