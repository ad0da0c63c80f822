"""The command `stepwell`: finds the requested subcommand, runs it, and turns errors into text for people.

Takes the words of the command line and returns an exit code: 0 for success, 1 for an `Error`, 2 for an invalid command
line, 130 for Ctrl-C. Errors appear on stderr in a few plain lines. The SDK's own commands are named here. The server's
commands are found by the entry points "stepwell.commands", so that stepwell never imports stepwell_ingest; they import
what they need from the SDK (`Command`, `ServerFile`, the display functions) from this module alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import stepwell
from stepwell.errors import Error, SettingError
from stepwell.settings.server_file import ServerFile, data_directory, default_data
from stepwell.spool.place import foreign_owner
from stepwell.terminal.command import Command
from stepwell.terminal.display import Progress, describe, number, size, table
from stepwell.terminal.rows import Column, Writer, rows_writer
from stepwell.terminal.server_commands import GROUP, is_server_command, server_command
from stepwell.terminal.sql_prompt import SqlPrompt
from stepwell.transport.endpoint import has_password

__all__ = [
    "GROUP",
    "Column",
    "Command",
    "Progress",
    "ServerFile",
    "SqlPrompt",
    "Writer",
    "data_directory",
    "default_data",
    "describe",
    "foreign_owner",
    "main",
    "number",
    "rows_writer",
    "size",
    "table",
]


class _Entry(NamedTuple):
    about: str
    target: str  # module:attribute; empty: an entry point


#: The first lines of the commands, repeated here because the overview would take most of a second to load them all.
_COMMANDS = {
    "up": _Entry("start a server, with a Postgres of its own or yours", ""),
    "demo": _Entry("train a small model on four ranks, log it, and read it back with SQL", "stepwell.commands.demo"),
    "open": _Entry("open the page of a run or project in the browser", "stepwell.commands.open"),
    "sql": _Entry("query the stored history with SQL, read-only", "stepwell.commands.sql"),
    "delete": _Entry("delete runs, projects or old history, for good", ""),
    "login": _Entry("store an API key of this user for a server", "stepwell.commands.login"),
    "keys": _Entry("make, list and revoke API keys", ""),
    "status": _Entry("show the server, and what waits in the spools below a directory", "stepwell.commands.status"),
    "sync": _Entry("deliver what offline or crashed runs left in their spools", "stepwell.commands.sync"),
}

#: The options that may hold a password, and the variables that take the same.
_WITH_PASSWORDS = {"dsn": "STEPWELL_DSN", "sql_dsn": "STEPWELL_SQL_DSN", "url": "STEPWELL_URL"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, by default that of the process.

    Returns:
        The exit code.
    """
    try:
        code = _run(list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
        return code
    except Error as error:
        sys.stderr.write(describe(error))
        return 1
    except BrokenPipeError:
        # `stepwell sql … | head`: the reader has closed the pipe. The interpreter would complain when it flushes
        # stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        sys.stderr.write(describe(_of_system(error)))
        return 1
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        return 130


def _of_system(error: OSError) -> Error:
    """The error for an unreadable file or a full disk, in plain words: tracebacks are for bugs."""
    message = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return Error(message)
    hint = "run the command as the owner of this file or directory" if isinstance(error, PermissionError) else None
    return Error(f"{error.filename}: {message}", hint=hint)


def _run(arguments: list[str]) -> int:
    if arguments and not arguments[0].startswith("-"):
        name, rest = arguments[0], arguments[1:]
        command = _load(name)
        parser = argparse.ArgumentParser(
            prog=f"stepwell {name}", description=command.about, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.configure(parser)
        options = parser.parse_args(rest)
        _warn_of_passwords(options)
        return command.run(options)
    width = max(map(len, _COMMANDS))
    overview = argparse.ArgumentParser(
        prog="stepwell",
        usage="stepwell COMMAND [OPTIONS]",
        description="Records what training runs log, and keeps it in Postgres, where SQL can read it.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}  {entry.about}" for name, entry in _COMMANDS.items())
        + "\n\n`stepwell COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    overview.add_argument("--version", action="version", version=f"stepwell {stepwell.VERSION}")
    overview.parse_args(arguments)
    overview.print_help()
    return 0


def _warn_of_passwords(options: argparse.Namespace) -> None:
    for name, variable in _WITH_PASSWORDS.items():
        given = getattr(options, name, None)
        if isinstance(given, str) and has_password(given):
            option = f"--{name.replace('_', '-')}"
            instead = "" if name == "url" else ", or put the password into ~/.pgpass"
            sys.stderr.write(
                f"stepwell: the password in {option} is visible to all users of this machine in the list of processes\n"
                f"  Hint: set {variable} instead{instead}\n"
            )


def _load(name: str) -> Command:
    """The command of that name.

    Raises:
        SettingError: there is no such command, or its package is not fully installed.
    """
    entry = _COMMANDS.get(name)
    if entry is not None and entry.target:
        command = importlib.import_module(entry.target).COMMAND
    elif entry is None and not is_server_command(name):
        raise SettingError(f"there is no command {name!r}", hint=f"the commands are {', '.join(_COMMANDS)}")
    else:
        command = server_command(name)
    assert isinstance(command, Command)
    return command
