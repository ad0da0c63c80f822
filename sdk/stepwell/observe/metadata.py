"""The origin of a run: command line, interpreter, host, git commit, installed packages.

Off the data path: collected once, in a thread of its own, and sent as notes of kind "metadata", which SQL shows in the
view `metadata`. `log()` never waits for it, and `finish` only briefly. Facts that cannot be determined are left out.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from stepwell.transport.endpoint import masked, shown
from stepwell.values.text import dump

log = logging.getLogger("stepwell")

#: The longest time of a git command: facts from a repository on a slow file system are not worth a longer wait.
GIT_S = 5.0
#: How long `finish` waits for the metadata of a run that ends at once.
_PATIENCE_S = 2.0


class Metadata:
    """The metadata of one writer session, gathered once.

    Args:
        note: receives the kind and the JSON of a note.
        whole: whether to include git, packages and GPUs, which other ranks of the same job need not repeat.
    """

    def __init__(self, note: Callable[[str, bytes], None], whole: bool) -> None:
        self._note = note
        self._whole = whole
        self._thread = threading.Thread(target=self._run, name="stepwell-metadata", daemon=True)

    def start(self) -> None:
        """Starts to gather.

        Raises:
            RuntimeError: no thread can be started.
        """
        self._thread.start()

    def stop(self) -> None:
        """Waits a short time for the result."""
        if self._thread.is_alive():
            self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        program = main_file()
        parts: list[Callable[[], dict[str, Any]]] = [lambda: of_process(program)]
        if self._whole:
            parts += [lambda: {"git": of_git(program.parent if program else Path.cwd())}, of_packages, of_gpus]
        for part in parts:
            try:
                found = {name: value for name, value in part().items() if value not in (None, [], {})}
                if found:
                    self._note("metadata", dump(found))
            except Exception as error:  # noqa: BLE001 - a fact that cannot be determined is left out
                log.debug("metadata is incomplete: %s: %s", type(error).__name__, error)


def main_file() -> Path | None:
    """The program's file; None in a notebook, an interactive session or `python -c`."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).absolute() if file and os.path.isfile(file) else None


def of_process(program: Path | None) -> dict[str, Any]:
    """The facts about this process and its host. Arguments are kept, except for credentials in URLs and DSNs."""
    try:
        import getpass

        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # no such user, as in some containers
        user = None
    return {
        "arguments": [masked(argument) for argument in sys.argv[1:]],
        "program": str(program) if program else None,
        "directory": os.getcwd(),
        "executable": sys.executable,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "os": platform.platform(),
        "machine": platform.machine(),
        "host": socket.gethostname(),
        "user": user,
        "pid": os.getpid(),
        "cpu_count": os.cpu_count(),
    }


def of_git(directory: Path) -> dict[str, Any]:
    """Commit, branch, remote without credentials, and whether tracked files have changed.

    Empty if there is no repository, or if git is not installed.
    """
    root = _git(directory, "rev-parse", "--show-toplevel")
    if not root:
        return {}
    remote = _git(directory, "config", "--get", "remote.origin.url")
    status = _git(directory, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules")
    found = {
        "root": root,
        "commit": _git(directory, "rev-parse", "--verify", "--quiet", "HEAD"),
        "branch": _git(directory, "symbolic-ref", "--quiet", "--short", "HEAD"),
        "remote": without_secrets(remote) if remote else None,
        "dirty": None if status is None else bool(status),
    }
    return {name: value for name, value in found.items() if value is not None and value != ""}


def of_packages() -> dict[str, Any]:
    """The installed packages, as `name==version`, sorted."""
    import importlib.metadata  # imports the e-mail parser, which `import stepwell` avoids

    found = {(item.metadata["Name"], item.version) for item in importlib.metadata.distributions()}
    return {"packages": sorted((f"{name}=={version}" for name, version in found if name), key=str.lower)}


def of_gpus() -> dict[str, Any]:
    """The names of NVIDIA GPUs."""
    from stepwell.observe.system_probes import Nvidia

    try:
        names = Nvidia().names
    except Exception:  # noqa: BLE001 - no library, no driver or no GPU; the exceptions vary
        return {}
    return {"gpus": names, "gpu_count": len(names)}


def without_secrets(url: str) -> str:
    """A git URL without credentials, query and fragment; `name:secret@host:path` becomes `host:path`."""
    if "://" not in url:
        return shown(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, f"{host}:{port}" if port else host, parts.path, "", ""))


def _git(directory: Path, *arguments: str) -> str | None:
    """The output of a git command; None if git fails. Runs no program that the repository's configuration names, and
    never prompts.
    """
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(
            command,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None
