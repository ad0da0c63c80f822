"""One writer session of a run in this process: its spool, its stage and its I/O thread, from start to end.

Sits between the run, which users hold, and the components of the data path. A process has one session per run; a forked
child opens one of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stepwell.delivery.outbox import Outbox
from stepwell.delivery.sender import Sender
from stepwell.errors import RejectionError, SpoolFullError
from stepwell.files.blobs import Blobs
from stepwell.files.media_door import MediaDoor
from stepwell.files.saved_files import SavedFiles
from stepwell.settings import Settings, Start
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits
from stepwell.spool import state as spool_state
from stepwell.spool.place import usable_directory
from stepwell.stage.clock import uptime_s
from stepwell.stage.stage import Stage
from stepwell.values.text import dump
from stepwell.wire import PROTOCOL_VERSION, Object

log = logging.getLogger("stepwell")

#: Called with the seq and the error of each refused frame.
Rejected = Callable[[int, RejectionError], None]


class Session:
    """One session. The constructor creates the spool and connects the stations; `start` starts the I/O thread.

    Args:
        settings: the settings of the run.
        writer: the name of this process in the run.
        start: where the run starts.
        info: the info about the run for the attach message: config, names and so on.
        rejected: called in the I/O thread with the seq and the error of each refused frame.
        first_step: the first step of the stage.

    Attributes:
        run_id, writer: as given.
        root: the directory of the spools.
        id: 16 random bytes, which the server maps to an epoch.
        stage, sender, spool: the stations; spool is None when it could not be created on the disk.
        blobs: files and media, which are uploaded in parallel with the frames.
        saved: files that the program has saved.
        tables: for a resumed run, the JSON of the last increment of each INCREMENTAL table, by key.
        started_at: Unix seconds.

    Raises:
        SpoolError: the spool cannot be created. With a full disk, the session works without one.
    """

    spool: Spool | None

    def __init__(
        self,
        settings: Settings,
        writer: str,
        start: Start,
        info: Mapping[str, Any],
        rejected: Rejected,
        first_step: int,
    ) -> None:
        # `init` has chosen this directory, but a forked child may find it removed, or another user's.
        self.root = usable_directory(settings.dir)
        self._settings = settings = replace(settings, dir=self.root)
        self.run_id = settings.run_id
        self.writer = writer
        self._start = start
        self.id = secrets.token_bytes(16)
        self.started_at = time.time()
        self._started_s = uptime_s()
        self._info = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "program": _program(),
            "started_at": self.started_at,
            **info,
        }
        identity = SpoolIdentity(
            entity=settings.entity,
            project=settings.project,
            run=settings.run_id,
            writer=writer,
            session=self.id,
            started_at=self.started_at,
            info=self._info,
        )
        self.spool = None
        try:
            self.spool = Spool.create(settings.dir, identity, SpoolLimits(max_bytes=settings.limits.spool_bytes))
        except SpoolFullError as error:
            log.error("there is no spool, so logged values wait in memory until the server has stored them. %s", error)
        outbox = Outbox(self.spool, self.id, settings.limits.memory_bytes, settings.spool_full)
        self.blobs = Blobs(settings, self.spool.directory if self.spool else None, self._media_encoded, self._file_kept)
        self.sender = Sender(settings, self.id, outbox, self._attach_message, rejected, self.blobs.uploader.tend)
        self.stage = Stage(settings.limits.stage_bytes, self.sender.make_room, first_step, settings.step_back)
        self.saved = SavedFiles(self.blobs.saved, lambda: self.stage.step)
        self.tables: dict[str, dict[str, Any]] = {}
        self.stage.open_to_media(MediaDoor(self.blobs.media, self.stage.note, self.tables))
        self.save_state(None)

    def start(self) -> None:
        """Starts the I/O thread; returns when the thread accepts requests."""
        self.sender.start(self.stage)

    def finish_steps(self, exit_code: int) -> list[Callable[[], object]]:
        """The steps that end the session, in order; each may be repeated if an exception has interrupted it."""
        return [
            self.stage.close,
            lambda: self.save_state(exit_code),
            self.saved.finish,
            self.blobs.finish_media,
            lambda: self.sender.finish(exit_code),
            self.blobs.finish,
        ]

    @property
    def stage_bytes(self) -> int:
        """The most bytes that may wait in the stage."""
        return self._settings.limits.stage_bytes

    def save_state(self, exit_code: int | None) -> None:
        """Writes the facts that `stepwell sync` needs besides the frames."""
        if self.spool is not None:
            with contextlib.suppress(OSError):  # the spool itself reports a full or failing disk
                spool_state.save(self.spool.directory, self._info, exit_code)

    def _media_encoded(self, key: str, step: int, time_us: int, value: bytes) -> None:
        """Handles a media object whose files are on the disk; `value` is the JSON that names them. Runs in the media
        thread."""
        head = dump({"key": key, "step": step, "time": time_us})
        self.stage.note("object", head[:-1] + b',"value":' + value + b"}")
        self.stage.encoded(Object(step, time_us, key, value))

    def _file_kept(self, name: str, step: int, time_us: int, value: bytes) -> None:
        """Handles a saved file whose content is on the disk; `value` is the JSON that names it."""
        self.stage.note("file", value)

    def _attach_message(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "type": "attach",
            "protocol": PROTOCOL_VERSION,
            "entity": settings.entity,
            "project": settings.project,
            "run": settings.run_id,
            "writer": self.writer,
            "session": self.id.hex(),
            "age_s": uptime_s() - self._started_s,
            "info": self._info,
            **self._start.as_message(),
        }


def _program() -> str:
    """A digest of the command line, which tells this program from others that log to the run."""
    return hashlib.sha256("\0".join(sys.orig_argv).encode("utf-8", "surrogateescape")).hexdigest()[:16]
