"""The file with the API keys of this user, one for each server; `stepwell login` writes it.

The file is `$XDG_CONFIG_HOME/stepwell/keys.json`, else `~/.config/stepwell/keys.json`: {"http://host:8770": "stw_…"}.
Promises that only its owner can read it: it is created so, and a file that others can read or change is refused, as ssh
does.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from stepwell.errors import SettingError
from stepwell.transport.endpoint import Endpoint

#: The environment variables that say where the file is.
PLACES = ("XDG_CONFIG_HOME", "HOME", "USERPROFILE")
_MAX_BYTES = 1024 * 1024


def key_file(environment: Mapping[str, str]) -> Path | None:
    """The path of the file; None: this environment has no home directory."""
    base = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):
        home = environment.get("HOME") or environment.get("USERPROFILE")
        if not home:
            return None
        base = os.path.join(home, ".config")
    return Path(base) / "stepwell" / "keys.json"


def stored_key(url: str, environment: Mapping[str, str]) -> str | None:
    """The key of a server; None: there is none.

    Raises:
        SettingError: the file is damaged, or others could read or change it.
    """
    path = key_file(environment)
    return None if path is None else _read(path).get(_name(url))


def store_key(url: str, key: str | None, environment: Mapping[str, str]) -> Path:
    """Stores the key of a server in place of an earlier one; None removes it. Returns the path of the file.

    Raises:
        SettingError: the file cannot be written, is damaged, or others could read or change it.
    """
    path = key_file(environment)
    if path is None:
        raise SettingError(
            "there is no directory in which a key could be stored",
            hint="set HOME or XDG_CONFIG_HOME, or use STEPWELL_API_KEY",
        )
    keys = _read(path)
    keys.pop(_name(url), None)
    if key is not None:
        keys[_name(url)] = key
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(keys, file, indent=1)
        os.replace(temporary, path)
    except OSError as error:
        raise SettingError(f"the key cannot be stored in {path}", detail=error.strerror) from error
    return path


def _name(url: str) -> str:
    """The URL without a name and password, in one form for all ways to write it."""
    return Endpoint.of(url, environment={}).url


def _read(path: Path) -> dict[str, str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        detail = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise SettingError(f"the keys in {path} cannot be read", detail=detail) from error
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if hasattr(os, "geteuid") and (
            not stat.S_ISREG(about.st_mode) or about.st_mode & 0o077 or about.st_uid != os.geteuid()
        ):
            raise SettingError(
                f"others could read or change the keys in {path}",
                detail=f"its mode is {stat.S_IMODE(about.st_mode):o}, its owner is uid {about.st_uid}",
                hint=f"chmod 600 {path}, as the user whose keys they are",
            )
        raw = file.read(_MAX_BYTES)
    try:
        keys = json.loads(raw)
    except ValueError as error:
        raise SettingError(
            f"{path} is not JSON", detail=str(error), hint="remove it, and run `stepwell login`"
        ) from error
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise SettingError(f"{path} is damaged", hint="remove it, and run `stepwell login`")
    return keys
