"""How a process ends, as the exit code of its run: 0 when all is well, that of `sys.exit`, 1 for an exception.

Beside the run: `with` blocks ask about their exception, `process.py` about the end of the interpreter, whose exit code
Python itself does not tell.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Ctrl-C, as W&B's client reports it (log-semantics §11).
INTERRUPTED = 255


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a run whose block ended with `error`."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return _code(error.code)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


class ExitWatch:
    """Notes how the interpreter is about to end: the code of the last `sys.exit`."""

    def __init__(self) -> None:
        self._exit: Callable[..., Any] | None = None
        self._asked: int | None = None

    def start(self) -> None:
        """Takes the place of `sys.exit`, which goes on to do what it does."""
        self._exit = sys.exit
        sys.exit = self._watched_exit

    def exit_code(self) -> int:
        """To be asked when the interpreter ends."""
        error = getattr(sys, "last_value", None)  # set for what nobody caught
        if error is not None and not hasattr(sys, "ps1"):
            return exit_code_of(error)
        return self._asked or 0

    def _watched_exit(self, status: Any = None, /) -> Any:
        self._asked = _code(status)
        assert self._exit is not None
        return self._exit(status)


def _code(status: Any) -> int:
    """As the process ends: None is 0; a text, which Python prints, is 1; of a number, the last eight bits."""
    if status is None:
        return 0
    return status & 0xFF if isinstance(status, int) else 1
