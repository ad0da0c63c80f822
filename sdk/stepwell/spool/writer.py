"""Writes one segment: appends whole frames or nothing, with fsync concurrent to appending.

Receives encoded frames from `stepwell.spool.chain`; writes the file that `stepwell.spool.segment` describes. Promises
that a frame survives the death of the process once `write` has returned (the kernel has the bytes), and that a failed
`write` leaves nothing in the file or marks it `broken`.

The file descriptor appends (O_APPEND), so a failed write needs no more than truncating the partial record.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

from stepwell.spool.segment import Segment, SpoolIdentity, encode_head, is_torn_head, segment_path

_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows would turn each \n into \r\n
#: The errors of file systems that cannot sync directories; NFS, FUSE and SMB each report this differently.
_NO_DIRECTORY_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF, errno.ENOSYS, errno.EISDIR)
_APPEND = os.O_WRONLY | os.O_APPEND | _BINARY


class SegmentWriter:
    """The open end of one segment.

    Attributes:
        synced_seq: frames below it were fsynced.
        broken: nothing more may be written to this file; the next frame begins a new one.
        sync_failed: an fsync of this file failed. The kernel may have marked the lost pages clean, so a second fsync
            would "succeed" without having written them; the frames from `synced_seq` on must go to another file.
    """

    __slots__ = ("_fd", "broken", "segment", "sync_failed", "synced_seq")

    def __init__(self, segment: Segment, fd: int, synced_seq: int) -> None:
        self.segment = segment
        self.synced_seq = synced_seq
        self.broken = False
        self.sync_failed = False
        self._fd: int | None = fd

    @classmethod
    def create(cls, directory: Path, identity: SpoolIdentity, first_seq: int) -> SegmentWriter:
        """Creates a segment that begins with `first_seq`.

        Raises:
            OSError: the segment exists or cannot be created. Nothing is left behind.
        """
        path = segment_path(directory, first_seq)
        head = encode_head(identity, first_seq)
        try:
            fd = create_file(path)
        except FileExistsError:
            if not is_torn_head(path):
                raise
            path.unlink()  # left by an earlier try that ran out of space, and could not be removed
            fd = create_file(path)
        try:
            write_all(fd, head)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return cls(Segment(path, first_seq, first_seq, len(head), len(head)), fd, first_seq)

    @classmethod
    def resume(cls, segment: Segment) -> SegmentWriter:
        """Opens an existing segment for appending. All of it counts as unsynced.

        Raises:
            OSError: the segment cannot be opened for writing.
        """
        return cls(segment, os.open(segment.path, _APPEND), segment.first)

    @property
    def unsynced(self) -> bool:
        return self.synced_seq < self.segment.end

    def write(self, frame: bytes) -> None:
        """Appends one frame; when this returns, the kernel has it.

        Raises:
            OSError: nothing of the frame is left in the file, or `broken` is set.
        """
        assert self._fd is not None  # the spool replaces a closed writer before it writes
        try:
            write_all(self._fd, frame)
        except BaseException as error:
            # If the size of files is limited, a new file has room again.
            self.broken = isinstance(error, OSError) and error.errno == errno.EFBIG
            try:
                os.ftruncate(self._fd, self.segment.size)
            except OSError:
                self.broken = True
            raise
        self.segment.size += len(frame)
        self.segment.end += 1

    def duplicate(self) -> int:
        """A separate descriptor for fsync, so that the writer can be closed meanwhile. The caller closes it.

        Raises:
            OSError: no descriptor is left, or the file is gone.
        """
        # After `close` the file is opened anew. Linux reports an unseen write-back error to the next opener,
        # too (since 4.16), unless the inode left memory in between; hence few writers are closed before their fsync.
        return os.open(self.segment.path, _APPEND) if self._fd is None else os.dup(self._fd)

    def close(self) -> None:
        """Closes the descriptor; may be called again."""
        self.broken = True
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)


def create_file(path: Path) -> int:
    """Creates a file for its owner only, opened for appending; returns its descriptor. Never touches an existing
    file."""
    return os.open(path, _APPEND | os.O_CREAT | os.O_EXCL, 0o600)


def write_all(fd: int, data: bytes) -> None:
    """Writes all of `data` to the descriptor.

    Raises:
        OSError: part of it may have been written.
    """
    written = os.write(fd, data)
    # A short write means that the disk or a limit is nearly full; the next write fails with the reason.
    while written < len(data):
        more = os.write(fd, memoryview(data)[written:])
        if not more:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def sync_directory(directory: Path) -> None:
    """Makes new names in `directory` survive a host crash, if the platform and the file system can sync directories.

    Raises:
        OSError: the directory could not be synced, although directories can be synced there.
    """
    if sys.platform == "win32":  # directories cannot be opened there; NTFS journals its names
        return
    fd: int | None = None
    try:
        fd = os.open(directory, os.O_RDONLY)
        os.fsync(fd)
    except OSError as error:
        if error.errno not in _NO_DIRECTORY_SYNC:
            raise
    finally:
        if fd is not None:
            os.close(fd)
