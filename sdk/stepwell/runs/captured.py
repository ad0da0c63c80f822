"""A session that keeps logged data in memory, instead of one with a spool, a thread and a server.

Used by `stepwell.testing.capture`. Receives the calls of a run, checked by the same stage as in production; returns
rows, notes and files as Python values. Promises: no network, no files, and no threads except those that encode media
and copy files.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stepwell import wire
from stepwell.data_types._files import sha256_of
from stepwell.delivery.account import Account, Stats
from stepwell.delivery.sender import Sender
from stepwell.files.blob_spool import Blob
from stepwell.files.blobs import Blobs
from stepwell.files.media_door import MediaDoor
from stepwell.files.media_queue import Deliver, MediaQueue
from stepwell.files.saved_files import SavedFiles
from stepwell.runs.session import Rejected, Session
from stepwell.settings import Settings, Start
from stepwell.stage.plan import Cut
from stepwell.stage.stage import Stage

Future = concurrent.futures.Future[None]


class CapturedSession(Session):
    """A session in memory. Takes the arguments of `Session`.

    Attributes:
        rows: rows by step, including the step itself.
        notes: the kind, the step and the value of each note.
        contents: contents of files by SHA-256.
    """

    def __init__(
        self,
        settings: Settings,
        writer: str,
        start: Start,
        info: Mapping[str, Any],
        rejected: Rejected,
        first_step: int,
    ) -> None:
        self._settings = settings
        self.root = settings.dir
        self.run_id = settings.run_id
        self.writer = writer
        self._lock = threading.RLock()
        self.rows: dict[int, dict[str, Any]] = {}
        self.notes: list[tuple[str, int, Any]] = []
        self.id = secrets.token_bytes(16)
        self.started_at = time.time()
        self.spool = None
        self.sender = CapturedSender(self)
        self.stage = Stage(settings.limits.stage_bytes, self.sender.make_room, first_step, settings.step_back)
        self.blobs = CapturedBlobs(settings, self._media_encoded, self._file_kept)
        self.saved = SavedFiles(self.blobs.saved, lambda: self.stage.step)
        self.contents = self.blobs.contents
        self.tables: dict[str, dict[str, Any]] = {}  # there are no earlier increments
        self.stage.open_to_media(MediaDoor(self.blobs.media, self.stage.note, self.tables))

    def start(self) -> None:
        """Does nothing: there is no I/O thread to start."""

    def save_state(self, exit_code: int | None) -> None:
        """Does nothing: there is no spool."""

    def collect(self) -> None:
        """Moves the contents of the stage, and media being encoded, to `rows` and `notes`."""
        self.blobs.media.wait()
        self.blobs.saved.wait()
        with self._lock:
            cut = self.stage.cut()
            if cut is not None:
                self._take(cut)

    def _take(self, cut: Cut) -> None:
        for block in cut.blocks:
            names = wire.unpack_names(block.names, block.keys)
            for index, step in enumerate(block.steps):
                values = block.values[index * block.keys : (index + 1) * block.keys]
                self.rows.setdefault(step, {"_step": step}).update(zip(names, values, strict=True))
        for item in cut.objects:
            self.rows.setdefault(item.step, {"_step": item.step})[item.key] = json.loads(item.body)
        self.notes += [(note.key, note.step, json.loads(note.body)) for note in cut.notes]


class CapturedSender(Sender):
    """Collects in place of the I/O thread; everything counts as stored."""

    def __init__(self, session: CapturedSession) -> None:
        self._of = session
        self.stream = None

    @property
    def in_own_thread(self) -> bool:
        return False

    @property
    def account(self) -> Account:
        self._of.collect()
        logged = sum(len(row) - 1 for row in self._of.rows.values())
        return Account(logged, logged, 0, 0, 0)

    @property
    def frames_left(self) -> int:
        return 0

    @property
    def durable_step(self) -> int | None:
        self._of.collect()
        return max(self._of.rows, default=None)

    @property
    def stats(self) -> Stats:
        logged, stage = self.account.logged, self._of.stage
        return Stats(
            steps_logged=stage.rows,
            steps_back=stage.late_calls.dropped,
            steps_quarantined=stage.late_calls.quarantined,
            calls_dropped=stage.room.dropped,
            values_logged=logged,
            values_spooled=logged,
            values_unspooled=0,
            values_dropped=0,
            frames_sent=0,
            bytes_sent=0,
            frames_stored=0,
            frames_duplicate=0,
            frames_rejected=0,
            values_acknowledged=logged,
            values_rejected=0,
            connections=0,
            durable_step=self.durable_step,
            notes=len(self._of.notes),
            notes_dropped=stage.room.dropped_notes,
        )

    def wait_attached(self, timeout_s: float) -> dict[str, Any]:
        """Returns an empty answer, as for a new run."""
        return {}

    def make_room(self) -> bool:
        with self._of._lock:
            cut = self._of.stage.cut()
            if cut is not None:
                self._of._take(cut)
        return True

    def flush(self, durable: bool) -> Future:
        self._of.collect()
        done: Future = concurrent.futures.Future()
        done.set_result(None)
        return done

    def finish(self, exit_code: int) -> None:
        self._of.collect()

    def abandon(self) -> None:
        """Does nothing: there is nothing to end."""


class CapturedBlobs(Blobs):
    """Files in memory, by their hash."""

    def __init__(self, settings: Settings, deliver: Deliver, deliver_file: Deliver) -> None:
        self._settings = settings
        self.contents: dict[str, bytes] = {}
        self.media = MediaQueue(settings.limits.media_bytes, self.keep, deliver)
        self.saved = MediaQueue(settings.limits.media_bytes, self.keep, deliver_file)

    def keep(self, data: bytes | os.PathLike[str] | os.PathLike[bytes]) -> Blob:
        if not isinstance(data, bytes):
            data = Path(os.fsdecode(data)).read_bytes()
        sha256, size = sha256_of(data)
        self.contents[sha256] = data
        return Blob(sha256, size)

    def flush(self, frames: Callable[[], Future], durable: bool) -> Future:
        return frames()

    def finish(self) -> None:
        """Does nothing: there is nothing to deliver."""

    def balance(self) -> str:
        return ""

    def report(self) -> str:
        return ""
