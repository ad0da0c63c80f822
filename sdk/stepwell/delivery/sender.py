"""The I/O thread of a run: owns an asyncio loop, cuts the stage, fills the spool and streams frames to the server.

Takes rows from the stage; writes frames to disk and then sends them to the server. Promises: the caller's thread does
no I/O, it only makes requests (`flush`, `finish`, `make_room`) and may wait for them; an error of the disk or of the
server never reaches `log()`, except a full spool with `spool_full="raise"`; the thread is a daemon, so a program that
forgets `finish` still ends.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from stepwell.delivery.account import Account, Stats
from stepwell.delivery.beside import beside, resolve
from stepwell.delivery.collector import Collector
from stepwell.delivery.in_flight import StreamCounts
from stepwell.delivery.native import NativeThread
from stepwell.delivery.outage import Outage, Seen
from stepwell.delivery.outbox import Outbox
from stepwell.delivery.reports import account_of, stats_of
from stepwell.delivery.stream import Stream
from stepwell.errors import RejectionError, RunDeletedError, SpoolError, SpoolFullError, UsageError
from stepwell.settings import Settings
from stepwell.stage.stage import Stage

log = logging.getLogger("stepwell")

T = TypeVar("T")

#: How often a blocked `log()` checks whether there is room again.
_FULL_PAUSE_S = 0.1
#: How long rows gather while there is no room for frames: each lost frame leaves a tombstone of 100 bytes in memory,
#: and this state may last for days.
_LOSING_PAUSE_S = 10.0


class Sender:
    """The I/O thread of one run.

    Args:
        settings: the settings of the run.
        session: the id of the session, 16 bytes.
        outbox: the queue of frames.
        attach: returns the attach message.
        on_rejection: called in the I/O thread with the seq and the error of each refused frame.
        tend: called every `fsync_s` in the I/O thread; must not block or raise.
    """

    def __init__(
        self,
        settings: Settings,
        session: bytes,
        outbox: Outbox,
        attach: Callable[[], dict[str, Any]],
        on_rejection: Callable[[int, RejectionError], None],
        tend: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._tend = tend
        self._outbox = outbox
        self._collector = Collector(session, outbox, settings.limits.frame_bytes)
        self._attach = attach
        self._on_rejection = on_rejection
        self._abandoned = False
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._finishing: concurrent.futures.Future[None] | None = None
        self._stage: Stage | None = None
        self.stream: Stream | None = None
        self._thread = NativeThread(self._main, "stepwell-io")

    def start(self, stage: Stage) -> None:
        """Starts the thread; returns when the thread accepts requests.

        Args:
            stage: the stage that the thread cuts.
        """
        self._stage = stage
        if self._settings.mode == "online":
            # Imports aiohttp here and not in the thread: if a process forks while another thread is importing a module,
            # the import of that module never ends in the child.
            importlib.import_module("stepwell.transport.websocket")
        self._thread.start()
        self._ready.wait()

    @property
    def account(self) -> Account:
        """The current account of all values."""
        return account_of(self._collector, self._outbox, self._counts)

    @property
    def frames_left(self) -> int:
        """The number of unacknowledged frames, of values or of notes; 0 if the run was deleted on the server."""
        return 0 if self._outbox.given_up else self._outbox.next_seq - self._outbox.first_seq

    @property
    def durable_step(self) -> int | None:
        """The step up to which everything is committed in Postgres; None: nothing yet."""
        return self._collector.durable_step

    @property
    def stats(self) -> Stats:
        """The current counters of all stations."""
        assert self._stage is not None
        return stats_of(self._stage, self._collector, self._outbox, self._counts)

    @property
    def _counts(self) -> StreamCounts:
        return self.stream.counts if self.stream else StreamCounts()

    def wait_attached(self, timeout_s: float) -> dict[str, Any]:
        """Waits for the server's answer to the attach message.

        Raises:
            Error: the server has refused this writer for good.
            TimeoutError: the server has not answered in time.
            UsageError: the run is offline.
            RuntimeError: the I/O thread has ended.
        """
        return self._ask(self._attached()).result(timeout_s)

    @property
    def in_own_thread(self) -> bool:
        """Whether the caller is the I/O thread, which must not wait for itself."""
        return self._thread.is_current

    def make_room(self) -> bool:
        """Has the stage cut now, and waits for the cut; returns whether there is room. Called by `log()` when the stage
        is full.

        Waits at most `stage_full_s`, or without limit if `spool_full` is "block".

        Raises:
            SpoolFullError: the spool is full, and `spool_full` is "raise".
        """
        if self.in_own_thread:
            return False
        while True:
            try:
                room = self._ask(self._collect_now()).result(self._settings.timeouts.stage_full_s)
            except (concurrent.futures.TimeoutError, concurrent.futures.CancelledError, RuntimeError):
                room = False
            if room or self._settings.spool_full in ("keep", "drop_oldest") or not self._thread.is_alive():
                return room
            if self._settings.spool_full == "raise":
                raise SpoolFullError(
                    "nothing more can be logged: the spool and the frame memory are full",
                    detail=str(self._settings.dir),
                    hint="free disk space, check with `stepwell status` whether the server can be reached, or choose "
                    "with spool_full what happens when the spool is full (keep, drop_oldest, block, raise)",
                )
            time.sleep(_FULL_PAUSE_S)

    def flush(self, durable: bool) -> concurrent.futures.Future[None]:
        """A future that is done when all steps closed by now are acknowledged, or, if `durable` is false or the run is
        offline, synced to the disk.

        It fails with the final error, if the server has refused this writer for good.

        Raises:
            RuntimeError: the I/O thread has ended.
        """
        return self._ask(self._flush(durable))

    def finish(self, exit_code: int) -> None:
        """Delivers the remaining frames, tells the server that the writer has ended, and ends the thread.

        Gives up after `finish_idle_s` without progress; the rest then stays in the spool. An exception that interrupts
        the call, such as Ctrl-C, does not stop the delivery: the next call waits for it again.
        """
        if self._thread.is_alive():
            if self._finishing is None or self._finishing.done():
                self._finishing = self._ask(self._finish(exit_code))
            try:
                self._finishing.result()
            finally:
                if self._finishing.done() and self._loop is not None and self._ended is not None:
                    self._loop.call_soon_threadsafe(resolve, self._ended)
        if self._thread.started:
            self._thread.join()

    def abandon(self) -> None:
        """Ends the thread without telling the server; remaining frames stay in the spool, and an empty spool is
        removed."""
        self._abandoned = True
        if self._loop is not None and self._ended is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(resolve, self._ended)
            self._thread.join()

    def _ask(self, request: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        if self._loop is None or not self._thread.is_alive():
            request.close()
            raise RuntimeError("the I/O thread has ended")
        return asyncio.run_coroutine_threadsafe(request, self._loop)

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        loop = self._loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        tasks = [asyncio.create_task(self._every_second())]
        if self._settings.mode == "online":
            self.stream = Stream(
                self._settings.endpoint,
                self._outbox,
                self._attach,
                self._settings.limits,
                self._settings.timeouts,
                self._refused,
            )
            tasks.append(asyncio.create_task(self._deliver(self.stream)))
        self._tick()
        self._ready.set()
        try:
            await self._ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                self._outbox.close(finished=self.stream is None or self.stream.finished or self._abandoned)
            except SpoolError as error:
                log.error("%s", error)

    def _tick(self) -> None:
        assert self._loop is not None
        self._loop.call_later(self._settings.timeouts.linger_s, self._tick)
        if not self._may_gather():
            self._collect()

    def _may_gather(self) -> bool:
        """Whether rows should gather longer: a frame is in flight, and the server asks for fewer frames; or there is no
        room for frames, so that each one would leave a tombstone in memory."""
        assert self._stage is not None
        stream, pause_s = self.stream, 0.0
        if self._outbox.losing:
            pause_s = _LOSING_PAUSE_S
        elif stream is not None and stream.connected and self._outbox.first_seq < self._outbox.next_seq:
            pause_s = stream.pace_s
        return self._collector.waited_s < pause_s and self._stage.waiting_bytes < self._settings.limits.frame_bytes

    def _collect(self, last: bool = False) -> None:
        """Moves rows from the stage into the outbox; the `last` call does so even without room, so that no row is
        left."""
        assert self._stage is not None
        try:
            self._collector.save_quarantined(self._stage)
        except OSError as error:
            log.error("late log() calls could not be written to the quarantine, and are lost: %s", error)
        if self._collector.collect(self._stage, last) and self.stream is not None:
            self.stream.wake()

    async def _attached(self) -> dict[str, Any]:
        if self.stream is None:
            raise UsageError("an offline run has no server to ask")
        return await self.stream.first_attached()

    async def _collect_now(self) -> bool:
        self._outbox.retry_spool()
        self._collect()
        return self._outbox.has_room

    async def _deliver(self, stream: Stream) -> None:
        await stream.run()
        if isinstance(stream.failed, RunDeletedError):
            _ = self.durable_step  # records its last value; nothing moves it from now on
            self._outbox.give_up()  # keeping the frames for `stepwell sync` would only fill the disk
            log.error(
                "values that this process logs from now on are not stored, and count as rejected. %s", stream.failed
            )
            return
        asked_by_init = self._settings.start.needs_answer and stream.attached is None  # `init` raises the error
        if stream.failed is not None and not asked_by_init:
            log.error(
                "the server refuses this writer for good; values logged from now on stay in the spool. %s",
                stream.failed,
            )

    async def _every_second(self) -> None:
        """Housekeeping every `fsync_s`: reports outages, and syncs the spool to the disk."""
        complained = False
        outage = self._outage()
        while True:
            await asyncio.sleep(self._settings.timeouts.fsync_s)
            try:
                self._tell(outage)
                self._outbox.retry_spool()
                if self._outbox.spool is not None:
                    await beside(self._outbox.spool.sync)
                self._tend()
                complained = False
            except SpoolError as error:
                if not complained:
                    log.error("frames in the spool may be lost if this host crashes. %s", error)
                complained = True
            except Exception:  # a bug must not end the loop: the spool would never be synced again
                if not complained:
                    log.exception("unexpected error outside of delivery; delivery continues")
                complained = True

    def _outage(self) -> Outage:
        spool, timeouts = self._outbox.spool, self._settings.timeouts
        queue = str(spool.directory) if spool is not None else "memory"
        tells_away = self._settings.local_rank == "0"  # the other processes of this host would say the same
        return Outage(self._settings.url, queue, timeouts.away_s, timeouts.stalled_s, tells_away=tells_away)

    def _tell(self, outage: Outage) -> None:
        stream = self.stream
        if stream is None or stream.failed is not None:
            return
        first_seq, waiting = self._outbox.first_seq, self.frames_left
        seen = Seen(stream.connected, stream.counts.connections, first_seq, waiting, stream.last_error)
        if line := outage.look(seen):
            log.warning("%s", line)

    async def _flush(self, durable: bool) -> None:
        self._collect()
        if self.stream is not None and durable:
            await self.stream.acknowledged(self._outbox.next_seq)
        elif self._outbox.spool is not None:
            await beside(self._outbox.spool.sync)

    async def _finish(self, exit_code: int) -> None:
        self._collect(last=True)
        stream = self.stream
        if stream is None or stream.failed is not None:
            return
        stream.finish(exit_code)
        seen, since = -1, time.monotonic()
        while not stream.finished and stream.failed is None:
            await asyncio.sleep(0.005)
            if stream.progress != seen:
                seen, since = stream.progress, time.monotonic()
            elif time.monotonic() - since > self._settings.timeouts.finish_idle_s:
                return

    def _refused(self, seq: int, error: RejectionError) -> None:
        try:
            self._on_rejection(seq, error)
        except Exception:
            log.exception("the callback for rejections failed")
