"""The run: what user code holds. Checks the call, hands it to the stage, and asks the I/O thread for the rest.

In come `log`, `flush`, `finish` from sync code, from threads and from inside a running loop; nothing here does I/O in
the caller's thread but `init` (which makes the spool) and what explicitly waits. A run has one writer a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from stepwell import _spool_state
from stepwell._config import Config
from stepwell._flush import Flush
from stepwell._outbox import Outbox
from stepwell._resume import Start, forget, remember
from stepwell._sender import Account, Sender, Stats
from stepwell._settings import Settings
from stepwell._stage import Stage
from stepwell._stream import PROTOCOL_VERSION
from stepwell.errors import (
    Error,
    RejectionError,
    RunDeletedError,
    RunFullError,
    SpoolFullError,
    UnavailableError,
    UsageError,
)
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits

log = logging.getLogger("stepwell")

OnRejection = Callable[[int, RejectionError], None]


class Run:
    """One run, as one process of it sees it. Made by `stepwell.init`.

    Attributes:
        id: the run's id, the same in all its processes.
        name, project, entity: as pages and SQL show it.
        writer: which process of the run this is.
        config: see `stepwell.Config`.
        settings: all settings, resolved.
    """

    def __init__(
        self,
        settings: Settings,
        config: Mapping[str, Any],
        info: Mapping[str, Any],
        on_rejection: OnRejection | None = None,
    ) -> None:
        self.settings = settings
        self.id = settings.run_id
        self.name = settings.name or settings.run_id
        self.project = settings.project
        self.entity = settings.entity
        self.writer = settings.writer
        self.resumed = False
        self._start = settings.start
        self._on_rejection = on_rejection
        self._info = dict(info)
        self._full = False
        self._sender: Sender | None = None
        self._spool: Spool | None = None
        self._exit_code: int | None = None
        self._final_account: Account | None = None
        self._final_stats: Stats | None = None
        self.config = Config(config, self._config_changed)
        if settings.mode == "disabled":
            self._stage = Stage(settings.limits.stage_bytes, lambda: True)
            self._log: Callable[[Mapping[str, Any], int | None, bool | None], None] = self._log_disabled
        else:
            self._open_writer(first_step=0)
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
    def path(self) -> str:
        """entity/project/id."""
        return f"{self.entity}/{self.project}/{self.id}"

    @property
    def account(self) -> Account:
        """Where every logged point and object is: stored, rejected, dropped or left in the spool."""
        if self._final_account is not None:
            return self._final_account
        return self._sender.account if self._sender else Account(0, 0, 0, 0, 0)

    @property
    def spool_directory(self) -> str | None:
        """Where frames wait on the disk; None in disabled mode, or when the disk took none."""
        return str(self._spool.directory) if self._spool else None

    def flush(self, timeout_s: float | None = None, *, durable: bool = True) -> Flush:
        """Waits until every closed step is committed in Postgres (offline, or durable=False: is safe on the disk).

        In a thread without a running loop it blocks. Inside a running loop it returns at once: `await run.flush()`.
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
        outcome = Flush(self._sender.flush(durable), timeout_s)
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
        self._log = self._log_finished
        sender = self._sender
        if sender is None:
            return
        self._stage.close_row()
        self._save_state()
        sender.finish(self._exit_code)
        self._final_account, self._final_stats = sender.account, sender.stats
        if self._start.automatic and self._exit_code == 0:
            forget(self.settings.dir, self.id)
        self._report(self._final_account)

    @property
    def interrupted(self) -> bool:
        """Whether a signal handler that asks has interrupted `log` or `finish`, and so must not wait for them."""
        finishing = self._exit_code is not None and self._sender is not None and self._final_account is None
        return finishing or self._stage.in_use

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(0 if kind is None else 1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.finish, 0 if kind is None else 1)

    def __repr__(self) -> str:
        return f"<stepwell.Run {self.path} writer {self.writer}>"

    def _open_writer(self, first_step: int) -> None:
        """A session of its own, with spool, stage and I/O thread."""
        settings = self.settings
        self._session = secrets.token_bytes(16)
        self._started_at = time.time()
        identity = SpoolIdentity(
            entity=self.entity,
            project=self.project,
            run=self.id,
            writer=self.writer,
            session=self._session,
            started_at=self._started_at,
            info=self._attach_info(),
        )
        try:
            self._spool = Spool.create(settings.dir, identity, SpoolLimits(max_bytes=settings.limits.spool_bytes))
        except SpoolFullError as error:
            self._spool = None
            log.error("there is no spool: what is logged waits in memory until the server has it. %s", error)
        outbox = Outbox(self._spool, self._session, settings.limits.memory_bytes, settings.spool_full)
        sender = Sender(settings, self._session, outbox, self._attach_message, self._rejected)
        self._stage = Stage(settings.limits.stage_bytes, sender.make_room, first_step, settings.step_back)
        self._log = self._stage.log
        self._sender = sender
        self._exit_code = None
        self._save_state()
        sender.start(self._stage)

    def _go_on(self) -> None:
        """Asks the server where this run goes on: the first step, and the config that it had.

        Raises:
            UsageError: the run is there and must not be, or is not and must be.
            UnavailableError: the server does not answer.
        """
        assert self._sender is not None
        if self.settings.mode == "offline":
            log.warning("an offline run starts at step 0: there is no server to ask where it was")
            return
        try:
            reply = self._sender.wait_attached(self.settings.timeouts.resume_s)
        except (Error, TimeoutError) as error:
            self._log = self._log_finished
            self._exit_code = 1
            self._sender.abandon()
            if isinstance(error, Error):
                raise
            raise UnavailableError(
                f"the server did not say in {self.settings.timeouts.resume_s:g} s where run {self.id} goes on",
                detail=self.settings.url,
                hint="a run can only be resumed, rewound or forked while the server answers",
            ) from error
        self.resumed = bool(reply.get("resumed"))
        self._stage.start_at(int(reply.get("last_step", -1)) + 1)
        self.config.setdefaults(reply.get("config") or {})
        if self._start.automatic:
            remember(self.settings.dir, self.id)

    def _after_fork_in_child(self) -> None:
        """The child logs as a writer of its own, from the step where the parent was; its thread starts when it logs."""
        if self._sender is not None and self._exit_code is None:
            # Kept: its loop shares an epoll with the parent's, which collecting it here would disturb.
            self._parents_sender = self._sender
            self._sender = None
            self._spool = None
            self._log = self._log_after_fork

    def _log_after_fork(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self.writer = f"{self.settings.writer}-{os.getpid()}"
        self._start = Start()
        self._open_writer(first_step=self._stage.step)
        if "multiprocessing.util" in sys.modules:  # its children skip atexit
            from multiprocessing.util import Finalize

            Finalize(None, self.finish, exitpriority=100)
        self._log(data, step, commit)

    def _log_disabled(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        self._stage.log(data, step, commit)  # so that bad data is found in tests, too
        self._stage.cut()

    def _log_finished(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        raise UsageError(
            f"run {self.id} is finished, so log() cannot be called on it", hint="call stepwell.init() for a new run"
        )

    def _attach_info(self) -> dict[str, Any]:
        return {
            "display_name": self.name,
            "config": self.config.as_dict(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            **self._info,
        }

    def _attach_message(self) -> dict[str, Any]:
        return {
            "type": "attach",
            "protocol": PROTOCOL_VERSION,
            "entity": self.entity,
            "project": self.project,
            "run": self.id,
            "writer": self.writer,
            "session": self._session.hex(),
            "started_at": self._started_at,
            "info": self._attach_info(),
            **self._start.as_message(),
        }

    def _config_changed(self) -> None:
        if self._exit_code is not None:
            raise UsageError(f"run {self.id} is finished, so its config cannot change")
        if self._sender is not None:
            self._save_state()
            self._sender.reattach()

    def _save_state(self) -> None:
        if self._spool is not None:
            with contextlib.suppress(OSError):  # the spool itself reports a disk that is full or failing
                _spool_state.save(self._spool.directory, self._attach_info(), self._exit_code)

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
        text = f"run {self.id}: {account.logged:,} values logged = {account.stored:,} stored"
        if account.rejected:
            text += f" + {account.rejected:,} rejected"
            failed = self._sender.stream.failed if self._sender and self._sender.stream else None
            if isinstance(failed, RunDeletedError):
                text += f" ({failed.message})"
        if account.dropped:
            text += f" + {account.dropped:,} dropped"
        if account.left:
            text += f" + {account.left:,} in {self.spool_directory}"
            if self.settings.mode == "online":
                reason = self._sender.stream.last_error if self._sender and self._sender.stream else None
                text += f"\n  not delivered: {_first_line(reason)}"
            text += f"\n  deliver them with: stepwell sync {self.settings.dir}"
        if account.left or account.rejected or account.dropped or self.writer == "0":
            self.say(text)

    def say(self, text: str) -> None:
        """One message to the person at the terminal."""
        if not self.settings.silent:
            sys.stderr.write(f"stepwell: {text}\n")
            sys.stderr.flush()


def _first_line(error: Exception | None) -> str:
    if error is None:
        return "the server did not answer"
    text = str(error).split("\n")[0] or type(error).__name__
    return text if isinstance(error, Error) else f"{type(error).__name__}: {text}"
