"""Uploads a session's files in parallel with its frames, at a reduced rate and with retries until the server has them.

Sits between the blob spool and the server. Receives hashes of files on disk; uploads the files, which are removed from
the disk when they are acknowledged. Uses two threads with a connection each, started by the first file: a run without
files pays nothing. Each thread works half of the time (`Limits.blob_share`), so that frames get bandwidth; `finish`
lifts that limit. Promises: a file leaves the disk only after its acknowledgement; temporary errors are retried without
limit; no error reaches `log()`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass

from stepwell.errors import BlobMismatchError, Error, OverloadedError
from stepwell.files.blob_client import BlobClient
from stepwell.files.blob_spool import Blob, BlobSpool
from stepwell.settings import Settings
from stepwell.transport.backoff import Backoff

log = logging.getLogger("stepwell")

_THREADS = 2
_TICK_S = 0.05
#: The assumed rate at which a server joins the parts of a large file; meanwhile, uploads show no progress.
_COMPOSED_BYTES_PER_S = 20e6
_STOP_S = 5.0
_HURRIED_PAUSE_S = 1.0


@dataclass(slots=True)
class BlobCounts:
    """Counts of files, by their fate.

    Attributes:
        stored: files acknowledged by the server.
        known: the files among these that the server had already.
        sent_bytes: bytes sent, including retries.
        refused: files that the server refused; they stay on the disk.
        damaged: files whose bytes changed on the disk; they were renamed.
        retries: failed tries that were repeated.
    """

    stored: int = 0
    known: int = 0
    sent_bytes: int = 0
    refused: int = 0
    damaged: int = 0
    retries: int = 0


class BlobUploader:
    """The uploads of one session. Any thread may call any method.

    Args:
        spool: the blob spool with the files.
        settings: the settings of the run.
        project: entity/project whose run logs the files; None: not known.
    """

    def __init__(self, spool: BlobSpool, settings: Settings, project: str | None = None) -> None:
        self.counts = BlobCounts()
        self.last_error: Error | None = None
        self._spool = spool
        self._settings = settings
        self._project = project
        self._changed = threading.Condition()
        self._queue: deque[Blob] = deque()
        self._queued: set[str] = set()  # in the queue or in progress
        self._tried: set[str] = set()  # those of them that have failed once: sending them again is no progress
        self._threads: list[threading.Thread] = []
        self._clients: list[BlobClient] = []
        self._hurry = threading.Event()
        self._stopped = threading.Event()
        self._moved_at = time.monotonic()

    @property
    def left(self) -> int:
        """The number of files queued or in progress."""
        return len(self._queued)

    def submit(self, blob: Blob) -> None:
        """Queues a file of the spool; one that is queued already is not queued twice."""
        with self._changed:
            if blob.sha256 in self._queued or self._stopped.is_set():
                return
            self._queued.add(blob.sha256)
            self._queue.append(blob)
            if not self._threads:
                self._moved_at = time.monotonic()
            self._start()
            self._changed.notify()

    def tend(self) -> None:
        """Starts threads that could not be started before. Must be called from time to time."""
        with self._changed:
            if self._queue and not self._stopped.is_set():
                self._start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until nothing is left or the time is up; returns whether nothing is left.

        If no thread can be started, the caller's thread uploads the files.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        alone: BlobClient | None = None
        backoff = self._backoff()
        try:
            while True:
                self.tend()
                with self._changed:
                    rest_s = None if deadline is None else deadline - time.monotonic()
                    if (
                        self._threads
                        or not self._queue
                        or self._stopped.is_set()
                        or (rest_s is not None and rest_s <= 0)
                    ):
                        self._changed.wait_for(lambda: not self._queued or self._stopped.is_set(), rest_s)
                        return not self.left
                    blob = self._queue.popleft()
                if alone is None:
                    alone = self._client()
                self._work(alone, blob, backoff)
        finally:
            if alone is not None:
                alone.close()

    def hurry(self) -> None:
        """Lifts the rate limit: no frames are left that could be delayed."""
        self._hurry.set()

    @property
    def idle_s(self) -> float:
        """The time in seconds without progress."""
        return max(0.0, time.monotonic() - self._moved_at)

    def finish(self, idle_s: float) -> bool:
        """Delivers the remaining files, then ends the threads; gives up after `idle_s` without progress.

        Returns:
            Whether nothing is left. Remaining files stay on the disk.
        """
        self.hurry()
        while not self.wait(_TICK_S) and self.idle_s < idle_s:
            pass
        self.stop()
        return not self.left

    def stop(self) -> None:
        """Ends the threads at once; unfinished files stay on the disk."""
        self._stopped.set()
        self._hurry.set()
        with self._changed:
            self._changed.notify_all()
            clients = list(self._clients)
        for client in clients:
            client.abort()
        for thread in self._threads:
            thread.join(_STOP_S)

    def _start(self) -> None:
        """Starts the missing threads, as far as the host can: a limit that it has reached may be temporary."""
        while len(self._threads) < _THREADS:
            client = self._client()
            name = f"stepwell-files-{len(self._threads)}"
            thread = threading.Thread(target=self._run, args=(client,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                log.debug("a thread for uploads could not be started: %s", error)
                return
            self._clients.append(client)
            self._threads.append(thread)

    def _client(self) -> BlobClient:
        settings = self._settings
        return BlobClient(settings.endpoint, settings.timeouts.connect_s, self._worked, self._accepted, self._project)

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.timeouts.retry_min_s, self._settings.timeouts.retry_max_s)

    def _run(self, client: BlobClient) -> None:
        backoff = self._backoff()
        try:
            while (blob := self._next()) is not None:
                self._work(client, blob, backoff)
        finally:
            client.close()

    def _work(self, client: BlobClient, blob: Blob, backoff: Backoff) -> None:
        """Makes one try; after a retryable failure, puts the file back into the queue and pauses."""
        try:
            again = self._deliver(client, blob)
        except Exception as error:
            log.exception("unexpected error during the upload of a file; retrying")
            again = Error(str(error))
        if again is None:
            backoff.reset()
            return
        with self._changed:
            self.last_error = again
            self.counts.retries += 1
            self._tried.add(blob.sha256)
            self._queue.appendleft(blob)
        delay = backoff.next_s(again.retry_after_s if isinstance(again, OverloadedError) else 0.0)
        log.debug("file %s: trying again in %.1f s: %s", blob.sha256[:12], delay, again)
        # `finish` must not wait for a pause that began before it.
        if not self._hurry.is_set():
            self._hurry.wait(delay)
        else:
            self._stopped.wait(min(delay, _HURRIED_PAUSE_S))

    def _next(self) -> Blob | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopped.is_set())
            return None if self._stopped.is_set() else self._queue.popleft()

    def _deliver(self, client: BlobClient, blob: Blob) -> Error | None:
        """Makes one try; returns the error if a retry can help."""
        try:
            new = client.deliver(blob, self._spool.path(blob.sha256))
        except BlobMismatchError as error:
            return self._check(blob, error)
        except FileNotFoundError:
            self._spool.gone(blob.sha256)
        except OSError as error:
            return Error("a file in the spool cannot be read", detail=str(error))
        except Error as error:
            if error.retryable:
                return error
            with self._changed:
                self.counts.refused += 1
                self.last_error = error
            log.error("the server refuses a file; it stays at %s. %s", self._spool.path(blob.sha256), error)
        else:
            self._spool.stored(blob.sha256)
            with self._changed:
                self.counts.stored += 1
                self.counts.known += not new
        self._done(blob)
        return None

    def _check(self, blob: Blob, error: Error) -> Error | None:
        """Handles bytes that arrived damaged: either the network has changed them, or the disk."""
        try:
            if self._spool.check(blob.sha256):
                return error
        except OSError as failure:
            return Error("a file in the spool cannot be read", detail=str(failure))
        with self._changed:
            self.counts.damaged += 1
        log.error(
            "a file was damaged on the disk before it was sent, and is lost; its remains are at %s.damaged",
            self._spool.path(blob.sha256),
        )
        self._done(blob)
        return None

    def _done(self, blob: Blob) -> None:
        with self._changed:
            self._queued.discard(blob.sha256)
            self._tried.discard(blob.sha256)
            self._moved_at = max(self._moved_at, time.monotonic())
            self._changed.notify_all()

    def _accepted(self, blob: Blob) -> None:
        # The next answer may take as long as the server needs to join the parts.
        self._moved_at = max(self._moved_at, time.monotonic() + blob.size / _COMPOSED_BYTES_PER_S)

    def _worked(self, blob: Blob, sent_bytes: int, seconds: float) -> None:
        with self._changed:
            self.counts.sent_bytes += sent_bytes
        if sent_bytes and blob.sha256 not in self._tried:
            self._accepted(blob)
        share = self._settings.limits.blob_share
        if not self._hurry.is_set() and share < 1:
            self._hurry.wait(seconds * (1 / share - 1))
