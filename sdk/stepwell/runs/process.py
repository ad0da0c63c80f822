"""The process and its runs: which run is current, and what happens at fork and at exit. All such rules live here.

One `Process` object stands for the process that imported stepwell: the only state that belongs to the module level,
because `stepwell.log()` and `stepwell.run` do by their nature.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Protocol

from stepwell.compat.before_init import before_init
from stepwell.runs.exit import ExitWatch
from stepwell.runs.run import Run
from stepwell.runs.session import Session

#: When SIGTERM has interrupted one of our own calls, it comes again after this time.
_AGAIN_S = 0.005


class Recorder(Protocol):
    """Keeps what runs log, in the place of spool and server: `stepwell.testing`."""

    directory: Path

    @property
    def open_session(self) -> Callable[..., Session]: ...
    def started(self, run: Run) -> None: ...


class Process:
    """The runs of this process, the newest unfinished one being the current one.

    Attributes:
        recorder: takes what new runs log; None: their servers do.
    """

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self._runs: list[weakref.ref[Run]] = []
        self._current: Run | None = None
        self._hooked = False
        self._exit = ExitWatch()

    @property
    def current(self) -> Run | None:
        """The run that `stepwell.log` logs to; None outside `init` … `finish`."""
        if self._current is not None and self._current._exit_code is not None:
            self._current = None
        return self._current

    def require(self, name: str) -> Run:
        """The current run.

        Raises:
            Error: there is none; the text names the function that was called.
        """
        run = self.current
        if run is None:
            raise before_init(name)
        return run

    def swap_current(self, run: Run | None) -> Run | None:
        """Makes `run` the current one; returns the one that was."""
        was, self._current = self.current, run
        return was

    def adopt(self, run: Run, current: bool = True) -> None:
        """Looks after `run` at fork and at exit; makes it the current one, or not."""
        if not self._hooked:
            self._hooked = True
            atexit.register(self._at_exit)
            self._exit.start()
            if (
                threading.current_thread() is threading.main_thread()
                and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a program's own handler is its business
            ):
                signal.signal(signal.SIGTERM, self._on_sigterm)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._after_fork_in_child)
        self._runs = [known for known in self._runs if known() is not None]
        self._runs.append(weakref.ref(run))
        if current:
            self._current = run

    def _at_exit(self) -> None:
        """What `finish` was forgotten for is delivered; an uncaught exception makes the run failed."""
        exit_code = self._exit.exit_code()
        for known in self._runs:
            run = known()
            if run is not None:
                run.finish(exit_code)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """Pre-emption: what is logged is delivered, then the signal does what it does without us."""
        if any(run is not None and run.interrupted for run in (known() for known in self._runs)):
            # The I/O thread would wait for the call that this has interrupted, and this for the I/O thread. The call
            # goes on, and the signal comes again.
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        for known in self._runs:
            run = known()
            if run is not None:
                run.finish(128 + number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _after_fork_in_child(self) -> None:
        for known in self._runs:
            run = known()
            if run is not None:
                run._after_fork_in_child()


PROCESS = Process()
