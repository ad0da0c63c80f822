"""The run that user code holds. It checks a call and passes it to the stage, and leaves the rest to the I/O thread.

`log`, `flush` and `finish` may be called from synchronous code, from threads and from inside a running loop. Nothing
here does I/O in the caller's thread except `open` (which creates the spool) and calls that wait by definition.
`states.py` defines what a run can do in each state.
"""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from stepwell.compat.older import OlderNames
from stepwell.delivery.account import Account, Stats
from stepwell.files.saved_files import checked_policy
from stepwell.notes.about import About, AlertLevel, checked_alert
from stepwell.notes.config import Config
from stepwell.notes.definitions import Definitions, Metric, checked_metric
from stepwell.notes.summary import Summary, SummaryState
from stepwell.observe.model_watch import ModelWatches, checked_models
from stepwell.runs.exits import exit_code_of
from stepwell.runs.flush import Flush
from stepwell.runs.identity import RunIdentity
from stepwell.runs.lifecycle import Lifecycle, NewSession
from stepwell.runs.opening import how_it_continues, where_to_continue
from stepwell.runs.rejections import OnRejection, Rejections
from stepwell.runs.report import report_of
from stepwell.runs.session import Session
from stepwell.runs.states import Finished
from stepwell.settings import Settings
from stepwell.settings.start import forget, remember
from stepwell.stage.stage import Stage


