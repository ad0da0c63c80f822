"""Finds the commands of the server, by the entry points "stepwell.commands": stepwell never imports stepwell_ingest."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from stepwell.errors import SettingError
from stepwell.terminal.command import Command

GROUP = "stepwell.commands"
_INSTALL = "pip install 'stepwell[server]'"


def is_server_command(name: str) -> bool:
    """Returns whether an installed package has a command of that name."""
    return _found(name) is not None


def server_command(name: str) -> Command:
    """The server's command of that name.

    Raises:
        SettingError: the package of the command is not fully installed.
    """
    found = _found(name)
    if found is None:
        raise SettingError(
            f"`stepwell {name}` was not found in this installation",
            hint=f"Stepwell must be installed; it is not enough that Python finds its modules: {_INSTALL}",
        )
    try:
        command = found.load()
    except ModuleNotFoundError as error:
        raise SettingError(
            f"`stepwell {name}` belongs to the server, whose dependencies are not installed here",
            detail=f"Python finds no module named {error.name}",
            hint=_INSTALL,
        ) from error
    assert isinstance(command, Command)
    return command


def _found(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=GROUP, name=name)), None)
