"""The lifecycle of a run in one process: its state, and the transitions between states.

Sits between the run and its session. Threads, signal handlers and forked children may ask for a transition at any
moment; each one is atomic, under a lock that is never held during a wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.files.media_door import MediaDoor
from stepwell.notes.definitions import Definitions
from stepwell.runs.ending import Ending
from stepwell.runs.exits import finish_with_child
from stepwell.runs.observers import Observers
from stepwell.runs.session import Rejected, Session
from stepwell.runs.states import Disabled, Finished, Forked, Open, State
from stepwell.settings import Settings, Start
from stepwell.stage.stage import Stage
from stepwell.values.text import dump

#: Creates a session from the settings, the writer, the start, the info, the callback for rejections and the first step.
NewSession = Callable[[Settings, str, Start, Mapping[str, Any], Rejected, int], Session]


class Lifecycle:
    """The states of one run.

    Args:
        settings: the settings of the run.
        info: returns the info about the run for an attach message.
        definitions: the definitions of its metrics.
        rejected: called in the I/O thread with the seq and the error of each refused frame.
        new_session: creates sessions.
        first_steps: the steps of `finish` before the session ends.
        last_step: the last step of `finish`; receives the session.

    Attributes:
        state: the state of the run (see `states.py`). A run is disabled before `open`.
        writer: the name of this process in the run.
        observers: the observers of the session.
    """

    def __init__(
        self,
        settings: Settings,
        info: Callable[[], Mapping[str, Any]],
        definitions: Definitions,
        rejected: Rejected,
        new_session: NewSession,
        first_steps: list[Callable[[], object]],
        last_step: Callable[[Session], object],
    ) -> None:
        self.writer = settings.writer
        self.observers = Observers(settings)
        self._settings = settings
        self._info = info
        self._definitions = definitions
        self._rejected = rejected
        self._new_session = new_session
        self._first_steps = first_steps
        self._last_step = last_step
        self._changing = threading.RLock()
        stage = Stage(settings.limits.stage_bytes, lambda: True)
        stage.open_to_media(MediaDoor(None, stage.note))
        self.state: State = Disabled(stage)

    @property
    def interrupted(self) -> bool:
        """Whether the caller is a signal handler that has interrupted `log` or `finish`, and so must not wait for
        them."""
        state = self.state
        if isinstance(state, Finished) and state.ending and state.ending.in_use:
            return True
        return state.stage.in_use or (state.session is not None and state.session.blobs.in_use)

    @property
    def active(self) -> bool:
        """Whether the run is not finished in this process."""
        return self.state.exit_code is None

    @property
    def over(self) -> bool:
        """Whether the run is finished, with no steps of `finish` left."""
        state = self.state
        return state.exit_code is not None and not (isinstance(state, Finished) and state.ending and state.ending.left)

    @property
    def inherited(self) -> bool:
        """Whether the run belongs to another process, and this one has not logged to it."""
        return isinstance(self.state, Forked)

    def open(self, start: Start, first_step: int = 0) -> Session:
        """Opens a session with spool, stage and I/O thread.

        Raises:
            SpoolError: the spool cannot be created.
        """
        session = self._new_session(self._settings, self.writer, start, self._info(), self._rejected, first_step)
        session.stage.inherit(self.state.stage)
        session.start()
        with self._changing:
            self._define_in(session.stage)
            self.state = Open(session, self._definitions.completes)
        return session

    def give_up(self, session: Session) -> None:
        """Ends a session that could not continue where it should; nothing was logged to it."""
        with self._changing:
            self.state = Finished(session.stage, 1, session)
        session.sender.abandon()

    def defined(self) -> None:
        """Applies the definitions of `define_metric` from now on."""
        with self._changing:
            self._define_in(self.state.stage)
            if isinstance(self.state, Open):
                self.state = Open(self.state.session, self._definitions.completes)

    def note(self, kind: str, note: Mapping[str, Any], cannot: str) -> None:
        """Passes a note to the session; in disabled mode, the note is dropped.

        Args:
            kind: the kind of the note.
            note: its content, which must be JSON.
            cannot: what cannot be done with a finished run, for the message.

        Raises:
            UsageError: the run is finished.
        """
        session = self.state.session_for(cannot)
        if session is not None:
            session.stage.note(kind, dump(dict(note)))

    def finish(self, exit_code: int) -> None:
        """Ends the run in this process, or completes an end that an exception has interrupted; see `Run.finish`."""
        exit_code = min(max(exit_code, -(2**31)), 2**31 - 1)  # the server stores 32 bits
        with self._changing:
            self.state = state = self.state.ended(exit_code, self._ending)
        if not isinstance(state, Finished) or state.ending is None:
            return
        # The I/O thread must not wait for itself. Nor may a signal handler that has interrupted `log`: the I/O thread
        # would wait for that call, which continues only when the handler has returned or raised.
        if state.session is not None and (state.session.sender.in_own_thread or state.stage.in_use):
            with contextlib.suppress(RuntimeError):  # no thread can be started: the exit handler does it
                threading.Thread(target=state.ending.complete, name="stepwell-finish").start()
        else:
            state.ending.complete()

    def after_fork_in_child(self) -> None:
        """Prepares a forked child, which logs as a writer of its own from its parent's step on. Its thread starts when
        it logs."""
        self._changing = threading.RLock()  # a thread of the parent may hold the old lock
        self.state = self.state.in_forked_child(self._reopen, self._log_in_child)
        self.observers.after_fork_in_child()

    def hand_over(self, step: int, exit_code: int | None) -> None:
        """Continues a copied run in this process, as a forked child does.

        Args:
            step: the step of the run when it was copied.
            exit_code: the exit code of the run; None: it was not finished when it was copied.
        """
        if self._settings.mode == "disabled":
            return
        stage = Stage(self._settings.limits.stage_bytes, lambda: True, step)
        if exit_code is None:
            self.state = Forked(stage, self._settings.run_id, self._reopen, self._log_in_child)
        else:
            self.state = Finished(stage, exit_code, run_id=self._settings.run_id)

    def _reopen(self) -> Session:
        """Opens the session of a forked child, once."""
        with self._changing:
            session = self.state.session
            if session is None:
                self.writer = f"{self._settings.writer}-{os.getpid()}"
                session = self.open(Start(), self.state.stage.step)
                self.observers.restart(session)
                finish_with_child(self.finish)
        return session

    def _log_in_child(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self._reopen()
        self.state.log(data, step, commit)

    def _define_in(self, stage: Stage) -> None:
        if self._definitions.aggregates:
            stage.follow(self._definitions.follows)
        if self._definitions.completes:
            stage.complete_rows(self._definitions)

    def _ending(self, session: Session, exit_code: int) -> Ending:
        return Ending(
            [
                *self._first_steps,
                self.observers.stop,
                *session.finish_steps(exit_code),
                lambda: self._last_step(session),
            ]
        )
