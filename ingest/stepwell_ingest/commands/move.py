"""Moves the database of an older version from `~/.stepwell` to the present data directory of `stepwell up`.

Runs before `data.held`. Runs that start in the home directory spool into `~/.stepwell`, too, so removing old spools
would remove the database with them. Only the server's own files move; spools stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stepwell.errors import SettingError
from stepwell_ingest.commands.data import held
from stepwell_ingest.db import datadir

#: The server's files in its data directory, without its lock and its address.
_OURS = ("postgres", "postgres.log", "blobs")


def move_data(before: Path, now: Path, say: Callable[[str], None]) -> None:
    """Moves the server's files from `before` to `now`.

    Args:
        say: receives one line for the user at the terminal.

    Raises:
        InUseError: a server still runs on `before`.
        SettingError: the files cannot be moved; nothing has changed.
    """
    moved: list[str] = []
    with held(before):
        try:
            datadir.make_parents(now / "any")
            for name in _OURS:
                if (before / name).exists():
                    os.rename(before / name, now / name)
                    moved.append(name)
        except OSError as error:
            for name in moved:
                os.rename(now / name, before / name)
            raise SettingError(
                f"the database in {before} cannot be moved to {now}",
                detail=error.strerror,
                hint=f"move {', '.join(_OURS)} yourself, or keep them there: STEPWELL_DATA={before}",
            ) from error
        for name in ("server.json", "server.lock"):
            (before / name).unlink(missing_ok=True)
    say(f"moved the database from {before} to {now}")
