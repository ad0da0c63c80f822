"""`run.save`: files of the program, kept with its run under a name of their own.

Beside the media's way. In come patterns of names; out go files into the blob spool and notes of kind "file" that name
them, by the queue of `Blobs.files`, so the caller waits for no disk. What is to be kept "live" is looked at now and
then, what is to be kept at the "end" when the run ends. A name that is kept again shows the newest content.
"""

from __future__ import annotations

import glob
import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from stepwell.errors import SettingError, UsageError
from stepwell.files.media_queue import MediaQueue
from stepwell.values.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.data_types._files import FileSink

log = logging.getLogger("stepwell")

Policy = Literal["live", "now", "end"]

#: How often files are looked at that are kept live.
LOOK_S = 15.0
#: Copying files may take this share of the time: what takes 10 s is looked at again after 100.
_SHARE = 0.1
#: Who writes a file while it is copied gets another copy made, so often.
_TRIES = 3
_CLOUDS = ("gs://", "s3://", "https://", "http://")


class SavedFile:
    """One file, as the queue takes it.

    Args:
        path: where it is.
        name: what it is called in the run.
    """

    held_bytes = 1

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.kept: tuple[int, int] | None = None  # time of change and size of what was kept
        self.waiting = False
        self.look_at = 0.0  # not before, by the monotonic clock

    @property
    def changed(self) -> bool:
        """Whether the file is there and is another than the one that was kept."""
        try:
            return _state(self.path) != self.kept
        except OSError:
            return False

    def encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        """Copies the file to the sink.

        Raises:
            OSError: it cannot be read.
        """
        started = time.monotonic()
        try:
            for _ in range(_TRIES):
                state = _state(self.path)
                ref = sink.add(self.name, self.path)
                self.kept = state
                if _state(self.path) == state:
                    break
        finally:
            now = time.monotonic()
            self.look_at = now + (now - started) / _SHARE
            self.waiting = False
        return {"name": self.name, "sha256": ref.sha256, "size": ref.size}


class SavedFiles:
    """The files of one writer session.

    Args:
        queue: copies them.
        step: of the run, when it is asked.
        look_s: how often live files are looked at.
    """

    def __init__(self, queue: MediaQueue, step: Callable[[], int], look_s: float = LOOK_S) -> None:
        self._queue = queue
        self._step = step
        self._look_s = look_s
        self._live: dict[str, SavedFile] = {}
        self._at_end: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def save(self, pattern: str, base: str | None, policy: Policy) -> list[str]:
        """Keeps the files that match now; returns their paths.

        Raises:
            UsageError: one is not below `base`.
        """
        if pattern.startswith(_CLOUDS):
            log.warning("save(%r): only files of this host are kept", pattern)
            return []
        base = os.path.abspath(_base_of(pattern) if base is None else base)
        pattern = os.path.abspath(pattern)
        found = matching(pattern, base)
        if policy == "end":
            self._at_end.append((pattern, base))
        elif not found:
            log.warning("save(%r): there is no such file now", pattern)
        for file in found if policy != "end" else []:
            if policy == "live":
                with self._lock:
                    file = self._live.setdefault(file.name, file)
                self._watch()
            self.keep(file)
        return [str(file.path) for file in found]

    def keep(self, file: SavedFile) -> None:
        """Has one file copied.

        Raises:
            SpoolFullError: there was no room for an earlier one, and that must raise.
        """
        file.waiting = True
        self._queue.put(file.name, self._step(), round(time.time() * 1e6), file)

    def keep_directory(self, directory: str) -> None:
        """Has everything below a directory copied once, but for files that are kept live already."""
        for file in matching(os.path.join(directory, "**"), directory):
            live = self._live.get(file.name)
            if live is None or live.path != file.path:
                try:
                    self.keep(file)
                except Exception as error:  # noqa: BLE001 - the run ends all the same
                    log.error("%s is not kept: %s", file.name, error)

    def finish(self) -> None:
        """At the end of the run: what has changed, and what was to be kept now. The queue still takes files."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._look(patient=False)
        for pattern, base in self._at_end:
            try:
                found = matching(pattern, base)
            except (UsageError, OSError) as error:
                log.error("save(%r): %s", pattern, error)
                continue
            if not found:
                log.warning("save(%r): there is no such file at the end of the run", pattern)
            for file in found:
                self.keep(file)

    def _watch(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="stepwell-files", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no more threads: files are kept once more, at the end
                return
            self._thread = thread

    def _run(self) -> None:
        while not self._ended.wait(self._look_s):
            self._look(patient=True)

    def _look(self, patient: bool) -> None:
        with self._lock:
            files = list(self._live.values())
        for file in files:
            if file.changed and not (file.waiting or (patient and time.monotonic() < file.look_at)):
                try:
                    self.keep(file)
                except Exception as error:  # noqa: BLE001 - the thread goes on; a full spool raises at `save`, too
                    log.error("%s is not kept: %s", file.name, error)


def checked_policy(policy: object) -> Policy:
    """One of the three words.

    Raises:
        SettingError: (a ValueError) another one.
    """
    if policy not in get_args(Policy):
        raise SettingError(f"policy must be one of {', '.join(get_args(Policy))}, not {policy!r}")
    return policy  # type: ignore[return-value]  # checked above: it is one of the literals


def matching(pattern: str, base: str) -> list[SavedFile]:
    """The files that a pattern means, named by their path below `base`; both are absolute.

    Raises:
        UsageError: a file is not below `base`.
    """
    out = []
    for found in sorted(glob.glob(pattern, recursive=True)):
        path = Path(os.path.abspath(found))
        if not path.is_file():
            continue
        if not path.is_relative_to(base):
            raise UsageError(
                f"save() cannot name {str(path)!r}, which is not below {base!r}", hint="base_path=… above all files"
            )
        name = path.relative_to(base).as_posix()
        out.append(SavedFile(path, storable(name)))
    return out


def _base_of(pattern: str) -> str:
    """Where names begin if nothing was said: the working directory; of an absolute pattern, its directory's name before
    the first wildcard."""
    if not os.path.isabs(pattern):
        return os.getcwd()
    directory = Path(pattern).parent
    while glob.has_magic(str(directory)):
        directory = directory.parent
    return str(directory)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
