"""`stepwell delete` is killed between two transactions: runs are complete or gone, and the next sweep completes it."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime

import pytest

from fixtures.ingest import Session, WritePath, stored_steps
from fixtures.whole_runs import fill, month_tables, move_to, rows_of
from stepwell_ingest.delete.sweeper import Sweeper

pytestmark = pytest.mark.db

#: A program that deletes both runs, and kills itself at the n-th call of a method.
PROGRAM = """
import os, signal, sys
from stepwell.cli import main
from stepwell_ingest.commands import delete
from stepwell_ingest.delete import remover, sweeper

place, name, calls, dsn = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
owner = sweeper.Sweeper if place == "sweeper" else remover
original = getattr(owner, name)

def deadly(*arguments):
    global calls
    calls -= 1
    if calls == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

setattr(owner, name, deadly)
parser = __import__("argparse").ArgumentParser()
delete.COMMAND.configure(parser)
sys.exit(delete.COMMAND.run(parser.parse_args(["run-1", "run-2", "--yes", "--dsn", dsn])))
"""
KILLS = [
    ("remover", "_remove_one", 1, [], []),
    ("remover", "_remove_one", 2, ["run-2"], []),
    ("sweeper", "sweep", 1, ["run-1", "run-2"], []),
    ("sweeper", "_quiet", 2, ["run-1", "run-2"], []),
    ("sweeper", "_detach", 2, ["run-1", "run-2"], ["chunk_2025_11"]),
    ("sweeper", "_drop", 1, ["run-1", "run-2"], []),
    ("sweeper", "_drop", 3, ["run-1", "run-2"], ["chunk_2025_11", "hot_object_2025_11"]),
    ("sweeper", "_sweep_run", 2, ["run-1", "run-2"], ["chunk_2025_11", "hot_object_2025_11"]),
]


@pytest.mark.parametrize(("place", "name", "calls", "gone", "dropped"), KILLS)
@pytest.mark.slow
async def test_killed_delete_leaves_whole_runs_or_none(
    write_path: WritePath, any_postgres_dsn: str, place: str, name: str, calls: int, gone: list[str], dropped: list[str]
) -> None:
    ids = {}
    for run in ("run-1", "run-2", "run-3"):
        cursor = await fill(write_path, Session(run=run))
        ids[run] = cursor.run_id
        if run == "run-1":
            ids[run] = await move_to(write_path.pool, cursor, datetime(2025, 11, 17, tzinfo=UTC))
    program = [sys.executable, "-c", PROGRAM, place, name, str(calls), any_postgres_dsn]
    process = await asyncio.create_subprocess_exec(*program, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    for run in ids:
        assert await stored_steps(write_path.pool, run=run) == ([] if run in gone else list(range(23)))
    tables = await month_tables(write_path.pool, "2025_11")
    assert not set(dropped) & set(tables)
    async with write_path.pool.acquire() as connection:
        swept = await Sweeper(connection).sweep()
    assert swept is not None
    assert swept.left == 0
    for run in gone:
        assert await rows_of(write_path.pool, ids[run]) == {}
    assert (await month_tables(write_path.pool, "2025_11") == []) == ("run-1" in gone)
    assert await stored_steps(write_path.pool, run="run-3") == list(range(23))
