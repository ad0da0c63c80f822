"""One writer session of a run in this process: its spool, its stage and its I/O thread, from opening to the end.

Between the run, which users hold, and the stations. A process has one session a run; a forked child opens its own.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.delivery.outbox import Outbox
from stepwell.delivery.sender import Sender
from stepwell.delivery.stream import PROTOCOL_VERSION
from stepwell.errors import RejectionError, SpoolFullError
from stepwell.files.blobs import Blobs
from stepwell.files.media_door import MediaDoor
from stepwell.files.saved_files import SavedFiles
from stepwell.settings import Settings, Start
from stepwell.spool import Spool, SpoolIdentity, SpoolLimits
from stepwell.spool import state as spool_state
from stepwell.stage.stage import Stage
from stepwell.values.text import dump
from stepwell.wire import Object

log = logging.getLogger("stepwell")


class Session:
    """Opened by its constructor; the I/O thread runs when that returns.

    Args:
        settings: of the run.
        writer: which process of the run this is.
        start: where the run starts.
        info: what the run says of itself when it attaches: config, names and so on.
        rejected: told of each refused frame (seq, error), in the I/O thread.
        first_step: where the stage starts.

    Attributes:
        writer: as given.
        id: 16 random bytes, which the server maps to an epoch.
        stage, sender, spool: the stations; spool is None when the disk took none.
        blobs: files and media beside the frames.
        saved: files that the program wants to be kept.
        tables: of a resumed run, by metric the JSON of the last increment of each INCREMENTAL table.
        started_at: Unix seconds.
    """

    def __init__(
        self,
        settings: Settings,
        writer: str,
        start: Start,
        info: Mapping[str, Any],
        rejected: Callable[[int, RejectionError], None],
        first_step: int,
    ) -> None:
        self._settings = settings
        self.writer = writer
        self._start = start
        self.id = secrets.token_bytes(16)
        self.started_at = time.time()
        self._started_s = uptime_s()
        self._info = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
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
        self.spool: Spool | None = None
        try:
            self.spool = Spool.create(settings.dir, identity, SpoolLimits(max_bytes=settings.limits.spool_bytes))
        except SpoolFullError as error:
            log.error("there is no spool: what is logged waits in memory until the server has it. %s", error)
        outbox = Outbox(self.spool, self.id, settings.limits.memory_bytes, settings.spool_full)
        self.sender = Sender(settings, self.id, outbox, self._attach_message, rejected)
        self.stage = Stage(settings.limits.stage_bytes, self.sender.make_room, first_step, settings.step_back)
        self.blobs = Blobs(settings, self.spool.directory if self.spool else None, self._media_encoded, self._file_kept)
        self.saved = SavedFiles(self.blobs.saved, lambda: self.stage.step)
        self.tables: dict[str, dict[str, Any]] = {}
        self.stage.open_to_media(MediaDoor(self.blobs.media, self.stage.note, self.tables))
        self.save_state(None)
        self.sender.start(self.stage)

    def save_state(self, exit_code: int | None) -> None:
        """Notes beside the spool what `stepwell sync` must know."""
        if self.spool is not None:
            with contextlib.suppress(OSError):  # the spool itself reports a disk that is full or failing
                spool_state.save(self.spool.directory, self._info, exit_code)

    def _media_encoded(self, key: str, step: int, time_us: int, value: bytes) -> None:
        """The files of a media object are on the disk; `value` is the JSON that names them. In the media thread."""
        head = dump({"key": key, "step": step, "time": time_us})
        self.stage.note("object", head[:-1] + b',"value":' + value + b"}")
        self.stage.encoded(Object(step, time_us, key, value))

    def _file_kept(self, name: str, step: int, time_us: int, value: bytes) -> None:
        """The same for a file that the program saves."""
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


def uptime_s() -> float:
    """A clock that nobody sets, and that goes on while the host sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()
