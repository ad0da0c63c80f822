"""`stepwell delete`: deletes runs, projects or old history for good, after showing them and asking.

Receives names, or an age. Promises to delete nothing that it has not shown (except points that arrived since), to ask
unless told not to, and never to leave half of a run visible. If it is killed, it leaves rows that no reader sees; the
next `stepwell delete` or the server's hourly sweep removes them.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from stepwell.cli import Command, Progress, number, size, table
from stepwell.errors import Error, SettingError, UnavailableError
from stepwell_ingest.commands.actor import actor
from stepwell_ingest.commands.connection import connect, find_dsn
from stepwell_ingest.delete.plan import Deletion, parse_age, plan_older, plan_project, plan_runs
from stepwell_ingest.delete.remover import remove
from stepwell_ingest.delete.sweeper import Sweeper, Swept
from stepwell_ingest.server import loop

_SHOWN = 20

ABOUT = """delete runs, projects or old history, for good

The command first shows what it will delete, and asks for confirmation. A month of history in which no run is left is
dropped as a whole, which is quick and frees the disk at once; other rows are removed one by one, and Postgres reuses
their space.

  stepwell delete my-run team/mnist/other-run
  stepwell delete --project team/mnist
  stepwell delete --older-than 90d --yes             # runs that have ended and are older than 90 days
  stepwell delete --sweep                            # the rows that an interrupted deletion has left

A process that still logs to a deleted run gets an error, and keeps training. New processes may use the id of the
run again."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="id or display name, optionally after project/ or entity/project/"
    )
    parser.add_argument("--project", metavar="ENTITY/PROJECT", help="all runs of this project")
    parser.add_argument(
        "--older-than", metavar="AGE", help="ended runs that were created longer ago than this, such as 90d or 12w"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show what would be deleted")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--sweep", action="store_true", help="only remove the rows that earlier deletions have left")
    parser.add_argument("--dsn", help="the Postgres; default STEPWELL_DSN, else that of the server on this machine")
    parser.add_argument("--data", metavar="DIR", help="data directory of a server on this machine")


def run(options: argparse.Namespace) -> int:
    asked_for = bool(options.runs) + bool(options.project or options.older_than) + options.sweep
    if asked_for != 1:
        raise SettingError(
            "no runs to delete were named"
            if not asked_for
            else "runs, --project with --older-than, and --sweep are mutually exclusive",
            hint="name runs, or give --project and --older-than (both: the old runs of that project), or --sweep",
        )
    if options.older_than is not None:
        parse_age(options.older_than)  # before waiting for Postgres
    dsn = find_dsn(options.dsn, options.data)
    if options.sweep:
        return loop.run(_sweep_only(dsn))
    plan = loop.run(_look(dsn, options))
    print(_text(plan), flush=True)
    if not plan.targets or options.dry_run:
        return 0
    if not options.yes and not _agreed(len(plan.targets)):  # outside of a loop, so that Ctrl-C ends it
        print("nothing was deleted")
        return 1
    return loop.run(_carry_out(dsn, plan))


async def _look(dsn: str, options: argparse.Namespace) -> Deletion:
    async with _connected(dsn) as connection:
        return await _plan(connection, options)


async def _sweep_only(dsn: str) -> int:
    async with _connected(dsn) as connection:
        return await _sweep(connection)


async def _carry_out(dsn: str, plan: Deletion) -> int:
    progress = Progress()
    gone: list[int] = []

    def removed(run_id: int) -> None:
        gone.append(run_id)
        progress.show(f"{len(gone):,} of {number(len(plan.targets), 'run')} deleted")

    async with _connected(dsn) as connection:
        try:
            await remove(connection, [target.run_id for target in plan.targets], removed, actor("delete"))
        finally:
            progress.clear()
            print(f"deleted {number(len(gone), 'run')}; no reader sees them any more", flush=True)
        return await _sweep(connection)


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(dsn, application_name="stepwell delete", TimeZone="UTC")
    try:
        yield connection
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError) as error:
        raise Error(
            "this database was not set up by a server of this version",
            detail=str(error),
            hint="start `stepwell up` on it first",
        ) from error
    except asyncpg.InsufficientPrivilegeError as error:
        raise Error(
            "the role that the command connects as has no permission to delete",
            detail=str(error),
            hint="use the DSN with which the server connects",
        ) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise UnavailableError(
            "the connection to Postgres was lost, or Postgres failed",
            detail=f"{type(error).__name__}: {error}",
            hint="deleted runs stay deleted; run the same command again for the rest",
        ) from error
    finally:
        with contextlib.suppress(TimeoutError, OSError, asyncpg.PostgresError):
            await connection.close(timeout=2)


