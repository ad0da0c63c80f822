"""The data directory of a server on this machine, and the file with its address.

`stepwell up` writes `<data>/server.json` when it is ready and removes it when it ends; `sql`, `status` and `demo` read
the file, so that options need not be repeated. Promises that only its owner can read it: a DSN may hold a password.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from stepwell.errors import SettingError

NAME = "server.json"


def data_directory(argument: str | None = None) -> Path:
    """The data directory: `argument`, else STEPWELL_DATA, else this user's default.

    The default follows the XDG specification. Root's default is not in its home, since the account that runs Postgres
    cannot enter there. A database of an older version is used at its old place until `stepwell up` moves it.
    """
    given = argument or os.environ.get("STEPWELL_DATA")
    if given:
        return Path(given).expanduser().absolute()
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/stepwell")
    before = data_of_older_version()
    return default_data() if before is None else before


def default_data() -> Path:
    """The default data directory of this user."""
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".local" / "share") / "stepwell"


def data_of_older_version() -> Path | None:
    """`~/.stepwell`, when it holds a database and the default directory does not; else None."""
    before = Path.home() / ".stepwell"
    there = (before / "postgres" / "PG_VERSION").exists() or (before / NAME).exists()
    return before if there and not (default_data() / "postgres").exists() else None


class ServerFile(NamedTuple):
    """What a running server says about itself.

    Attributes:
        url: the URL at which it listens.
        dsn: the DSN of its Postgres.
        pid: its process id.
    """

    url: str
    dsn: str
    pid: int

    @classmethod
    def read(cls, data: Path) -> ServerFile | None:
        """Reads the file of a data directory; None when there is no such file.

        A killed server leaves the file behind, so its presence does not mean that the server is alive.

        Raises:
            SettingError: the file cannot be read, or is damaged.
        """
        path = data / NAME
        try:
            raw = json.loads(path.read_bytes())
            return cls(str(raw["url"]), str(raw["dsn"]), int(raw["pid"]))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise SettingError(
                f"{path} belongs to another user", hint="use --url or --dsn, or run this as the user of `stepwell up`"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingError(f"{path} cannot be read", detail=str(error), hint="start the server again") from error

    def write(self, data: Path) -> None:
        """Replaces the file atomically.

        Raises:
            OSError: the file cannot be written.
        """
        temporary = data / f"{NAME}.tmp"
        # An existing file may belong to another user, be readable by others, or be a link: it is removed, never written
        # to.
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._asdict(), file)
        os.replace(temporary, data / NAME)

    @staticmethod
    def remove(data: Path) -> None:
        """Removes the file, if it exists."""
        with contextlib.suppress(OSError):
            (data / NAME).unlink()
