"""`run.save`: keeps files of the program with its run, each under a name that is unique in the run.

Sits beside the media queue. Receives file patterns; copies files into the blob spool and sends notes of kind "file"
that name them, through the queue `Blobs.saved`, so the caller never waits for the disk. Files with policy "live" are
checked from time to time, those with policy "end" are read when the run ends. When a name is saved again, the run shows
the newest content.
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

#: How often files with the policy "live" are checked.
LOOK_S = 15.0
#: The share of the time that copying may take: a file that takes 10 s is checked again after 100 s.
_SHARE = 0.1
#: How often a file is copied at most if it changes while it is being copied; the last copy counts.
_TRIES = 3
#: The most characters of a pattern that a warning shows.
_SHOWN = 200
_CLOUDS = ("gs://", "s3://", "https://", "http://")


class SavedFile:
    """One file, as the queue takes it.

    Args:
        path: its path.
        name: its name in the run.
    """

    held_bytes = 1

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.kept: tuple[int, int] | None = None  # modification time and size of the kept version
        self.waiting = False
        self.look_at = 0.0  # the time of the next check, by the monotonic clock

    @property
    def changed(self) -> bool:
        """Whether the file exists and differs from the kept version."""
        try:
            return _state(self.path) != self.kept
        except OSError:
            return False

    def encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        """Copies the file to the sink.

        Raises:
            OSError: the file cannot be read.
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
        queue: copies the files.
        step: returns the current step of the run.
        look_s: how often live files are checked.
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
        """Keeps the files that match, now or at the end, as `policy` says; returns the paths of those that match now.
        See `Run.save`.

        Raises:
            UsageError: a file is not below `base`.
            SpoolFullError: as `keep`.
        """
        if pattern.startswith(_CLOUDS):
            log.warning("save(%r): only files on this host can be saved", pattern[:_SHOWN])
            return []
        base = os.path.abspath(_base_of(pattern) if base is None else base)
        pattern = os.path.abspath(pattern)
        found = matching(pattern, base)
        if policy == "end":
            self._at_end.append((pattern, base))
        elif not found:
            log.warning(
                'save(%r): no such file, so nothing is kept; policy="end" looks again at the end', pattern[:_SHOWN]
            )
        for file in found if policy != "end" else []:
            if policy == "live":
                with self._lock:
                    file = self._live.setdefault(file.name, file)
                self._watch()
            self.keep(file)
        return [str(file.path) for file in found]

    def keep(self, file: SavedFile) -> None:
        """Queues the copy of one file.

        Raises:
            SpoolFullError: there was no room for an earlier file, and `blobs_full` is "raise".
        """
        file.waiting = True
        self._queue.put(file.name, self._step(), round(time.time() * 1e6), file)

    def keep_directory(self, directory: str) -> None:
        """Queues one copy of everything below a directory, except files that are kept live already."""
        for file in matching(os.path.join(directory, "**"), directory):
            live = self._live.get(file.name)
            if live is None or live.path != file.path:
                try:
                    self.keep(file)
                except Exception as error:  # noqa: BLE001 - the run must still end
                    log.error("%s is not saved: %s", file.name, error)

    def finish(self) -> None:
        """Keeps changed live files, and those with the policy "end", at the end of the run. The queue must still accept
        files."""
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
                log.warning("save(%r): no such file at the end of the run", pattern)
            for file in found:
                self.keep(file)

    def _watch(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="stepwell-files", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # no thread can be started: files are kept once more at the end of the run
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
                except Exception as error:  # noqa: BLE001 - the thread continues; a full spool also raises at `save`
                    log.error("%s is not saved: %s", file.name, error)


def checked_policy(policy: object) -> Policy:
    """Returns `policy`, if it is a `Policy`.

    Raises:
        SettingError: (a ValueError) `policy` is not "live", "now" or "end".
    """
    if policy not in get_args(Policy):
        raise SettingError(f"policy must be one of {', '.join(get_args(Policy))}, not {policy!r}")
    return policy  # type: ignore[return-value]  # checked above: it is one of the literals


def matching(pattern: str, base: str) -> list[SavedFile]:
    """The files that match a pattern, named by their path below `base`; both are absolute.

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
                f"save() cannot name {str(path)!r} on the server, because the file is not below {base!r}",
                hint="pass a base_path that contains all files",
            )
        name = path.relative_to(base).as_posix()
        out.append(SavedFile(path, storable(name)))
    return out


def _base_of(pattern: str) -> str:
    """The default base of names: the working directory or, for an absolute pattern, its directory up to the first
    wildcard."""
    if not os.path.isabs(pattern):
        return os.getcwd()
    directory = Path(pattern).parent
    while glob.has_magic(str(directory)):
        directory = directory.parent
    return str(directory)


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
