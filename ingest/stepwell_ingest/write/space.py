"""Free space on the disks of a server that runs its own Postgres: the server refuses data before a disk is full.

Called by the intake and by uploads. A disk that is full in the middle of a transaction costs more than the transaction:
Postgres cannot write its log, and stops. For a Postgres elsewhere, the free space is not known, so it is not checked.
Frames and files that are refused here can be sent again. Files are refused first, because they can wait longer.
"""

from __future__ import annotations

import os
import time

from stepwell.errors import OverloadedError

_RETRY_AFTER_S = 10.0
#: At most this share of a disk is kept free.
_PART = 0.05
#: Files are refused while less than this multiple of the reserve is free.
_FILES_FIRST = 2
#: For how long a worker need not look again. At 8 million points per second, it takes in 7 MB in this time.
_FRESH_S = 0.1


class Space:
    """The disks of one server.

    Args:
        frames_in, files_in: directories whose disks take frames and files; None: not on a disk of this server.
        reserve_bytes: the space that stays free, or a twentieth of the disk if that is less.
    """

    def __init__(self, frames_in: str | None, files_in: str | None, reserve_bytes: int) -> None:
        self._frames_in = frames_in
        self._files_in = files_in
        self._reserve_bytes = reserve_bytes
        self._enough_until = 0.0

    def check_frames(self) -> None:
        """Checks that there is space for frames.

        Raises:
            OverloadedError: there is too little space.
        """
        now = time.monotonic()
        if now >= self._enough_until:
            self._check(self._frames_in, 1, "frames")
            self._enough_until = now + _FRESH_S

    def check_files(self) -> None:
        """Checks that there is space for files, and for frames after them.

        Raises:
            OverloadedError: there is too little space.
        """
        for directory in {self._frames_in, self._files_in}:
            self._check(directory, _FILES_FIRST, "files")

    def _check(self, directory: str | None, times: int, what: str) -> None:
        if directory is None:
            return
        missing = self._missing(directory, times)
        if missing > 0:
            raise OverloadedError(
                f"the disk of the server is nearly full, so it accepts no {what}",
                retry_after_s=_RETRY_AFTER_S,
                detail=f"{directory} lacks {missing / 1e6:,.0f} MB of the space that must stay free (--free-bytes)",
                hint="make room there: docs/operations.md; the spool keeps everything until then",
            )

    def _missing(self, directory: str, times: int) -> float:
        try:
            disk = os.statvfs(directory)  # takes microseconds: too long for each message of many quiet writers
        except OSError:
            return 0  # the directory does not exist yet, or no longer: a write to it will raise the error
        kept = min(self._reserve_bytes, _PART * disk.f_blocks * disk.f_frsize)
        return times * kept - disk.f_bavail * disk.f_frsize
