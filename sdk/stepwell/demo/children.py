"""Starts the demo's child processes, and ends them by pid, whatever happens to the demo itself.

Receives command lines; yields the JSON lines that a child prints, and shows the tail of its log when it fails. Leaving
the `with` block ends every child that still runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepwell.errors import Error

_LOG_LINES = 12
_STOP_S = 60.0


class Child:
    """One process. Its stderr goes into a file, its lines of JSON on stdout into `messages`."""

    def __init__(self, name: str, process: subprocess.Popen[str], log: Path) -> None:
        self.name = name
        self.process = process
        self.messages: list[dict[str, Any]] = []
        self._log = log
        self._reader = threading.Thread(target=self._read, name=f"read {name}", daemon=True)
        self._reader.start()

    def check(self) -> bool:
        """Returns whether the process has ended successfully.

        Raises:
            Error: the process has failed; the detail has the end of its log.
        """
        code = self.process.poll()
        if code:
            self._reader.join(5.0)
            lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            raise Error(f"{self.name} failed with exit code {code}", detail="\n".join(lines) or None)
        if code == 0:
            self._reader.join(5.0)
        return code == 0

    def stop(self) -> None:
        """Asks the process to end, and kills it when it does not."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_S)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(5.0)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed during the read
            for line in self.process.stdout:
                with contextlib.suppress(json.JSONDecodeError):
                    message = json.loads(line)
                    if isinstance(message, dict):
                        self.messages.append(message)


class Children:
    """All children of one demo.

    Args:
        logs: the directory for their stderr.
    """

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []

    def start(self, name: str, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Starts `python -m module` with this Python."""
        path = self._logs / f"{name.replace(' ', '-')}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                # Never written to: its end tells the child that its parent is gone.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=dict(environment),
                # The demo handles Ctrl-C itself, and ends its children in order.
                start_new_session=True,
            )
        child = Child(name, process, path)
        self._children.append(child)
        return child

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            child.stop()


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings of Stepwell that would change the demo."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("STEPWELL_") or name == "STEPWELL_API_KEY"
    }
    return kept | more
