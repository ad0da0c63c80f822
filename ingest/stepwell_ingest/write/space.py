"""Free space on the disks of a server that runs its own Postgres: nothing more is taken in before one of them is full.

Beside the intake and the uploads. A disk that is full in the midst of a transaction costs more than the transaction:
Postgres cannot write its log, and stops. Of a Postgres elsewhere only what it says is known, which is errors, so no
space is kept there. Promises that what is refused here may be sent again, and that files are refused first: they can
wait longer than frames.
"""

from __future__ import annotations

import os
import time

from stepwell.errors import OverloadedError

_RETRY_AFTER_S = 10.0
#: Small disks keep this part of themselves.
_PART = 0.05
_FILES_FIRST = 2
#: How long an answer of the disk counts. At 8 million points per second, a worker takes in 7 MB in this time.
_FRESH_S = 0.1


class Space:
    """The disks of one server.

    Args:
        frames_in, files_in: directories whose disks take frames and files; None: not on a disk of this server.
        reserve_bytes: what stays free; a twentieth of the disk where that is less.
    """

    def __init__(self, frames_in: str | None, files_in: str | None, reserve_bytes: int) -> None:
        self._frames_in = frames_in
        self._files_in = files_in
        self._reserve_bytes = reserve_bytes
        self._enough_until = 0.0

    def check_frames(self) -> None:
        """Returns while there is room for frames.

        Raises:
            OverloadedError: there is not.
        """
        now = time.monotonic()
        if now >= self._enough_until:
            self._check(self._frames_in, 1, "frames")
            self._enough_until = now + _FRESH_S

    def check_files(self) -> None:
        """Returns while there is room for files, and for frames behind them.

        Raises:
            OverloadedError: there is not.
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
                detail=f"{directory} lacks {missing / 1e6:,.0f} MB of the space that stays free (--free-bytes)",
                hint="make room there: docs/operations.md; the spool keeps everything until then",
            )

    def _missing(self, directory: str, times: int) -> float:
        try:
            disk = os.statvfs(directory)  # some microseconds, so not for each message of many quiet writers
        except OSError:
            return 0  # not there yet, or no longer: whoever writes there will say so
        kept = min(self._reserve_bytes, _PART * disk.f_blocks * disk.f_frsize)
        return times * kept - disk.f_bavail * disk.f_frsize