async def _plan(connection: asyncpg.Connection, options: argparse.Namespace) -> Deletion:
    if options.runs:
        return await plan_runs(connection, options.runs)
    if options.older_than is not None:
        return await plan_older(connection, parse_age(options.older_than), options.project)
    return await plan_project(connection, options.project)


def _text(plan: Deletion) -> str:
    lines = []
    if plan.targets:
        lines.append(f"{number(len(plan.targets), 'run')} will be deleted for good:")
        rows = [
            (
                target.path,
                target.state,
                f"{target.created_at:%Y-%m-%d %H:%M}",
                f"{target.points:,}",
                f"{target.objects:,}",
                size(target.size_bytes),
            )
            for target in plan.targets[:_SHOWN]
        ]
        shown = table(("run", "state", "created", "points", "objects", "about"), rows, right=(3, 4, 5))
        lines += [f"  {line}" for line in shown.splitlines()]
        if len(plan.targets) > _SHOWN:
            lines.append(f"  … and {len(plan.targets) - _SHOWN:,} more")
        points, objects = sum(item.points for item in plan.targets), sum(item.objects for item in plan.targets)
        taken = size(sum(item.size_bytes for item in plan.targets))
        lines.append(f"together {number(points, 'point')}, {number(objects, 'object')}, about {taken} on disk")
        if plan.files:
            lines.append(
                f"{number(plan.files, 'file')} ({size(plan.file_bytes)}) that no other run names: the server "
                "removes them later,\n  young files only when its grace period is over (stepwell up --blob-grace-days)"
            )
        if plan.months:
            lines.append(f"months that are dropped as a whole: {', '.join(plan.months)}")
        if running := sum(item.state == "running" for item in plan.targets):
            what = (
                "1 of them is running: its processes get"
                if running == 1
                else f"{running:,} of them are running: their processes get"
            )
            lines.append(f"{what} an error, and what they log from then on is not stored")
    else:
        lines.append("nothing to delete")
    if plan.kept_running:
        lines.append(
            f"kept: {number(plan.kept_running, 'run')}, old enough, but still running (name them to delete them)"
        )
    if plan.kept_for_forks:
        lines.append(f"kept: {number(plan.kept_for_forks, 'run')}, old enough, but younger forks show their points")
    return "\n".join(lines)


def _agreed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise SettingError(
            "there is no terminal to ask for confirmation, so nothing was deleted",
            hint="use --yes, or --dry-run to see what would be deleted",
        )
    what = "this run" if count == 1 else f"these {count:,} runs"
    try:
        answer = input(f"Delete {what}, for good? [y/N] ")
    except EOFError:
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


async def _sweep(connection: asyncpg.Connection) -> int:
    progress = Progress()

    def show(swept: Swept) -> None:
        progress.show(f"{number(swept.rows, 'row')} and {number(swept.months, 'month')} removed")

    try:
        swept = await Sweeper(connection, show).sweep()
    finally:
        progress.clear()
    if swept is None:
        print("another sweep is running; it or the next one removes the rest (the server sweeps every hour)")
        return 0
    text = f"removed {number(swept.rows, 'row')}"
    if swept.months or swept.dropped_bytes:
        text += f" and {number(swept.months, 'whole month')} ({size(swept.dropped_bytes)})"
    print(text)
    if swept.left:
        print(f"{number(swept.left, 'deleted run')} not fully removed: still in use; the server tries again every hour")
    return 0


COMMAND = Command(ABOUT, configure, run)
