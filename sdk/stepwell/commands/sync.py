"""`stepwell sync`: delivers the spools that offline or crashed runs left on the disk, oldest first.

Receives spool directories, sends their frames over the same stream that a live run uses, and prints an account of each.
A spool is removed when the server has all of it. Promises not to touch the spool of a live process, to count only
acknowledged frames as delivered, and to leave undelivered frames unchanged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from stepwell.commands.sync_files import deliver_files
from stepwell.delivery.stored import Stored, stored_sessions
from stepwell.delivery.stream import Stream
from stepwell.errors import Error, RejectionError, RunDeletedError, SettingError, SpoolError, SpoolLockedError
from stepwell.files.blob_spool import directories_with_blobs
from stepwell.settings import ENVIRONMENT, Settings, Timeouts, resolve
from stepwell.settings.key_file import PLACES
from stepwell.spool import Spool
from stepwell.spool import state as spool_state
from stepwell.terminal.command import Command
from stepwell.terminal.display import Progress, number, reason, size
from stepwell.wire import PROTOCOL_VERSION

#: How often the lock of a spool is refreshed: other hosts take over a lock that was not refreshed for ten minutes.
_REFRESH_S = 60.0
_TICK_S = 0.02
#: How long to wait until the server says how much of a spool it has stored; without an answer, the spool is delivered.
_ASK_S = 5.0
_TIMEOUTS = Timeouts(retry_max_s=2.0)

ABOUT = """deliver what offline or crashed runs left in their spools

