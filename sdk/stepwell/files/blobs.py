"""The files of a run: media queue, blob spool and uploader behind one object that the run starts, flushes and finishes.

Sits beside stage, outbox and stream. Receives media objects from `log()`; sends files to the server and JSON to
`deliver`. Files are written to disk first (fsynced), then the JSON that names them goes into a frame, then both are
sent to the server in any order: an object is shown only when its files are stored. Creates no thread and no directory
before the first file.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
from collections.abc import Callable
from pathlib import Path

from stepwell.errors import SpoolFullError
from stepwell.files.blob_spool import Blob, BlobSpool
from stepwell.files.blob_uploader import BlobUploader
from stepwell.files.media_queue import Deliver, MediaQueue
from stepwell.settings import Settings

Future = concurrent.futures.Future[None]


class Blobs:
    """The files of one writer session.

    Args:
        settings: the settings of the run.
        directory: the directory of the session's spool; None: there is no spool, so files are refused.
        deliver: receives the JSON of a media object; see `MediaQueue`.
        deliver_file: likewise for a file that the program saves.

    Attributes:
        media: the queue for media objects of `log()`.
        saved: the queue for files of `save()`; separate, because a large file must not hold up pictures.
        spool, uploader: the spool of their files, and the uploader.
    """

    def __init__(self, settings: Settings, directory: Path | None, deliver: Deliver, deliver_file: Deliver) -> None:
        limits = settings.limits
        self._settings = settings
        self._directory = directory
        self.spool = BlobSpool(directory or Path(os.devnull), limits.blob_bytes, limits.blob_spool_bytes)
        self.uploader = BlobUploader(self.spool, settings, f"{settings.entity}/{settings.project}")
        self.media = MediaQueue(limits.media_bytes, self.keep, deliver, settings.blobs_full)
        self.saved = MediaQueue(limits.media_bytes, self.keep, deliver_file, settings.blobs_full)

    @property
    def in_use(self) -> bool:
        """See `MediaQueue.in_use`."""
        return self.media.in_use or self.saved.in_use

    def keep(self, data: bytes | os.PathLike[str] | os.PathLike[bytes]) -> Blob:
        """Adds a file to the spool and queues its upload; see `BlobSpool.add`.

        Raises:
            SpoolFullError, SpoolError, BlobTooLargeError, OSError: as `BlobSpool.add`.
        """
        if self._directory is None:
            raise SpoolFullError(
                "there is no spool, so files cannot be kept", hint="STEPWELL_DIR chooses where spools are"
            )
        blob = self.spool.add(data)
        if self._settings.mode == "online" and self.spool.has(blob.sha256):
            self.uploader.submit(blob)
        return blob

    def flush(self, frames: Callable[[], Future], durable: bool) -> Future:
        """The future for `Run.flush`: media are encoded, then `frames()` is done, then (if durable) files are stored.

        Returns `frames()` itself if no media object or file waits.
        """
        if not self.media.waiting and not self.saved.waiting and not (durable and self.uploader.left):
            return frames()
        done: Future = concurrent.futures.Future()

        done.set_running_or_notify_cancel()

        def wait() -> None:
            try:
                self.media.wait()
                self.saved.wait()
                frames().result()
                if durable:
                    self.uploader.wait()
            except BaseException as error:  # noqa: BLE001 - the future raises it
                done.set_exception(error)
            else:
                done.set_result(None)

        try:
            threading.Thread(target=wait, name="stepwell-flush", daemon=True).start()
        except RuntimeError:  # no thread can be started now
            wait()
        return done

    def finish_media(self) -> None:
        """Encodes the remaining media and copies the remaining files. Call it before `Sender.finish`, as their JSON is
        in the last frames."""
        self.media.finish(self._settings.timeouts.encode_idle_s)
        self.saved.finish(self._settings.timeouts.copy_idle_s)

    def finish(self) -> None:
        """Delivers the remaining files, with the same patience as frames. Call it after `Sender.finish`."""
        if self._settings.mode == "online":
            self.uploader.finish(self._settings.timeouts.finish_idle_s)
        if self._directory is not None:
            self.spool.close()

    def balance(self) -> str:
        """The account of the files of media and of `save`, each content counted once; empty if there were no files."""
        stored, damaged, left = self.uploader.counts.stored, self.uploader.counts.damaged, len(self.spool.waiting)
        parts = [f"{stored:,} stored"]
        parts += [f"{count:,} {what}" for count, what in ((damaged, "damaged"), (left, "left")) if count]
        total = stored + damaged + left
        return f"{total:,} files logged = {' + '.join(parts)}" if total else ""

    def report(self) -> str:
        """The message for the end of the run; empty when there were no files or all are stored."""
        left = len(self.spool.waiting)
        lines = []
        if left:
            text = f"{left:,} files ({self.spool.stored_bytes:,} bytes) are in {self.spool.directory}"
            if self._settings.mode == "online" and self.uploader.last_error is not None:
                text += f", because: {self.uploader.last_error.message}"
            lines.append(text + f"\n  deliver them with: stepwell sync {self._settings.dir}")
        lost, files = _lost(self.media), _lost(self.saved) + self.uploader.counts.damaged
        if lost or files:
            lines.append(f"{lost:,} media objects and {files:,} files were lost; the log says why")
        return "\n  ".join(lines)


def _lost(queue: MediaQueue) -> int:
    return queue.counts.failed + queue.counts.dropped + queue.waiting
