"""The exit code of a run: 0 for success, the code of `sys.exit`, or 1 for an exception.

Sits beside the run. `with` blocks ask for the code of their exception. `process.py` asks for the code with which the
interpreter ends, which Python does not expose, and has runs finished in the children of `multiprocessing`, which skip
`atexit`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Ctrl-C, as W&B's client reports it.
INTERRUPTED = 255


def exit_code_of(error: BaseException | None) -> int:
    """The exit code of a run whose block ended with `error`."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return _code(error.code)
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def finish_with_child(finish: Callable[[int], object]) -> None:
    """Arranges that `finish` is called with the exit code when this process ends, if it is a child of
    `multiprocessing`.

    Children that were forked, by their parent or by the fork server, end with `os._exit`, which skips `atexit`.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None:
        return
    from multiprocessing.util import Finalize

    # The finalizers run while the exception of a failing child propagates.
    Finalize(None, lambda: finish(exit_code_of(sys.exc_info()[1])), exitpriority=100)


class ExitWatch:
    """Watches how the interpreter is about to end: the code of the last `sys.exit`."""

    def __init__(self) -> None:
        self._exit: Callable[..., Any] | None = None
        self._asked: int | None = None

    def start(self) -> None:
        """Wraps `sys.exit`."""
        self._exit = sys.exit
        sys.exit = self._watched_exit

    def exit_code(self) -> int:
        """The exit code with which the interpreter is ending."""
        error = getattr(sys, "last_value", None)  # set for an uncaught exception
        if error is not None and not hasattr(sys, "ps1"):
            return exit_code_of(error)
        return self._asked or 0

    def _watched_exit(self, status: Any = None, /) -> Any:
        self._asked = _code(status)
        assert self._exit is not None
        return self._exit(status)


def _code(status: Any) -> int:
    """The exit code for an argument of `sys.exit`: None is 0; a text, which Python prints, is 1; a number is its low
    byte."""
    if status is None:
        return 0
    return status & 0xFF if isinstance(status, int) else 1