Each spool below DIR, with its files, is sent to the server and removed when the server has all of it. Spools of
running processes are skipped. The exit code is 1 when something is left. The server refuses frames and files of deleted
runs: they stay in their spools, and with --discard they are removed."""


@dataclass(slots=True)
class Total:
    """The totals of all spools so far."""

    delivered: int = 0
    discarded: int = 0
    left: int = 0
    values: int = 0
    sent_bytes: int = 0
    unreachable: bool = False


class Delivery:
    """The delivery of one spool.

    Args:
        spool: an open spool.
        settings: the server and the limits.
        patience_s: the longest time without progress.
    """

    def __init__(self, spool: Spool, settings: Settings, patience_s: float) -> None:
        self.spool = spool
        self._patience_s = patience_s
        state = spool_state.load(spool.directory)
        self._exit_code = state.exit_code if state else None
        self._info = state.info if state else dict(spool.identity.info)
        self._first, self._goal = spool.first_seq, spool.next_seq
        self.known = False  # whether the server had all frames before
        self.rejected: list[RejectionError] = []
        self.stream = Stream(
            settings.endpoint, spool, self._attach_message, settings.limits, settings.timeouts, self._on_rejection
        )

    @property
    def done(self) -> bool:
        """Whether the server has everything that it can get."""
        if self.known:
            return True
        if self._exit_code is not None:
            return self.stream.finished
        # Attached even if the spool is empty, so that the server learns of the run, its config and its names.
        return self.stream.attached is not None and self.spool.first_seq >= self._goal

    @property
    def frames_known_before(self) -> int:
        """The number of frames on the disk that the server had stored before, acknowledged or not."""
        return self.spool.first_seq - self._first - self.stream.counts.frames_stored - len(self.rejected)

    def skip_what_is_stored(self, stored: Stored | None) -> None:
        """Skips the delivery when the server has everything."""
        if stored is not None and stored.covers(self._goal, self._exit_code):
            self.spool.acknowledge(self._goal)
            self.known = True

    async def run(self, progress: Progress, name: str) -> None:
        """Delivers until it is done, the server refuses for good, or there was no progress for `patience_s`."""
        if self.known:
            return
        if self._exit_code is not None:
            self.stream.finish(self._exit_code)
        task = asyncio.create_task(self.stream.run())
        started = moved = refreshed = time.monotonic()
        seen = -1
        try:
            while not self.done and not task.done():
                await asyncio.wait({task}, timeout=_TICK_S)
                now = time.monotonic()
                if self.stream.progress != seen:
                    seen, moved = self.stream.progress, now
                elif now - moved > self._patience_s:
                    return
                if now - refreshed > _REFRESH_S:
                    refreshed = now
                    self.spool.sync()
                progress.show(self._progress_text(name, now - started, now - moved))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            progress.clear()

    def _progress_text(self, name: str, elapsed_s: float, idle_s: float) -> str:
        counts = self.stream.counts
        sent, frames = self.spool.first_seq - self._first, self._goal - self._first
        text = f"{name}: {sent:,} of {number(frames, 'frame')}"
        if counts.bytes_sent:
            text += f", {size(counts.bytes_sent)} sent, {size(counts.bytes_sent / max(elapsed_s, 0.1))}/s"
        if idle_s > 1.0 and not self.stream.connected:
            text += f"  (no server for {idle_s:.0f} s, giving up after {self._patience_s:.0f} s)"
        return text

    def _attach_message(self) -> dict[str, object]:
        identity = self.spool.identity
        return {
            "type": "attach",
            "protocol": PROTOCOL_VERSION,
            "entity": identity.entity,
            "project": identity.project,
            "run": identity.run,
            "writer": identity.writer,
            "session": identity.session.hex(),
            "age_s": max(0.0, time.time() - identity.started_at),  # no monotonic clock survives the process
            "late": True,
            "info": self._info,
        }

    def _on_rejection(self, seq: int, error: RejectionError) -> None:
        self.rejected.append(error)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "dir", nargs="?", metavar="DIR", help="the directory of the spools; default STEPWELL_DIR, else .stepwell"
    )
    parser.add_argument("--url", help="the server; default STEPWELL_URL, else http://127.0.0.1:8770")
    parser.add_argument(
        "--discard", action="store_true", help="remove the spools of runs that were deleted on the server"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="give up after this time without progress, for example when the server is unreachable; default 30",
    )


def run(options: argparse.Namespace) -> int:
    settings = _settings(options.dir, options.url)
    if not settings.dir.is_dir():
        if options.dir is None:
            print(f"Nothing to deliver: there is no directory {settings.dir}.")
            return 0
        raise SettingError(f"there is no directory {settings.dir}", hint="name the directory that holds the spools")
    paths = Spool.discover(settings.dir)
    only_files = [path for path in directories_with_blobs(settings.dir) if path not in paths]
    if not paths and not only_files:
        print(f"Nothing to deliver: there are no spools below {settings.dir}.")
        return 0
    print(
        f"Delivering {number(len(paths) + len(only_files), 'spool')} below {settings.dir} to {settings.url}", flush=True
    )
    started = time.monotonic()
    total = asyncio.run(_deliver_all(paths, only_files, settings, options.timeout, options.discard))
    elapsed_s = time.monotonic() - started
    text = f"{total.delivered} delivered ({total.values:,} values, {size(total.sent_bytes)} in {elapsed_s:.1f} s)"
    text += f", {total.discarded} discarded" if total.discarded else ""
    print(text + (f", {total.left} left" if total.left else ""))
    if total.unreachable:
        sys.stderr.write(
            f"stepwell: the server at {settings.url} could not be reached for {options.timeout:g} s\n"
            "  Hint: is `stepwell up` running there? Use --url or STEPWELL_URL for another server\n"
        )
    return 1 if total.left else 0


def _settings(directory: str | None, url: str | None) -> Settings:
    # Only the settings of the server and the directory: an invalid project name must not prevent a delivery.
    ours = {name for name, attribute in ENVIRONMENT.items() if attribute in ("url", "dir", "api_key", "ca_file")}
    environment = {name: os.environ[name] for name in (ours | set(PLACES)) & os.environ.keys()}
    return dataclasses.replace(resolve(environment, dir=directory, url=url), timeouts=_TIMEOUTS)


async def _deliver_all(
    paths: list[Path], only_files: list[Path], settings: Settings, patience_s: float, discard: bool
) -> Total:
    total, progress = Total(), Progress()
    for path in paths:
        if total.unreachable:
            total.left += 1
            continue
        try:
            spool = Spool.open(path)
        except SpoolLockedError as error:
            print(f"  {path}: skipped, a running process owns it ({error.detail})", flush=True)
            total.left += 1
            continue
        except Error as error:
            print(f"  {path}: skipped. {error}", flush=True)
            total.left += 1
            continue
        delivery = Delivery(spool, settings, patience_s)
        asked = await asyncio.to_thread(stored_sessions, settings.endpoint, [spool.identity.session], _ASK_S)
        delivery.skip_what_is_stored(asked.get(spool.identity.session))
        await _deliver(delivery, settings, patience_s, discard, total, progress)
    for path in only_files:
        if total.unreachable:
            total.left += 1
        else:
            _deliver_files(path, path.name, settings, patience_s, total, progress)
    return total


def _deliver_files(
    path: Path,
    name: str,
    settings: Settings,
    patience_s: float,
    total: Total,
    progress: Progress,
    project: str | None = None,
) -> None:
    """Delivers the files in the directory of a spool, if there are any.

    Args:
        project: the project of the spool, whose frames are in the total already; None: there are only files.
    """
    try:
        outcome = deliver_files(path, settings, patience_s, lambda text: progress.show(f"{name}: {text}"), project)
    except Error as error:
        outcome = None
        failure = str(error)
    finally:
        progress.clear()
    if outcome is not None and not outcome.found:
        return
    if outcome is not None:
        total.sent_bytes += outcome.sent_bytes
        total.unreachable |= outcome.unreachable
        print(f"  {name}: {outcome}", flush=True)
    else:
        print(f"  {path}: files skipped. {failure}", flush=True)
    complete = outcome is not None and not outcome.left
    if project is None:
        total.delivered += complete
        total.left += not complete
    elif not complete:
        total.delivered -= 1
        total.left += 1


async def _deliver(
    delivery: Delivery, settings: Settings, patience_s: float, discard: bool, total: Total, progress: Progress
) -> None:
    spool = delivery.spool
    name = f"run {spool.identity.run}, writer {spool.identity.writer}"
    failure: Error | None = None
    try:
        await delivery.run(progress, name)
    except Error as error:
        failure = error  # a disk error
    finally:
        damaged, repaired, pending = spool.damaged_frames, spool.repaired_bytes, spool.pending_frames
        done = delivery.done
        deleted = delivery.stream.failed if isinstance(delivery.stream.failed, RunDeletedError) else None
        discarded = discard and deleted is not None
        if discarded:
            with contextlib.suppress(SpoolError):
                spool.acknowledge(spool.next_seq)
        if done or discarded:
            spool_state.remove(spool.directory)
        spool.close(remove_if_empty=done or discarded)
    counts, stream = delivery.stream.counts, delivery.stream
    total.values += counts.values_acknowledged
    total.sent_bytes += counts.bytes_sent
    text = f"  {name}: {number(counts.values_acknowledged, 'value')} in {number(counts.frames_stored, 'frame')}"
    if known := delivery.frames_known_before:
        text += f", {number(known, 'frame')} that the server already had"
    if delivery.rejected:
        text += f", {number(len(delivery.rejected), 'frame')} refused (see the view stepwell.rejections)"
    if damaged:
        text += f", {number(damaged, 'frame')} damaged on the disk"
    if repaired:
        text += f", {size(repaired)} of a frame that the crash cut short"
    if done:
        total.delivered += 1
        print(text, flush=True)
        project = f"{spool.identity.entity}/{spool.identity.project}"
        _deliver_files(spool.directory, name, settings, patience_s, total, progress, project)
        return
    if discarded and deleted is not None:
        total.discarded += 1
        print(f"{text}; discarded: {number(pending, 'frame')}, because: {deleted.message}", flush=True)
        return
    total.left += 1
    failure = failure or stream.failed
    if failure is None and not stream.connected:
        total.unreachable = True
    cause = failure or stream.last_error
    why = reason(cause) if cause else "the server did not answer"
    print(f"{text}; left: {number(pending, 'frame')}, because: {why}", flush=True)


COMMAND = Command(ABOUT, configure, run)
