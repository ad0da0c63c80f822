"""The files of `stepwell sync`: uploads the remaining files in the `blobs` folder of a session.

Sits beside the delivery of frames. Receives the directory of a session whose process has ended, uploads its files with
the uploader of a live run, and returns an account. Holds the lock of the directory, as for frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stepwell.files.blob_spool import BlobSpool
from stepwell.files.blob_uploader import BlobUploader
from stepwell.settings import Settings
from stepwell.spool.lock import SpoolLock
from stepwell.spool.segment import storage_error
from stepwell.terminal.display import number, size

#: How often the lock of a session is refreshed: other hosts take over a lock that was not refreshed for ten minutes.
_REFRESH_S = 60.0
_TICK_S = 0.05


class Outcome(NamedTuple):
    """The outcome of delivering a session's files.

    Attributes:
        found: the number of files.
        stored: the number that the server has now; it had `known` of them before.
        left: the number of files still on the disk.
        unreachable: whether the server did not answer.
        why: the reason for the remaining files.
    """

    found: int
    stored: int
    known: int
    left: int
    sent_bytes: int
    unreachable: bool
    why: str

    def __str__(self) -> str:
        text = f"{number(self.stored, 'file')} in {size(self.sent_bytes)}"
        if self.known:
            text += f", {number(self.known, 'file')} that the server already had"
        if self.left:
            text += f"; left: {number(self.left, 'file')}, because: {self.why}"
        return text


def deliver_files(
    directory: Path, settings: Settings, patience_s: float, show: Callable[[str], None], project: str | None = None
) -> Outcome:
    """Delivers the files of a session, and removes its directory if it is empty then.

    Args:
        directory: the directory of the session.
        settings: the server and the limits.
        patience_s: the longest time without progress.
        show: receives the progress.
        project: entity/project of the session; None: its frames, which name it, are gone.

    Raises:
        SpoolLockedError: a live process owns the session.
        SpoolError: the directory cannot be read.
    """
    spool = BlobSpool(directory, settings.limits.blob_bytes, settings.limits.blob_spool_bytes)
    if not spool.directory.is_dir():
        return Outcome(0, 0, 0, 0, 0, False, "")
    try:
        lock = SpoolLock.acquire(directory)
    except OSError as error:
        raise storage_error(error, "be locked") from error
    uploader = BlobUploader(spool, settings, project)
    uploader.hurry()
    try:
        spool.load()
        found = spool.waiting
        for blob in found:
            uploader.submit(blob)
        refreshed = time.monotonic()
        while not uploader.wait(_TICK_S) and uploader.idle_s < patience_s:
            counts = uploader.counts
            show(f"{counts.stored:,} of {number(len(found), 'file')}, {size(counts.sent_bytes)} sent")
            if time.monotonic() - refreshed > _REFRESH_S:
                refreshed = time.monotonic()
                lock.refresh()
    finally:
        uploader.stop()
        lock.release()
        spool.close()
    counts, last = uploader.counts, uploader.last_error
    left = len(spool.waiting)
    # A refusal is an answer, too.
    unreachable = left > counts.refused and not counts.stored
    why = last.message if last is not None else "the server did not answer"
    return Outcome(len(found), counts.stored, counts.known, left, counts.sent_bytes, unreachable, why)
