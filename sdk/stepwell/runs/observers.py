"""The observers of a run: console, system metrics, metadata and, if asked for, TensorBoard, recorded from `init` to
`finish` without any call.

Sits beside the run. The observer of TensorBoard calls `Run.log`; the others pass notes to the stage of the session with
which they were started. No observer keeps the process alive, and only the one of TensorBoard is started for runs that
are disabled or captured by a test.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stepwell.files.saved_files import SavedFile
from stepwell.observe.console import Console
from stepwell.observe.metadata import Metadata, main_file
from stepwell.observe.system_metrics import SystemMetrics
from stepwell.observe.system_probes import probes_of_host
from stepwell.observe.tensorboard import TensorBoard
from stepwell.runs.session import Session
from stepwell.settings import Settings

log = logging.getLogger("stepwell")


class Observers:
    """The observers of one run in one process.

    Args:
        settings: the settings of the run.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted = False
        self._console: Console | None = None
        self._system: SystemMetrics | None = None
        self._metadata: Metadata | None = None
        self._tensorboard: TensorBoard | None = None

    def sync_tensorboard(self, log_values: Callable[..., None]) -> None:
        """From now on, also logs the output of TensorBoard's writers by `log_values` (`Run.log`). May be repeated."""
        if self._tensorboard is None:
            from stepwell.data_types import Image

            def take(values: dict[str, Any], begins_a_row: bool) -> None:
                if begins_a_row:
                    log_values({}, commit=True)
                log_values(values, commit=False)

            self._tensorboard = TensorBoard(take, Image)
            self._tensorboard.start()

    def stop_tensorboard(self) -> None:
        """Stops logging the output of TensorBoard's writers."""
        tensorboard, self._tensorboard = self._tensorboard, None
        if tensorboard is not None:
            tensorboard.stop()

    def start(self, session: Session | None, again: bool = False) -> None:
        """Starts the observers, once the run logs to `session`.

        Args:
            session: the session that receives their notes; None: the run is disabled, and nothing is observed.
            again: whether this is a forked child, whose metadata and program are those of its parent.
        """
        if session is None:
            return
        self._wanted = True
        settings, note = self._settings, session.stage.note
        try:
            if settings.console == "wrap":
                self._console = Console(note)
                self._console.start()
            if settings.system_metrics_s:
                self._system = SystemMetrics(note, probes_of_host(settings.dir), settings.system_metrics_s)
                self._system.start()
            if settings.metadata and not again:
                rank = session.writer.isdecimal() and session.writer != "0"
                self._metadata = Metadata(note, whole=not rank)
                self._metadata.start()
        except RuntimeError as error:  # no more threads can be started; the run itself has its own
            log.warning("console, system metrics and metadata are not kept with the run: %s", error)
            self.after_fork_in_child()
        program = main_file() if settings.save_code and not again else None
        if program is not None:
            session.saved.keep(SavedFile(program, f"code/{program.name}"))

    def restart(self, session: Session | None) -> None:
        """Starts the observers in a forked child that begins to log, if its parent had them."""
        if self._wanted:
            self.start(session, again=True)

    def stop(self) -> None:
        """Stops the observers at the end of the run, while the session still accepts notes. May be repeated."""
        self._wanted = False
        self.stop_tensorboard()
        if self._console is not None:
            self._console.stop()
        if self._system is not None:
            self._system.stop()
        if self._metadata is not None:
            self._metadata.stop()

    def after_fork_in_child(self) -> None:
        """Forgets the parent's observers, whose threads do not run here."""
        self._metadata = None
        self._system = None
        if self._console is not None:
            self._console.detach()
            self._console = None
