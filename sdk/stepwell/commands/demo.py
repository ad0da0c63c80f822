"""`stepwell demo`: the options of `stepwell.demo.driver`."""

from __future__ import annotations

import argparse
import os
import sys

from stepwell.errors import SettingError
from stepwell.terminal.command import Command

ABOUT = """train a small real model on four ranks, log it, read it back with SQL

Starts a server of its own on a free port, with its data in a temporary directory, and removes all of it at the end;
with --url it logs to a server that runs already. Takes about half a minute. The exit code is 1 unless every point that
the ranks counted is found in the database."""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="log to this server, which runs already")
    parser.add_argument(
        "--dsn", help="the Postgres of that server, if the server runs on another machine; default STEPWELL_DSN"
    )
    parser.add_argument("--data", metavar="DIR", help="the data directory of that server, if it is not the default one")
    parser.add_argument("--steps", type=int, default=3520, help="steps of each rank; default 3520, which is 160 epochs")
    parser.add_argument(
        "--keep", action="store_true", help="leave the server running until Ctrl-C, so that the run can be viewed"
    )


def run(options: argparse.Namespace) -> int:
    if sys.platform == "win32":
        raise SettingError("the demo needs a server, which runs on Linux and macOS only")
    if options.steps < 1:
        raise SettingError("--steps must be at least 1")
    from stepwell.demo.driver import Demo

    dsn = options.dsn or os.environ.get("STEPWELL_DSN")
    return Demo(options.url, dsn, options.data, options.steps, keep=options.keep).run()


COMMAND = Command(ABOUT, configure, run)
