"""The runs of this process: which one is current, and what happens to them at fork and at exit.

One `Process` object represents the process that imported stepwell. It is the only state at module level, because
`stepwell.log()` and `stepwell.run` refer to the whole process by definition.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Protocol

from stepwell.compat.before_init import before_init
from stepwell.runs.exits import ExitWatch, finish_with_child
from stepwell.runs.lifecycle import NewSession
from stepwell.runs.run import Run

log = logging.getLogger("stepwell")

#: When SIGTERM has interrupted a call of `log` or `finish`, it is sent again after this time.
_AGAIN_S = 0.005


class Recorder(Protocol):
    """Records what runs log, in place of a spool and a server; for `stepwell.testing`."""

    directory: Path

    @property
    def open_session(self) -> NewSession: ...
    def started(self, run: Run) -> None: ...


class Process:
    """The runs of this process. The current one is the last that `adopt` made current, until it is finished.

    Attributes:
        recorder: records what new runs log; None: they log to their servers.
    """

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self._runs: list[Run] = []  # runs that are not finished, or whose finish was interrupted
        self._current: Run | None = None
        self._started: Counter[str] = Counter()
        self._hooked = False
        self._exit = ExitWatch()
        self._lock = threading.RLock()  # never held during a wait; a signal handler may reenter it

    @property
    def current(self) -> Run | None:
        """The run that `stepwell.log` logs to; None outside `init` … `finish`."""
        run = self._current
        if run is None or run._life.active:
            return run
        with self._lock:
            if self._current is run:
                self._current = None
            self._forget_finished()
            return self._current

    @property
    def runs(self) -> list[Run]:
        """All runs of this process that are not finished, or whose `finish` was interrupted."""
        return list(self._runs)

    def nth_run_of(self, job: str) -> str:
        """The id of the next run that this process starts in a job: the job's id, then the same with "-2", "-3" and so
        on.

        All ranks of a job arrive at the same ids, because they call `init` equally often.
        """
        with self._lock:
            self._started[job] += 1
            count = self._started[job]
        return job if count == 1 else f"{job}-{count}"

    def require(self, name: str) -> Run:
        """The current run.

        Raises:
            Error: there is no current run; the message names the function that was called.
        """
        run = self.current
        if run is None:
            raise before_init(name)
        return run

    def swap_current(self, run: Run | None) -> Run | None:
        """Makes `run` the current run; returns the previous one."""
        with self._lock:
            was, self._current = self.current, run
        return was

    def adopt(self, run: Run, current: bool = True) -> Run | None:
        """Registers `run` for fork and exit, and optionally makes it the current run.

        Returns:
            The previous current run that `run` replaces; None without one.
        """
        with self._lock:
            if not self._hooked:
                self._hooked = True
                self._hook()
            self._forget_finished()
            self._runs.append(run)
        finish_with_child(run.finish)
        return self.swap_current(run) if current else None

    def _hook(self) -> None:
        atexit.register(self._at_exit)
        self._exit.start()
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # a handler of the program's own stays
        ):
            signal.signal(signal.SIGTERM, self._on_sigterm)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def _forget_finished(self) -> None:
        self._runs = [run for run in self._runs if not run._life.over]

    def _at_exit(self) -> None:
        """Finishes the runs that the program did not finish; after an uncaught exception, as failed."""
        exit_code = self._exit.exit_code()
        for run in self._runs:
            try:
                run.finish(exit_code)
            except Exception:
                log.exception("run %s could not be finished", run.id)

    def _on_sigterm(self, number: int, frame: FrameType | None) -> None:
        """Handles preemption: delivers logged values, then lets the signal take its default effect."""
        if any(run._life.interrupted for run in self._runs):
            # The I/O thread would wait for the interrupted call, and this handler for the I/O thread. So the
            # interrupted call continues, and the signal is sent again.
            again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
            return
        for run in self._runs:
            run.finish(128 + number)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _after_fork_in_child(self) -> None:
        self._lock = threading.RLock()  # a thread that does not run here may hold the old one
        for run in self._runs:
            run._life.after_fork_in_child()


PROCESS = Process()
