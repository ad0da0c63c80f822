"""The media queue: encodes media in a thread of its own, so that neither `log()` nor the frames wait for it.

Sits between `log()` and the blob spool. Receives media objects with their key, step and time; writes files into the
spool, and then passes the JSON that names them to `deliver`. The JSON is sent to the server as a note, which may arrive
after the frames of its step: frames need strictly increasing steps, and a picture must not hold them up. Promises that
media are encoded in the order in which they were logged, that at most `max_bytes` of them wait (beyond that the caller
waits, which is counted), and that a failure is logged, counted and affects no other media object.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from stepwell.errors import Error, SpoolFullError
from stepwell.files.blob_spool import Blob
from stepwell.values.text import dump

if TYPE_CHECKING:
    from stepwell.data_types._files import FileRef, FileSink

log = logging.getLogger("stepwell")

#: The assumed size of a media object that does not declare one.
DEFAULT_HELD_BYTES = 64 * 1024
_TICK_S = 0.05

#: Adds a file to the spool.
Keep = Callable[[bytes | os.PathLike[str] | os.PathLike[bytes]], Blob]
#: Receives an object whose files are safe on the disk: its key, its step, its time (µs since 1970) and its JSON.
Deliver = Callable[[str, int, int, bytes], None]


class Media(Protocol):
    """A logged object that needs files. It may have an attribute `held_bytes`: the memory that it holds."""

    def encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any] | list[Any]: ...


@dataclass(slots=True)
class MediaCounts:
    """Counts of media objects, by their fate.

    Attributes:
        logged: objects accepted.
        encoded: objects passed on as JSON, with their files on the disk.
        failed: objects that could not be encoded.
        dropped: objects dropped because there was no room for their files.
        waits, waited_s: how often, and how long in total, callers had to wait for room in the queue.
    """

    logged: int = 0
    encoded: int = 0
    failed: int = 0
    dropped: int = 0
    waits: int = 0
    waited_s: float = 0.0


class _Item(NamedTuple):
    key: str
    name: str
    step: int
    time_us: int
    media: Media
    held_bytes: int
    deliver: Callable[[bytes], None] | None


class _Files:
    """The sink for the files of all media objects of a run; they remember it, so each is encoded once for the run."""

    def __init__(self, keep: Keep) -> None:
        self._keep = keep

    def add(self, path_in_run: str, data: bytes | os.PathLike[str]) -> FileRef:
        from stepwell.data_types._files import FileRef  # imported already on this path

        blob = self._keep(data)
        return FileRef(blob.sha256, blob.size, path_in_run)


class MediaQueue:
    """Encodes media in one thread, started by the first of them.

    Args:
        max_bytes: the most bytes that may wait; a larger object is accepted when nothing else waits.
        keep: stores files.
        deliver: receives the JSON, in the thread of this queue.
        when_full: the behaviour without room for files: "drop" the object, "block" until there is room, or "raise"
            SpoolFullError at the next `put`.
    """

    def __init__(self, max_bytes: int, keep: Keep, deliver: Deliver, when_full: str = "drop") -> None:
        self.counts = MediaCounts()
        self._max_bytes = max_bytes
        self._keep = keep
        self._files = _Files(self._keep_or_wait)
        self._deliver = deliver
        self._when_full = when_full
        # Its lock is re-entrant: a signal handler that finishes the run may have interrupted `put`.
        self._changed = threading.Condition(threading.RLock())
        self._items: deque[_Item] = deque()
        self._held_bytes = 0  # of the waiting objects and the one in progress
        self._thread: threading.Thread | None = None
        self._closed = False
        self._full: SpoolFullError | None = None
        self._moved_at = 0.0

    @property
    def waiting(self) -> int:
        """The number of media objects that are not yet encoded."""
        return self.counts.logged - self.counts.encoded - self.counts.failed - self.counts.dropped

    @property
    def in_use(self) -> bool:
        """Whether the current thread is inside a call, as in `Stage.in_use`; False while it waits for room there."""
        return self._changed._is_owned()  # type: ignore[attr-defined, no-any-return]  # what Condition itself uses

    def put(
        self,
        key: str,
        step: int,
        time_us: int,
        media: Media,
        name: str | None = None,
        deliver: Callable[[bytes], None] | None = None,
    ) -> None:
        """Accepts a media object; waits while the queue is full. The object must not be changed afterwards.

        Args:
            key: the key under which it was logged.
            step, time_us: the step of its row, and the time in microseconds since 1970.
            media: the prepared object.
            name: the stem for the names of its files; None: the key.
            deliver: receives the JSON of a value of the summary, which belongs to no step; None: the queue's own
                `deliver` does.

        Raises:
            SpoolFullError: there was no room for the files of an earlier object, and `when_full` is "raise".
        """
        held = max(1, int(getattr(media, "held_bytes", DEFAULT_HELD_BYTES)))
        with self._changed:
            if self._full is not None:
                error, self._full = self._full, None
                raise error
            if self._closed:
                log.error("%s of step %d came after the end of the run, and is lost", key, step)
                return
            if self._held_bytes and self._held_bytes + held > self._max_bytes:
                started = time.monotonic()
                if not self.counts.waits:
                    self._say_full()
                self._changed.wait_for(
                    lambda: self._closed or not self._held_bytes or self._held_bytes + held <= self._max_bytes
                )
                self.counts.waits += 1
                self.counts.waited_s += time.monotonic() - started
            self.counts.logged += 1
            self._held_bytes += held
            self._items.append(_Item(key, key if name is None else name, step, time_us, media, held, deliver))
            alone = self._thread is None and not self._start()
            self._changed.notify_all()
        if alone:
            while self._step(patient=False):
                pass

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until all objects are passed on or have failed, or the time is up; returns whether all are done."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.waiting, timeout_s)

    def finish(self, idle_s: float) -> bool:
        """Encodes the remaining objects and ends the thread; gives up when nothing was encoded for `idle_s`.

        Returns:
            Whether all were encoded. The rest is lost, because it was never on the disk.
        """
        with self._changed:
            self._moved_at = time.monotonic()
            while not self.wait(_TICK_S) and time.monotonic() - self._moved_at < idle_s:
                pass
            self._closed = True
            if lost := self.waiting:
                log.error("%d media objects are lost, because none of them was encoded within %g s", lost, idle_s)
                self._items.clear()
            self._changed.notify_all()
        return not lost

    def _say_full(self) -> None:
        log.warning(
            "log() waits: %d media objects that are not encoded yet hold %.0f MiB, and the limit is %.0f MiB. Nothing "
            "is lost, but the program runs only as fast as media are encoded: log media less often, or smaller ones, "
            "or raise Limits.media_bytes. This is logged once per run",
            self.waiting,
            self._held_bytes / 2**20,
            self._max_bytes / 2**20,
        )

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="stepwell-media", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit of the host, perhaps a temporary one, or the interpreter is ending
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        while self._step(patient=True):
            pass

    def _step(self, patient: bool) -> bool:
        """Encodes the next object, if necessary after waiting for it; returns whether there was one."""
        with self._changed:
            if patient:
                self._changed.wait_for(lambda: self._items or self._closed)
            if not self._items:
                return False
            item = self._items.popleft()
        outcome = self._encode(item)
        with self._changed:
            setattr(self.counts, outcome, getattr(self.counts, outcome) + 1)
            self._held_bytes -= item.held_bytes
            self._moved_at = time.monotonic()
            del item  # the picture, while the thread waits for the next one
            self._changed.notify_all()
        return True

    def _encode(self, item: _Item) -> str:
        """Encodes one object; returns the name of its counter."""
        try:
            step = item.step if item.deliver is None else "summary"
            value = dump(item.media.encode(item.name, step, self._files))
            if item.deliver is None:
                self._deliver(item.key, item.step, item.time_us, value)
            else:
                item.deliver(value)
        except SpoolFullError as error:
            log.error("%s of step %d is lost: there is no room for its files. %s", item.key, item.step, error)
            if self._when_full == "raise":
                self._full = error
            return "dropped"
        except Error as error:
            log.error("%s of step %d could not be kept, and is lost. %s", item.key, item.step, error)
        except Exception:
            # An error in the media object, in a library that it uses, or a user's file that is gone.
            log.exception("%s of step %d could not be encoded, and is lost", item.key, item.step)
        else:
            return "encoded"
        return "failed"

    def _keep_or_wait(self, data: bytes | os.PathLike[str] | os.PathLike[bytes]) -> Blob:
        while True:
            try:
                return self._keep(data)
            except SpoolFullError:
                if self._when_full != "block" or self._closed:
                    raise
                time.sleep(_TICK_S)
