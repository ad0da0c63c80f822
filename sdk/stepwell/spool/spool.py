"""The spool: the frames of one writer session on disk, from when they are cut until the server acknowledges them.

Sits between the framer and the stream. Receives encoded frames in order of seq; returns the same bytes, as often as the
stream asks, until `acknowledge`. Promises:

- When `append` returns, the frame survives the death of this process; after the next `sync` also a crash of the host.
- A frame is returned with the bytes and the seq with which it was appended. A frame that the disk damaged is replaced
  by a tombstone with its seq, and counted; wrong bytes are never returned.
- A failed `append` leaves earlier frames intact and may be repeated; a full and a failing disk raise distinct errors.

    <root>/<run>/<writer>-<8 hex of session>/
        lock                          its owner (`stepwell.spool.lock`)
        00000000000000000000.seg      frames from seq 0 on (format: `stepwell.spool.segment`)
        00000000000000004711.seg      frames from seq 4711 on; only the last one is appended to
        00000000000000004711.seg.tmp  a rewrite after a failed fsync, until it is renamed; removed by `open`

No file holds the acknowledged position: it follows from which segments exist. They are unlinked from the oldest on, so
a crash leaves no gaps. After a crash, up to one segment of acknowledged frames is sent again, and the server treats
them as duplicates.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from stepwell import wire
from stepwell.errors import SpoolError, SpoolFormatError, SpoolLockedError, WireError
from stepwell.spool import directory as spool_directory
from stepwell.spool.chain import SegmentChain
from stepwell.spool.lock import SpoolLock
from stepwell.spool.reader import load, segment_files
from stepwell.spool.segment import Segment, SpoolIdentity, storage_error

__all__ = ["Spool", "SpoolIdentity", "SpoolLimits"]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """Limits on the size of a spool.

    Attributes:
        segment_bytes: the size at which a new segment begins; at most an eighth of `max_bytes`, so that acknowledged
            frames in an unfinished segment cannot fill the spool.
        max_bytes: the size of all segments together; beyond it `append` raises SpoolFullError.
        cache_bytes: the size of the newest frames that stay in memory, so that a live stream never reads the disk.
    """

    segment_bytes: int = 16 * 1024 * 1024
    max_bytes: int = 20 * 1024 * 1024 * 1024
    cache_bytes: int = 16 * 1024 * 1024


DEFAULT_LIMITS = SpoolLimits()


class Spool:
    """The frames of one writer session. Created by `create` or `open`.

    One thread uses it; only `sync` may be called by another one at the same time (`stepwell.spool.chain` says how).
    A forked child may not use it: every method raises SpoolError there, except `close`, which does nothing.

    Attributes:
        identity: the owner of the frames.
        directory: the directory of the spool.
        repaired_bytes: the number of bytes that `open` cut off the tail.
    """

    def __init__(
        self,
        directory: Path,
        identity: SpoolIdentity,
        limits: SpoolLimits,
        owner: SpoolLock,
        segments: list[Segment] | None,
        unsynced_directories: set[Path],
    ) -> None:
        self.directory = directory
        self.identity = identity
        self.repaired_bytes = 0
        self._cache: dict[int, bytes] = {}  # the newest frames, without gaps
        self._cache_limit = limits.cache_bytes
        self._cache_bytes = 0
        self._chain = SegmentChain(
            directory,
            identity,
            segments,
            segment_bytes=min(limits.segment_bytes, limits.max_bytes // 8),
            max_bytes=limits.max_bytes,
            cached=self._cache.get,
            unsynced_directories=unsynced_directories,
        )
        self._cache_first = self._chain.next_seq
        self._owner = owner
        self._sync_lock = threading.Lock()  # one sync at a time, and none while the lock file is released
        self._pid = os.getpid()
        self._closed = False
        self._taken_over: SpoolLockedError | None = None

    @classmethod
    def create(cls, root: Path, identity: SpoolIdentity, limits: SpoolLimits = DEFAULT_LIMITS) -> Spool:
        """Creates an empty spool below `root`, readable by its owner only.

        Raises:
            SpoolFullError: there is no room on the disk.
            SpoolError: the directory cannot be created, or the session has one already.
            TypeError, ValueError: the identity is not JSON, or the session does not have 16 bytes.
        """
        if len(identity.session) != 16:
            raise ValueError(f"a session has 16 bytes, not {len(identity.session)}")
        try:
            directory = spool_directory.make_directory(root, identity)
            owner = None
            try:
                owner = SpoolLock.acquire(directory)
                return cls(directory, identity, limits, owner, None, {directory, directory.parent, root})
            except BaseException:
                if owner is not None:
                    owner.release()
                spool_directory.remove_directory(directory)
                raise
        except OSError as error:
            raise storage_error(error, "be created") from error

    @classmethod
    def open(cls, directory: Path, limits: SpoolLimits = DEFAULT_LIMITS) -> Spool:
        """Opens a spool that a process left behind: locks it and repairs its tail, so that it can be read and appended
        to.

        Raises:
            SpoolLockedError: another process owns it.
            SpoolFormatError: the directory is not a spool, or another version wrote it.
            SpoolError: the spool cannot be read or repaired.
        """
        if not segment_files(directory):
            raise SpoolFormatError("this directory is not a spool", detail=f"{directory} holds no segments")
        try:
            owner = SpoolLock.acquire(directory)
            try:
                loaded = load(directory)
                spool = cls(directory, loaded.identity, limits, owner, loaded.segments, {directory})
            except BaseException:
                owner.release()
                raise
        except OSError as error:
            raise storage_error(error, "be opened") from error
        spool.repaired_bytes = loaded.repaired_bytes
        return spool

    @staticmethod
    def discover(root: Path) -> list[Path]:
        """The spool directories at or up to two levels below `root`, by the start of their session, oldest first.

        Spools in use are listed, too. A spool whose process died before writing a head holds nothing and is not listed.
        """
        return spool_directory.discover(root)

    @property
    def next_seq(self) -> int:
        """The seq that the next appended frame must have."""
        return self._chain.next_seq

    @property
    def first_seq(self) -> int:
        """The seq of the oldest unacknowledged frame, as far as this process or the files know; `next_seq` if there is
        none."""
        return self._chain.first_seq

    @property
    def pending_frames(self) -> int:
        """The number of unacknowledged frames."""
        return self._chain.next_seq - self._chain.first_seq

    @property
    def stored_bytes(self) -> int:
        """The size of all segments on disk, including acknowledged frames as long as their segment exists."""
        return self._chain.stored_bytes

    @property
    def damaged_frames(self) -> int:
        """The number of frames that `read` replaced by tombstones, each counted once."""
        return self._chain.damaged_frames

    @property
    def failed_syncs(self) -> int:
        """The number of failed fsyncs of segments."""
        return self._chain.failed_syncs

    def append(self, frame: bytes) -> None:
        """Stores exactly one frame, as `wire.encode` made it. When this returns, the kernel has it.

        Raises:
            ValueError: `frame` is not exactly one frame, has another seq than `next_seq`, or is of another session.
            SpoolFullError: `max_bytes` is reached or the disk is full. The frame was not stored, all others are
                intact, and the same call works when there is room again.
            SpoolError: the disk failed (the same holds as for a full disk); or the spool is closed or was taken over,
                or this is a forked child.
        """
        self._check_usable()
        try:
            header = wire.peek(frame)
        except WireError as error:
            raise ValueError(f"not a frame: {error}") from error
        expected = (self._chain.next_seq, self.identity.session, len(frame))
        if (header.seq, header.session, header.length) != expected:
            raise ValueError(
                f"not the next frame: seq {header.seq} of session {header.session.hex()}, {header.length} bytes; "
                f"expected seq {expected[0]} of {expected[1].hex()}, {expected[2]} bytes"
            )
        self._chain.append(frame)
        self._cache[header.seq] = frame
        self._cache_bytes += len(frame)
        while self._cache_bytes > self._cache_limit:
            self._forget_oldest()

    def read(self, from_seq: int, max_bytes: int, max_frames: int) -> list[bytes]:
        """The frames from `from_seq` on, in order: as many as fit both limits, but at least one if there is one.

        Reads from memory if possible, else from disk; continuing where the last call ended costs O(bytes).

        Args:
            from_seq: `first_seq` … `next_seq`.
            max_bytes, max_frames: the limits.

        Raises:
            ValueError: `from_seq` was acknowledged already or never appended.
            SpoolError: the disk cannot be read now. This does not count as damage; try again.
        """
        self._check_usable()
        if not self.first_seq <= from_seq <= self.next_seq:
            raise ValueError(f"seq {from_seq} is not in the spool, which has {self.first_seq} to {self.next_seq}")
        frames: list[bytes] = []
        try:
            for seq in range(from_seq, min(self.next_seq, from_seq + max(max_frames, 1))):
                frame = self._cache.get(seq) or self._chain.frame(seq)
                max_bytes -= len(frame)
                if frames and max_bytes < 0:
                    break
                frames.append(frame)
        except OSError as error:
            raise storage_error(error, "read a frame back") from error
        return frames

    def acknowledge(self, next_seq: int) -> None:
        """Forgets everything below `next_seq`, which is safe on the server, and unlinks the segments below.

        The last segment stays, since its name holds the session's position. A lower value than before changes nothing.
        A file that cannot be unlinked is tried again with the next call.

        Raises:
            ValueError: `next_seq` is above `self.next_seq`.
        """
        self._check_usable()
        if next_seq > self.next_seq:
            raise ValueError(f"seq {next_seq} was never appended; the spool ends at {self.next_seq}")
        while self._cache_first < next_seq and self._cache:
            self._forget_oldest()
        self._chain.acknowledge(next_seq)

    def skip_to(self, seq: int) -> None:
        """Makes `seq` the next seq: the server got the frames before it without this spool. The disk is not touched.

        Raises:
            ValueError: the spool has unacknowledged frames, or `seq` is below `next_seq`.
        """
        self._check_usable()
        if self.pending_frames or seq < self.next_seq:
            raise ValueError(
                f"cannot continue at seq {seq}: {self.pending_frames} frames are unacknowledged, and the next seq is "
                f"{self.next_seq}"
            )
        self._chain.skip_to(seq)
        self._cache_first = seq

    def drop_oldest(self) -> int | None:
        """Drops the oldest segment, to make room for newer frames; `first_seq` moves past it.

        Returns:
            The number of points and objects lost with it; None when there is only one segment, which stays.

        Raises:
            SpoolError: the disk cannot be read now.
        """
        self._check_usable()
        try:
            dropped = self._chain.drop_oldest()
        except OSError as error:
            raise storage_error(error, "drop its oldest frames") from error
        while self._cache and self._cache_first < self.first_seq:
            self._forget_oldest()
        return dropped

    def sync(self) -> None:
        """Syncs everything that was appended before the call, and new directory entries, to the disk; refreshes the
        lock.

        Any thread may call it, also during `append`. Call it at least every few minutes: other hosts take over a lock
        that was not refreshed for ten minutes.

        A failed fsync is not repeated: the kernel may have dropped the pages and would report success. Instead the
        frames that were not synced are taken from memory, or read back and checked, and written to a new file, which
        is synced and then renamed into place. If that works, this returns as usual and `failed_syncs` counts it; if
        not, the frames stay unsynced, the next call tries the rewrite again, and `append` continues in a new segment.

        Raises:
            SpoolFullError, SpoolError: some frames are not yet safe from a crash of the host.
            SpoolLockedError: the spool was taken over; it can only be closed.
        """
        self._check_usable()  # first of all: in a forked child the lock may be held forever
        with self._sync_lock:
            self._check_usable()
            try:
                try:
                    self._owner.refresh()
                except FileNotFoundError:  # the directory itself was removed
                    self._chain.restore_directory()
                    self._owner.refresh()
                self._chain.sync()
            except SpoolLockedError as error:
                self._taken_over = error
                raise
            except OSError as error:
                raise storage_error(error, "sync frames to the disk") from error

    def close(self, *, remove_if_empty: bool = True) -> None:
        """Closes the spool. Unacknowledged frames are synced and stay.

        Args:
            remove_if_empty: whether to remove the directory if everything is acknowledged, and the directory of the run
                if that is empty then.

        Raises:
            SpoolError: as `sync`; the spool is closed nevertheless.
        """
        if self._closed or os.getpid() != self._pid:
            return
        try:
            if self.pending_frames and not self._taken_over:
                self.sync()
        finally:
            with self._sync_lock:
                self._closed = True
                remove = remove_if_empty and not self.pending_frames and not self._taken_over
                self._chain.close(remove=remove)
                self._cache.clear()
                self._owner.release()
                if remove:
                    spool_directory.remove_directory(self.directory)

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise SpoolError(
                "a forked process may not use the spool of its parent",
                detail=f"pid {os.getpid()}, the spool belongs to {self._pid}",
                hint="call stepwell.init() in the child to start another run",
            )
        if self._taken_over:
            raise self._taken_over
        if self._closed:
            raise SpoolError("the spool is closed", detail=str(self.directory))

    def _forget_oldest(self) -> None:
        self._cache_bytes -= len(self._cache.pop(self._cache_first))
        self._cache_first += 1
