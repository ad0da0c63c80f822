"""The run: what user code holds. Checks the call, hands it to the stage, and asks the I/O thread for the rest.

In come `log`, `flush`, `finish` from sync code, from threads and from inside a running loop; nothing here does I/O in
the caller's thread but `init` (which makes the spool) and what explicitly waits. A run has one writer a process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.compat.unsupported import Absent
from stepwell.delivery.account import Account, Stats
from stepwell.delivery.sender import Sender
from stepwell.errors import Error, RejectionError, RunFullError, UnavailableError, UsageError
from stepwell.files.blobs import Blobs
from stepwell.files.media_door import MediaDoor
from stepwell.notes.about import About
from stepwell.notes.config import Config
from stepwell.notes.definitions import Definitions, Metric, checked_metric
from stepwell.notes.summary import Summary, SummaryState
from stepwell.runs.companions import Companions
from stepwell.runs.flush import Flush
from stepwell.runs.report import report
from stepwell.runs.session import Session
from stepwell.runs.watch import Watching
from stepwell.runs.with_block import WithBlock
from stepwell.settings import Settings
from stepwell.settings.start import Start, forget, remember
from stepwell.stage.stage import Stage
from stepwell.values.text import dump

log = logging.getLogger("stepwell")

OnRejection = Callable[[int, RejectionError], None]


class Run(Watching, Absent, WithBlock):
    """One run, as one process of it sees it. Made by `stepwell.init`.

    Attributes:
        id: the run's id, the same in all its processes.
        project, entity: as pages and SQL show them.
        writer: which process of the run this is.
        config: see `stepwell.Config`.
        summary: see `stepwell.Summary`.
        settings: all settings, resolved.
        resumed: the run was there, and this process goes on with it.
    """

    def __init__(
        self,
        settings: Settings,
        config: Any,
        info: Mapping[str, Any],
        on_rejection: OnRejection | None = None,
        allow_val_change: bool = False,
        open_session: Callable[..., Session] = Session,
    ) -> None:
        self.settings = settings
        self.id = settings.run_id
        self.project = settings.project
        self.entity = settings.entity
        self.writer = settings.writer
        self.resumed = False
        self.start_time = time.time()
        self._start = settings.start
        self._on_rejection = on_rejection
        self._info = dict(info)
        self._full = False
        self._sender: Sender | None = None
        self._session: Session | None = None
        self._new_session = open_session
        self._companions = Companions(settings)
        self._exit_code: int | None = None
        self._final_account: Account | None = None
        self._final_stats: Stats | None = None
        self._about = About(
            settings.name or (f"dummy-{self.id}" if settings.mode == "disabled" else None),
            *(settings.notes, settings.tags, settings.group, settings.job_type),
            lambda change: self._say("meta", change, "its names cannot be set"),
        )
        self.config = Config(
            config, lambda change: self._say("config", {"set": change}, "its config cannot change"), allow_val_change
        )
        self._definitions = Definitions()
        self._summary_state = SummaryState(
            lambda: self._stage,
            self._definitions,
            lambda note: self._say("summary", note, "its summary cannot be set"),
            self.start_time,
        )
        if settings.mode == "disabled":
            self._stage = Stage(settings.limits.stage_bytes, lambda: True)
            self._stage.open_to_media(MediaDoor(None, self._stage.note))
            self._log: Callable[[Mapping[str, Any], int | None, bool | None], None] = self._log_disabled
        else:
            self._open_session(first_step=0)
            if settings.start.needs_answer:
                self._go_on()

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Logs values at a step.

        Args:
            data: by name. Numbers (Python's, numpy's, arrays and tensors of one element) become points; strings,
                bools, None and lists become objects; dicts nest, and merge with what the step has.
            step: None: the open step, which this call closes. A number: the step it belongs to, which stays open for
                more; a higher number than the open step's closes that; a lower one is dropped with a warning.
            commit: whether this call closes the step; None: yes without `step`, no with it.
            sync: accepted for older scripts, and ignored.

        Raises:
            DataError: (a TypeError and a ValueError) something cannot be logged; nothing of the call was.
            UsageError: the run is finished.
        """
        self._log(data, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | Metric | None = None,
        step_sync: bool | None = None,
        hidden: bool | None = None,
        summary: str | None = None,
        goal: str | None = None,
        overwrite: bool | None = None,
    ) -> Metric:
        """Says how a metric is plotted and summed up. Calls for the same name add up.

        Args:
            name: of a metric; with a trailing `*`, of all that begin so, but for `_private` ones.
            step_metric: the metric to plot it against.
            step_sync: a row that lacks the step metric gets its last value; None: yes with `step_metric`.
            hidden: charts leave it out.
            summary: one or more of min, max, mean, best, last, first, copy, none, with commas and no blanks.
            goal: "minimize" or "maximize": what "best" is; None: minimize.
            overwrite: this replaces what was said of the name before.

        Raises:
            UsageError: an argument makes no sense, or the run is finished.
        """
        metric = checked_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)
        self._say("define", metric.as_note(bool(overwrite)), "define_metric() cannot be called on it")
        last = {key: seen.value for key, seen in self._stage.latest().items()}
        metric = self._definitions.add(metric, bool(overwrite), last)
        self._apply_definitions()
        return metric

    @property
    def summary(self) -> Summary:
        """One value a metric: the last one, what `define_metric` makes of it, or what was set here."""
        return Summary(self._summary_state)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        Summary(self._summary_state).update(values)

    @property
    def step(self) -> int:
        """The step that the next call without `step` belongs to."""
        return self._stage.step

    @property
    def durable_step(self) -> int | None:
        """Up to this step, everything that was logged is committed in Postgres; None: nothing yet."""
        return (
            self._final_stats.durable_step if self._final_stats else self._sender.durable_step if self._sender else None
        )

    @property
    def stats(self) -> Stats | None:
        """What happened at each station so far; None in disabled mode."""
        return self._final_stats or (self._sender.stats if self._sender else None)

    @property
    def account(self) -> Account:
        """Where every logged point and object is: stored, rejected, dropped or left in the spool."""
        if self._final_account is not None:
            return self._final_account
        return self._sender.account if self._sender else Account(0, 0, 0, 0, 0)

    @property
    def spool_directory(self) -> str | None:
        """Where frames wait on the disk; None in disabled mode, or when the disk took none."""
        spool = self._session.spool if self._session and self._sender else None
        return str(spool.directory) if spool else None

    def flush(self, timeout_s: float | None = None, *, durable: bool = True) -> Flush:
        """Waits until every closed step is committed in Postgres (offline, or durable=False: is safe on the disk).

        In a thread without a running loop it blocks. Inside a running loop (a notebook's cells are) it returns at once:
        `await run.flush()`.
        The open step stays open.

        Args:
            durable: False: only until the spool is safe from a crash of this host.
            timeout_s: how long to wait at most; None: as long as it takes. The returned Flush is falsy when it was up.

        Raises:
            UsageError: the run is finished.
            Error: the server has refused this writer for good.
        """
        if self._exit_code is not None:
            raise UsageError(f"run {self.id} is finished, so flush() cannot be called on it")
        if self._sender is None:
            return Flush(None, timeout_s)
        sender, blobs = self._sender, self._blobs
        outcome = Flush(
            blobs.flush(lambda: sender.flush(durable), durable) if blobs else sender.flush(durable), timeout_s
        )
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            outcome.wait()
        return outcome

    def finish(self, exit_code: int | None = None) -> None:
        """Closes the open step, delivers what is left and ends the run in this process. A second call does nothing.

        When the server is away, it gives up after `Timeouts.finish_idle_s` without progress; `stepwell sync` delivers
        the rest later.

        Args:
            exit_code: 0 or None: finished; anything else: failed.
        """
        if self._exit_code is not None:
            return
        self._exit_code = int(exit_code or 0)
        sender = self._sender
        if self.settings.mode == "disabled":
            return  # and what is logged later goes nowhere, too
        self.unwatch()
        self._log = self._log_finished
        self._companions.stop()
        if sender is None:
            return
        self._stage.close_row()
        if self._session is not None:
            self._session.save_state(self._exit_code)
        if self._blobs is not None and self._session is not None:
            self._session.saved.finish()
            self._blobs.finish_media()
        sender.finish(self._exit_code)
        if self._blobs is not None:
            self._blobs.finish()
        self._final_account, self._final_stats = sender.account, sender.stats
        if self._start.automatic and self._exit_code == 0:
            forget(self.settings.dir, self.id)
        self._report(self._final_account)

    @property
    def _blobs(self) -> Blobs | None:
        """Files and media of this process' session; None in disabled mode, or in a forked child that has not logged."""
        return self._session.blobs if self._session is not None and self._sender is not None else None

    @property
    def interrupted(self) -> bool:
        """Whether a signal handler that asks has interrupted `log` or `finish`, and so must not wait for them."""
        finishing = self._exit_code is not None and self._sender is not None and self._final_account is None
        return finishing or self._stage.in_use or (self._blobs is not None and self._blobs.in_use)

    def _open_session(self, first_step: int) -> None:
        """A session of its own, with spool, stage and I/O thread."""
        info = {**self._info, **self._about.as_info(), "config": self.config.as_dict()}
        session = self._new_session(self.settings, self.writer, self._start, info, self._rejected, first_step)
        if self._session is not None:
            session.stage.inherit(self._stage)
        self._session, self._sender, self._stage = session, session.sender, session.stage
        self._exit_code = None
        self._apply_definitions()

    def _apply_definitions(self) -> None:
        """What `define_metric` asked of the stage."""
        definitions, stage = self._definitions, self._stage
        if definitions.aggregates:
            stage.follow(definitions.follows)
        if definitions.completes:
            stage.complete_rows(definitions)
        if self._sender is not None and self._exit_code is None:
            self._log = stage.log_completed if definitions.completes else stage.log

    def _go_on(self) -> None:
        """Asks the server where this run goes on: the first step, and the config that it had.

        Raises:
            UsageError: the run is there and must not be, or is not and must be.
            UnavailableError: the server does not answer.
        """
        assert self._session is not None
        if self.settings.mode == "offline":
            log.warning("an offline run starts at step 0: there is no server to ask where it was")
            return
        try:
            reply = self._session.sender.wait_attached(self.settings.timeouts.resume_s)
        except (Error, TimeoutError) as error:
            self._log = self._log_finished
            self._exit_code = 1
            self._session.sender.abandon()
            if isinstance(error, Error):
                raise
            raise UnavailableError(
                f"the server did not say in {self.settings.timeouts.resume_s:g} s where run {self.id} goes on",
                detail=self.settings.url,
                hint="a run can only be resumed, rewound or forked while the server answers",
            ) from error
        self.resumed = bool(reply.get("resumed"))
        if self.resumed or self._start.fork_run is not None:
            self._summary_state.go_on(self.settings)
        self._stage.start_at(int(reply.get("last_step", -1)) + 1)
        self._session.tables.update(reply.get("tables") or {})
        self.config.restore(reply.get("config") or {})
        self._about.restore(reply.get("meta") or {})
        if self._start.automatic:
            remember(self.settings.dir, self.id)

    def _after_fork_in_child(self) -> None:
        """The child logs as a writer of its own, from the step where the parent was; its thread starts when it logs."""
        if self._sender is not None and self._exit_code is None:
            # Kept: its loop shares an epoll with the parent's, which collecting it here would disturb.
            self._parents_sender = self._sender
            self._sender = None
            stage = Stage(self.settings.limits.stage_bytes, lambda: True, self._stage.step)
            stage.inherit(self._stage)
            self._stage = stage
            self._log = self._log_after_fork
        self._companions.after_fork_in_child()

    def _log_after_fork(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self._open_session_of_child()
        self._log(data, step, commit)

    def _open_session_of_child(self) -> None:
        self.writer = f"{self.settings.writer}-{os.getpid()}"
        self._start = Start()
        self._open_session(first_step=self._stage.step)
        self._companions.restart(self._session)
        if "multiprocessing.util" in sys.modules:  # its children skip atexit
            from multiprocessing.util import Finalize

            Finalize(None, self.finish, exitpriority=100)

    def _log_disabled(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        if self._definitions.completes:
            self._stage.log_completed(data, step, commit)
        else:
            self._stage.log(data, step, commit)  # so that bad data is found in tests, too
        self._stage.cut()

    def _log_finished(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        raise UsageError(
            f"run {self.id} is finished, so log() cannot be called on it", hint="call stepwell.init() for a new run"
        )

    def _say(self, kind: str, note: Mapping[str, Any], cannot: str) -> None:
        """Hands a note on.

        Raises:
            UsageError: the run is finished.
        """
        if self._session_for(cannot) is not None:
            self._stage.note(kind, dump(dict(note)))

    def _session_for(self, cannot: str) -> Session | None:
        """See `Keeping`."""
        if self.settings.mode == "disabled":
            return None
        if self._exit_code is not None:
            raise UsageError(f"run {self.id} is finished, so {cannot}", hint="call stepwell.init() for a new run")
        if self._sender is None:  # a forked child
            self._open_session_of_child()
        return self._session

    def _rejected(self, seq: int, error: RejectionError) -> None:
        if not isinstance(error, RunFullError):
            log.error(
                "the server rejected a frame (seq %d); it is recorded in the view stepwell.rejections. %s", seq, error
            )
        elif not self._full:  # all that follow fare the same
            self._full = True
            log.error("what is logged from now on is rejected, and counted in the view stepwell.rejections. %s", error)
        if self._on_rejection is not None:
            self._on_rejection(seq, error)

    def _report(self, account: Account) -> None:
        frames_left = self._sender.frames_left if self._sender else 0
        files = self._blobs.report() if self._blobs else ""
        if frames_left or account.rejected or account.dropped or files or self.writer == "0":
            error = self._sender.stream.last_error if self._sender and self._sender.stream else None
            online, place = self.settings.mode == "online", self.spool_directory
            text = report(self.id, account, frames_left, place, error, self.settings.dir, online)
            self.say(f"{text}\n  {files}" if files else text)
