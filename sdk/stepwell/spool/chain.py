"""The segments of one spool as one sequence of frames: append at the end, read anywhere, unlink from the front, fsync.

Sits between `spool.py`, which checks calls, and the files (`segment.py`). Receives frames with a checked seq and
returns the same frames by seq. Segments are created and unlinked in an order that leaves no gap after a crash, and
`sync` returns only when every frame appended before is on the disk.

    first_seq                                     next_seq
        |                                             |
    [ segment ][ segment ][ segment ][ the last one ··]    appended to by one thread
                    '---- sealed, not yet synced: descriptors stay open for `sync`

`sync` takes the lock to duplicate a descriptor and again to note the result, but not during the fsync itself, so that
appending does not wait for the disk; only the rewrite after a failed fsync holds the lock while it writes. Any thread
may call `sync`, but only one at a time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from stepwell import wire
from stepwell.errors import SpoolFullError
from stepwell.spool.reader import FrameReader, locate
from stepwell.spool.segment import Segment, SpoolIdentity, encode_head, segment_path, storage_error
from stepwell.spool.writer import SegmentWriter, create_file, sync_directory, write_all

#: How many full segments keep their descriptor open until the next `sync`: far fewer than the 1,024 files that a
#: process may usually have open.
_MAX_OPEN_SEGMENTS = 32


class SegmentChain:
    """The segments in a directory that this process owns.

    Args:
        directory: the directory of the spool.
        identity: the owner of the frames, for the heads of new segments.
        segments: the existing segments in order; frames are appended to the last one. None: the first one is created.
        segment_bytes: a segment of this size is followed by a new one.
        max_bytes: the most bytes of all segments together.
        cached: returns the frame with a seq, if it is in memory.
        unsynced_directories: directories whose entries must be synced, too.

    Raises:
        OSError: the last segment cannot be opened or created.

    Attributes:
        first_seq, next_seq, stored_bytes, damaged_frames, failed_syncs: see `stepwell.spool.Spool`.
    """

    def __init__(
        self,
        directory: Path,
        identity: SpoolIdentity,
        segments: list[Segment] | None,
        *,
        segment_bytes: int,
        max_bytes: int,
        cached: Callable[[int], bytes | None],
        unsynced_directories: set[Path],
    ) -> None:
        # It is unknown what an earlier process had synced, so all of a segment that is taken over counts as unsynced.
        writer = SegmentWriter.resume(segments[-1]) if segments else SegmentWriter.create(directory, identity, 0)
        self._segments = segments or [writer.segment]
        self.first_seq = self._segments[0].first
        self.next_seq = self._segments[-1].end
        self.stored_bytes = sum(segment.size for segment in self._segments)
        self.damaged_frames = 0
        self.failed_syncs = 0
        self._directory = directory
        self._identity = identity
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._cached = cached
        self._lock = threading.Lock()  # guards all mutable attributes
        self._writer: SegmentWriter | None = writer
        self._sealed: list[SegmentWriter] = []  # not appended to any more, and not yet synced
        self._reader: FrameReader | None = None
        self._damage_counted_to = 0
        self._unsynced_directories = unsynced_directories

    def append(self, frame: bytes) -> None:
        """Stores the frame with seq `next_seq`.

        Raises:
            SpoolFullError, SpoolError: the frame was not stored; the call may be repeated.
        """
        with self._lock:
            writer = self._writer_for(len(frame))
            try:
                writer.write(frame)
            except OSError as error:
                # If everything is acknowledged, the next call begins a new segment, so that this one can be removed.
                writer.broken |= self.first_seq == self.next_seq
                raise storage_error(error, "store a frame") from error
            self.stored_bytes += len(frame)
            self.next_seq += 1

    def frame(self, seq: int) -> bytes:
        """The frame with this seq, or the tombstone in its place.

        Raises:
            OSError: the frame cannot be read now.
        """
        with self._lock:
            return self._frame(seq)

    def acknowledge(self, next_seq: int) -> None:
        """Moves `first_seq` up and unlinks segments below it, but never the last segment."""
        with self._lock:
            self.first_seq = max(self.first_seq, next_seq)
            self._retire(keep=1)

    def skip_to(self, seq: int) -> None:
        """Continues with `seq` in a new segment; every frame before it must be acknowledged."""
        with self._lock:
            self.first_seq = self.next_seq = seq
            if self._writer is not None:
                self._writer.broken = True

    def restore_directory(self) -> None:
        """Recreates a directory that was removed; the next `sync` writes the frames that are still in memory into it.

        Raises:
            OSError: the directory cannot be created.
        """
        with self._lock:
            self._directory.mkdir(0o700, parents=True, exist_ok=True)
            self._unsynced_directories |= {self._directory, self._directory.parent}
            for writer in (*self._sealed, *([self._writer] if self._writer else [])):
                # Its descriptor still accepts frames, into a file that no longer has a name.
                writer.synced_seq = writer.segment.first
                writer.sync_failed = True

    def drop_oldest(self) -> int | None:
        """Gives up the oldest segment and its frames, unless it is the last one.

        Returns:
            The number of points and objects in its unacknowledged frames; None if nothing was given up.

        Raises:
            OSError: the values cannot be counted now; nothing was given up.
        """
        with self._lock:
            self._retire(keep=1)
            if len(self._segments) < 2:
                return None
            oldest = self._segments[0]
            headers = [wire.peek(self._frame(seq)) for seq in range(max(self.first_seq, oldest.first), oldest.end)]
            self.first_seq = oldest.end
            self._retire(keep=1)
            return sum(header.values + header.dropped for header in headers)

    def sync(self) -> None:
        """Syncs everything that was appended before the call to the disk; see `stepwell.spool.Spool.sync`.

        Raises:
            OSError: some frames or names of files would not survive a host crash. All segments were tried.
        """
        failure: OSError | None = None
        with self._lock:
            writers = [*self._sealed, *([self._writer] if self._writer else [])]
        for writer in writers:
            try:
                self._sync_segment(writer)
            except OSError as error:
                failure = failure or error
        with self._lock:
            # Removed first: a segment that is created meanwhile adds its directory again.
            directories, self._unsynced_directories = self._unsynced_directories, set()
        for directory in directories:
            try:
                sync_directory(directory)
            except OSError as error:
                failure = failure or error
                with self._lock:
                    self._unsynced_directories.add(directory)
        if failure is not None:
            raise failure

    def close(self, *, remove: bool) -> None:
        """Closes all files and, with `remove`, unlinks the segments if every frame is acknowledged."""
        with self._lock:
            self._drop_reader()
            for writer in (*self._sealed, self._writer):
                if writer is not None:
                    writer.close()
            self._sealed, self._writer = [], None
            if remove and self.first_seq == self.next_seq:
                self._retire(keep=0)

    def _writer_for(self, frame_bytes: int) -> SegmentWriter:
        writer = self._writer
        full = self.stored_bytes + frame_bytes > self._max_bytes
        if writer is None or writer.broken or writer.segment.size >= self._segment_bytes or full:
            if not full or self.first_seq == self.next_seq:
                writer = self._rotate()
                full = self.stored_bytes + frame_bytes > self._max_bytes
            if writer is None or full:
                raise SpoolFullError(
                    "the spool has reached its size limit",
                    detail=f"{self.stored_bytes} bytes in {self._directory}, the limit is {self._max_bytes}",
                    hint="frames are removed when the server acknowledges them: check with `stepwell status` whether "
                    "the server can be reached, or raise the limit",
                )
        return writer

    def _rotate(self) -> SegmentWriter:
        if self.first_seq == self.next_seq:
            self._retire(keep=0)
        elif (
            self._segments[-1].first == self.next_seq
        ):  # it broke before its first frame; the new segment has the same name
            self._remove(self._segments[-1])
        try:
            writer = SegmentWriter.create(self._directory, self._identity, self.next_seq)
        except OSError as error:
            raise storage_error(error, "begin a segment") from error
        self._seal_writer()
        self._writer = writer
        self._segments.append(writer.segment)
        self.stored_bytes += writer.segment.size
        self._unsynced_directories.add(self._directory)
        return writer

    def _seal_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None and writer.unsynced:
            self._sealed.append(writer)
            if len(self._sealed) > _MAX_OPEN_SEGMENTS:
                self._sealed[-_MAX_OPEN_SEGMENTS - 1].close()
        elif writer is not None:
            writer.close()

    def _sync_segment(self, writer: SegmentWriter) -> None:
        with self._lock:
            if not writer.unsynced or writer.segment not in self._segments:
                return
            end = writer.segment.end
            fd = None if writer.sync_failed else writer.duplicate()
        if fd is not None:
            try:
                os.fsync(fd)
            except OSError:
                self.failed_syncs += 1
                writer.sync_failed = True
            finally:
                os.close(fd)
        with self._lock:
            if writer.segment not in self._segments:  # acknowledged and unlinked meanwhile
                return
            if writer.sync_failed:
                self._rewrite(writer)
            else:
                writer.synced_seq = max(writer.synced_seq, end)
            if writer in self._sealed and not writer.unsynced:
                self._sealed.remove(writer)
                writer.close()

    def _rewrite(self, writer: SegmentWriter) -> None:
        """Writes the unsynced frames of `writer` to a new, synced file, as the segment that begins with them."""
        if writer is self._writer:
            self._seal_writer()
        writer.close()
        old = writer.segment
        since = max(writer.synced_seq, self.first_seq)
        if since >= old.end:
            writer.synced_seq = old.end
            return
        path = segment_path(self._directory, since)
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        head = encode_head(self._identity, since)
        size = len(head)
        fd = create_file(temporary)
        try:
            write_all(fd, head)
            for seq in range(since, old.end):
                frame = self._frame(seq)
                write_all(fd, frame)
                size += len(frame)
            os.fsync(fd)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        finally:
            os.close(fd)
        self._drop_reader()  # Windows cannot replace an open file
        temporary.replace(path)
        new = Segment(path, since, old.end, len(head), size)
        index = self._segments.index(old)
        if since == old.first:
            self._segments[index] = new
            self.stored_bytes -= old.size
        else:
            old.end = since
            self._segments.insert(index + 1, new)
        self.stored_bytes += size
        writer.segment, writer.synced_seq = new, new.end
        self._unsynced_directories.add(self._directory)
        self._retire(keep=1)

    def _frame(self, seq: int) -> bytes:
        frame = self._cached(seq)
        if frame is not None:
            return frame
        segment = locate(self._segments, seq)
        if self._reader is None or self._reader.segment is not segment:
            self._drop_reader()
            self._reader = FrameReader(segment, self._identity.session)
        frame, damaged = self._reader.frame(seq)
        if damaged and seq >= self._damage_counted_to:
            self.damaged_frames += 1
            self._damage_counted_to = seq + 1
        return frame

    def _retire(self, keep: int) -> None:
        while len(self._segments) > keep and self._segments[0].end <= self.first_seq:
            if not self._remove(self._segments[0]):
                return  # never unlinks a newer segment before an older one: a crash must not leave gaps

    def _remove(self, segment: Segment) -> bool:
        if self._reader is not None and self._reader.segment is segment:
            self._drop_reader()
        for writer in [w for w in (*self._sealed, self._writer) if w is not None and w.segment is segment]:
            writer.close()
            if writer is self._writer:
                self._writer = None
            else:
                self._sealed.remove(writer)
        try:
            segment.path.unlink(missing_ok=True)
        except OSError:  # Windows, while `sync` has it open
            return False
        self._segments.remove(segment)
        self.stored_bytes -= segment.size
        return True

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
