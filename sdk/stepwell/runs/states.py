"""The states of a run, which define what it can do: disabled, open, forked or finished.

Sits between the run, which users hold, and its session. The run replaces its state as a whole, so a thread that reads
it sees one state or the next, never a mixture. `log` is an attribute and not a method: training loops call `Run.log`,
and the calls of an open run go straight to the stage.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.errors import UsageError
from stepwell.runs.ending import Ending
from stepwell.runs.session import Session
from stepwell.stage.stage import Stage

#: Takes the data, the step and whether to commit; see `Run.log`.
Log = Callable[[Mapping[str, Any], int | None, bool | None], None]


class State(ABC):
    """One state of a run.

    Attributes:
        stage: holds the open step and the latest values. A finished run keeps its last one, to read from.
        session: the session that receives, or received, logged values; None: there is none.
        exit_code: the exit code; None until the run is finished.
        log: see `Run.log`.
    """

    def __init__(self, stage: Stage, log: Log, session: Session | None = None, exit_code: int | None = None) -> None:
        self.stage = stage
        self.log = log
        self.session = session
        self.exit_code = exit_code

    @abstractmethod
    def session_for(self, cannot: str) -> Session | None:
        """The session that accepts notes and files now; None: they are dropped.

        Args:
            cannot: what cannot be done with a finished run, for the message.

        Raises:
            UsageError: the run is finished.
        """

    @abstractmethod
    def ended(self, exit_code: int, end: Callable[[Session, int], Ending]) -> State:
        """The state after `finish`. `end` creates the remaining work."""

    def in_forked_child(self, reopen: Callable[[], Session], log: Log) -> State:
        """The state of the same run in a forked child, where the threads of its parent do not run."""
        return self


class Disabled(State):
    """A run in disabled mode, and every run before `open`: nothing leaves the process, but invalid data raises."""

    def __init__(self, stage: Stage, exit_code: int | None = None) -> None:
        super().__init__(stage, self._log, exit_code=exit_code)

    def session_for(self, cannot: str) -> None:
        return None

    def ended(self, exit_code: int, end: Callable[[Session, int], Ending]) -> State:
        return Disabled(self.stage, exit_code)

    def _log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self.stage.log_completed(data, step, commit)
        self.stage.cut()


class Open(State):
    """A run whose calls go to a session.

    Args:
        session: the session, which has been started.
        completes: whether rows are completed as `define_metric` asks, which takes a little longer.
    """

    session: Session

    def __init__(self, session: Session, completes: bool) -> None:
        super().__init__(session.stage, session.stage.log_completed if completes else session.stage.log, session)

    def session_for(self, cannot: str) -> Session:
        return self.session

    def ended(self, exit_code: int, end: Callable[[Session, int], Ending]) -> State:
        return Finished(self.stage, exit_code, self.session, end(self.session, exit_code))

    def in_forked_child(self, reopen: Callable[[], Session], log: Log) -> State:
        stage = Stage(self.session.stage_bytes, lambda: True, self.stage.step)
        stage.inherit(self.stage)
        return Forked(stage, self.session.run_id, reopen, log, self.session)


class Forked(State):
    """A run in a child process that has not logged to it yet. The child's first call opens a session of its own.

    Args:
        stage: a stage that begins at the step of the parent.
        run_id: the id of the run.
        reopen: opens the child's session and makes the run `Open`.
        log: does the same, and then logs.
        parents: the session of a parent that has forked. The child keeps it, as the garbage collector would close its
            event loop, which shares an epoll instance with the loop of the parent.
    """

    def __init__(
        self, stage: Stage, run_id: str, reopen: Callable[[], Session], log: Log, parents: Session | None = None
    ) -> None:
        super().__init__(stage, log)
        self._run_id = run_id
        self._reopen = reopen
        self._parents = parents

    def session_for(self, cannot: str) -> Session:
        return self._reopen()

    def ended(self, exit_code: int, end: Callable[[Session, int], Ending]) -> State:
        return Finished(self.stage, exit_code, run_id=self._run_id)


class Finished(State):
    """Accepts nothing more. `ending` holds the remaining steps of `finish`, in case an exception interrupted it.

    Args:
        stage: the last stage.
        exit_code: the exit code.
        session: the last session; None: this process had none.
        ending: the remaining work; None: there is none.
        run_id: the id of the run, if there is no session.
    """

    exit_code: int

    def __init__(
        self,
        stage: Stage,
        exit_code: int,
        session: Session | None = None,
        ending: Ending | None = None,
        run_id: str = "",
    ) -> None:
        super().__init__(stage, self._log, session, exit_code)
        self.ending = ending
        self._run_id = session.run_id if session is not None else run_id

    def session_for(self, cannot: str) -> None:
        raise UsageError(f"run {self._run_id} is finished, so {cannot}", hint="call stepwell.init() for a new run")

    def ended(self, exit_code: int, end: Callable[[Session, int], Ending]) -> State:
        return self

    def in_forked_child(self, reopen: Callable[[], Session], log: Log) -> State:
        return Finished(self.stage, self.exit_code, self.session, run_id=self._run_id)

    def _log(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self.session_for("log() cannot be called on it")