class Run(RunIdentity, OlderNames):
    """One run, as one of its processes sees it. Created by `stepwell.init`.

    Attributes:
        id: the run's id, the same in all its processes.
        project, entity: as shown on pages and in SQL.
        config: see `stepwell.Config`.
        summary: see `stepwell.Summary`.
        settings: all settings, resolved.
        resumed: whether this process continues an existing run.
        starting_step: the first step of this process.
    """

    config: Config

    def __init__(
        self,
        settings: Settings,
        config: Any,
        on_rejection: OnRejection | None = None,
        allow_val_change: bool = False,
        new_session: NewSession = Session,
    ) -> None:
        """Creates a run that logs nothing, and starts no thread, before `open`."""
        about = About(
            settings.name or (f"dummy-{settings.run_id}" if settings.mode == "disabled" else None),
            *(settings.notes, settings.tags, settings.group, settings.job_type),
            lambda change: self._life.note("meta", change, "its name, notes and tags cannot be changed"),
        )
        super().__init__(settings, about, time.time())
        self.config = Config(
            config,
            lambda change: self._life.note("config", {"set": change}, "its config cannot be changed"),
            allow_val_change,
        )
        self._quiet = False
        self._continues: str | None = None  # where the run continues, for messages
        self._watches = ModelWatches(lambda found: self.log(found, commit=False))
        self._definitions = Definitions()
        self._life = Lifecycle(
            settings,
            lambda: {**self._about.as_info(), "config": self.config.as_dict()},
            self._definitions,
            Rejections(on_rejection),
            new_session,
            [self.unwatch, self._keep_dir],
            self._ended,
        )
        self._summary_state = SummaryState(
            lambda: self._stage,
            self._definitions,
            lambda note: self._life.note("summary", note, "its summary cannot be changed"),
            self.start_time,
        )

    def open(self) -> None:
        """Opens the session and starts its I/O thread; does nothing in disabled mode.

        A run that is resumed, rewound or forked waits here, for at most `Timeouts.resume_s`, until the server has
        answered where it continues.

        Raises:
            SpoolError: the spool cannot be created.
            UsageError: the run exists and must not, or does not exist and must.
            UnavailableError: the server does not answer.
        """
        if self.settings.mode == "disabled":
            return
        session = self._life.open(self.settings.start)
        if self.settings.start.needs_answer:
            try:
                if reply := where_to_continue(session, self.settings):
                    self._continue(session, reply)
                    self._continues = how_it_continues(self.settings, reply, self.step)
            except BaseException:
                self._life.give_up(session)
                raise

    def log(
        self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None, sync: bool | None = None
    ) -> None:
        """Logs values at a step.

        Args:
            data: values by name. Numbers (Python's, numpy's, arrays and tensors of one element) become points; strings,
                bools, None and lists become objects; dicts nest, and merge with the existing values of the step.
            step: None: the open step, which this call closes. A number: the step that the values belong to, which stays
                open for more; a higher number than the open step's closes that one; with a lower one, the call is
                dropped with a warning, unless `step_back` of `init` says otherwise.
            commit: whether this call closes the step; None: yes without `step`, no with it.
            sync: accepted for older scripts, and ignored.

        Raises:
            DataError: (a TypeError and a ValueError) a value cannot be logged; nothing of the call was logged.
            UsageError: the run is finished.
            StepOrderError, SpoolFullError: the step has passed, or there is no room; see `step_back` and `spool_full`.
        """
        self._life.state.log(data, step, commit)

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
        """Defines how a metric is plotted and summarised. Calls for the same name complement each other.

        Args:
            name: the name of a metric; with a trailing `*`, all metrics with this prefix, except `_private` ones.
            step_metric: the metric to plot it against.
            step_sync: whether a row without the step metric gets its last value; None: yes with `step_metric`.
            hidden: whether charts leave the metric out.
            summary: one or more of min, max, mean, best, last, first, copy, none, separated by commas without blanks.
            goal: "minimize" or "maximize", the meaning of "best"; None: minimize.
            overwrite: whether this call replaces earlier ones for the same name.

        Raises:
            UsageError: an argument is invalid, or the run is finished.
        """
        metric = checked_metric(name, step_metric, step_sync, hidden, summary, goal, overwrite)
        self._life.note("define", metric.as_note(bool(overwrite)), "define_metric() cannot be called on it")
        last = {key: seen.value for key, seen in self._stage.latest().items()}
        metric = self._definitions.add(metric, bool(overwrite), last)
        self._life.defined()
        return metric

    @property
    def summary(self) -> Summary:
        """One value for each key: the last one, the aggregate that `define_metric` asks for, or a value set here."""
        return Summary(self._summary_state)

    @summary.setter
    def summary(self, values: Mapping[str, Any]) -> None:
        Summary(self._summary_state).update(values)

    @property
    def writer(self) -> str:
        """The name of this process in the run."""
        return self._life.writer

    @property
    def step(self) -> int:
        """The step that the next call without `step` belongs to."""
        return self._stage.step

    @property
    def durable_step(self) -> int | None:
        """The step up to which all logged values are committed in Postgres; None: nothing yet."""
        return self._session.sender.durable_step if self._session else None

    @property
    def stats(self) -> Stats | None:
        """The counters of all stations so far; None in disabled mode."""
        return self._session.sender.stats if self._session else None

    @property
    def account(self) -> Account:
        """The account of all logged points and objects: stored, rejected, dropped or left in the spool."""
        return self._session.sender.account if self._session else Account(0, 0, 0, 0, 0)

    @property
    def spool_directory(self) -> str | None:
        """The directory in which frames wait on the disk; None in disabled mode, or when no spool could be created."""
        return str(self._session.spool.directory) if self._session and self._session.spool else None

    def flush(self, timeout_s: float | None = None, *, durable: bool = True) -> Flush:
        """Waits until every closed step is committed in Postgres (offline, or durable=False: is safe on the disk).

        In a thread without a running loop, this blocks. Inside a running loop (such as a notebook's), and in a signal
        handler that has interrupted `log()`, it returns at once: `await run.flush()`. The open step stays open.

        Args:
            timeout_s: the longest wait in seconds; None: no limit. After a time-out, the outcome is False.
            durable: whether to wait for Postgres; False: only until the spool is safe from a crash of this host.

        Raises:
            UsageError: the run is finished.
            Error: the server has refused this writer for good.
        """
        state = self._life.state
        if isinstance(state, Finished):
            state.session_for("flush() cannot be called on it")
        if state.session is None:  # disabled, or a forked child that has not logged
            return Flush(None, timeout_s)
        sender, blobs = state.session.sender, state.session.blobs
        outcome = Flush(blobs.flush(lambda: sender.flush(durable), durable), timeout_s)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if not self._life.interrupted:  # otherwise the I/O thread waits for the interrupted call
                outcome.wait()
        return outcome

    def finish(self, exit_code: int | None = None, quiet: bool | None = None) -> None:
        """Closes the open step, delivers the remaining frames and ends the run in this process.

        While the server is unavailable, the call gives up after `Timeouts.finish_idle_s` without progress;
        `stepwell sync` delivers the rest later. A second call does nothing, unless an exception such as Ctrl-C has
        interrupted the first one: then it completes what the first one began. Inside `on_rejection`, and in a signal
        handler that has interrupted `log()`, the call returns at once, and another thread finishes the run; the exit of
        the program waits for that thread.

        Args:
            exit_code: 0 or None: finished; anything else: failed.
            quiet: whether to leave out the last line, which says how much is stored.
        """
        self._quiet = self._quiet or bool(quiet)
        self._life.finish(int(exit_code or 0))

    def save(
        self,
        glob_str: str | os.PathLike[str] | None = None,
        base_path: str | os.PathLike[str] | None = None,
        policy: str = "live",
    ) -> list[str] | bool:
        """Keeps files with the run. They are copied in the background: leave them where they are until `flush`.

        Args:
            glob_str: a path, or a pattern with `*`, `?`, `[…]` and `**`. Directories themselves are skipped. None, as
                in older scripts, does nothing; the files of `dir` are kept without a call.
            base_path: the directory to which the names of files are relative; None: the working directory or, for an
                absolute pattern, its directory.
            policy: "now": once, as they are; "live": now, and again when they have changed, which is checked every
                15 s and at the end; "end": when the run ends, all that match then.

        Returns:
            The paths of the files that match now; in disabled mode False; without a pattern True.

        Raises:
            SettingError: (a ValueError) an unknown policy.
            UsageError: a file is not below `base_path`, or the run is finished.
        """
        policy = checked_policy(policy)
        session = self._life.state.session_for("save() cannot be called on it")
        if session is None:
            return False
        if glob_str is None:
            return True
        return session.saved.save(os.fspath(glob_str), None if base_path is None else os.fspath(base_path), policy)

    def watch(
        self,
        models: Any,
        criterion: Any = None,
        log: str | None = "gradients",
        log_freq: int = 1000,
        idx: int | None = None,
        log_graph: bool = False,
    ) -> None:
        """Logs histograms of a torch module, as `gradients/<parameter>` and `parameters/<parameter>`.

        They belong to the open step, and do not close it. NaN and infinities are counted separately from the bins.

        Args:
            models: a module, or several in a list: those after the first are named `graph_1.`, `graph_2.` and so on.
            criterion: accepted for older scripts, and ignored.
            log: "gradients", "parameters", "all", or None for nothing.
            log_freq: every `log_freq`-th pass is logged: backward passes for gradients, forward passes for parameters.
            idx: the number of the first of these models; None: continues the count.
            log_graph: an argument of W&B's client without effect; a warning says so.

        Raises:
            DataError: (a TypeError) one of `models` is not a torch module.
            SettingError: (a ValueError) `log` or `log_freq` is invalid.
            UsageError: the run is finished.
        """
        checked_models(models, log, log_freq)
        if self._life.state.session_for("watch() cannot be called on it") is not None:
            self._watches.watch(models, log, log_freq, idx, log_graph)

    def unwatch(self, models: Any = None) -> None:
        """Stops watching a module or several; None: all modules that this run watches."""
        self._watches.unwatch(models)

    def alert(
        self,
        title: str,
        text: str = "",
        level: AlertLevel | str | None = None,
        wait_duration: float | datetime.timedelta | None = None,
    ) -> None:
        """Records an alert with a title and a text.

        Args:
            title, text: the texts of the alert.
            level: "INFO" (default), "WARN" or "ERROR".
            wait_duration: the time in seconds within which the same title is not recorded twice; default 60.

        Raises:
            DataError: an unknown level, or a value that is not a duration.
            UsageError: the run is finished.
        """
        self._life.note("alert", checked_alert(title, text, level, wait_duration), "alert() cannot be called on it")

    def mark_preempting(self) -> None:
        """Records that this process is about to be preempted.

        Raises:
            UsageError: the run is finished.
        """
        self._life.note("system", {"preempting": True}, "mark_preempting() cannot be called on it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(exit_code_of(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.finish, exit_code_of(error))

    def __repr__(self) -> str:
        return f"<stepwell.Run {self.path} writer {self.writer}>"

    @property
    def _stage(self) -> Stage:
        return self._life.state.stage

    @property
    def _session(self) -> Session | None:
        return self._life.state.session

    def _continue(self, session: Session, reply: Mapping[str, Any]) -> None:
        """Takes over the server's state of the run: the first step, the config, names and tables."""
        self.resumed = bool(reply.get("resumed"))
        if self.resumed or self.settings.start.fork_run is not None:
            self._summary_state.continue_from(self.settings)
        self.starting_step = int(reply.get("last_step", -1)) + 1
        session.stage.start_at(self.starting_step)
        session.tables.update(reply.get("tables") or {})
        self.config.restore(reply.get("config") or {})
        self._about.restore(reply.get("meta") or {})
        if self.settings.start.automatic:
            remember(self.settings.dir, self.id)

    def _keep_dir(self) -> None:
        """A step of `finish`: keeps the files of `dir`, if this process has used it."""
        if self._has_dir and self._session is not None:
            self._session.saved.keep_directory(self.dir)

    def _ended(self, session: Session) -> None:
        """The last step of `finish`."""
        if self.settings.start.automatic and self._life.state.exit_code == 0:
            forget(self.settings.dir, self.id)
        if not self._quiet and (text := report_of(session, self.settings)) is not None:
            self.say(text)
