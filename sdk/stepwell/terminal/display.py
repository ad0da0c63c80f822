"""Formats numbers, tables and errors for commands, and shows progress. Only `Progress` writes (to stderr)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

from stepwell.errors import Error, harmless

_UNITS = ("kB", "MB", "GB", "TB")


def size(count: float) -> str:
    """A size in the unit that leaves one to three digits before the decimal point."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in _UNITS:
        count /= 1000
        if count < 999.5 or unit == _UNITS[-1]:
            break
    return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"


def number(count: int, what: str) -> str:
    """A count with its noun: "1 frame", "2,000 frames"."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """A time span in at most two units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours = divmod(int(seconds) // 60, 60)[::-1]
    if hours == 0:
        return f"{minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days else f"{hours} h {minutes} min"


def reason(error: BaseException) -> str:
    """The reason why a connection failed, without the address, which is shown beside it."""
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__


def table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of texts, with two blanks between columns.

    Args:
        head: the names of the columns.
        rows: the cells of each row.
        right: the indexes of the right-aligned columns.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = []
    for row in (head, *rows):
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def describe(error: Error) -> str:
    """The error as it is shown on a terminal: what happened, the details below it, then what to do."""
    # Texts of Postgres or a file system may contain what users have stored, which must not control the terminal.
    lines = [f"stepwell: {harmless(error.message)}"]
    if error.detail:
        lines += [f"  {harmless(line)}" for line in error.detail.split("\n")]
    if error.hint:
        lines.append(f"  Hint: {harmless(error.hint)}")
    return "\n".join(lines) + "\n"


class Progress:
    """One line that is overwritten on a terminal; if stderr is a file, a new line every few seconds."""

    def __init__(self, file_interval_s: float = 10.0) -> None:
        self._terminal = sys.stderr.isatty()
        self._interval_s = 0.1 if self._terminal else file_interval_s
        self._shown_at = time.monotonic()
        self._length = 0

    def show(self, text: str) -> None:
        """Shows the state of the work, unless it was shown a moment ago."""
        now = time.monotonic()
        if now - self._shown_at < self._interval_s:
            return
        self._shown_at = now
        if self._terminal:
            sys.stderr.write("\r" + text.ljust(self._length))
            self._length = len(text)
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Clears the line for other output."""
        if self._length:
            sys.stderr.write("\r" + " " * self._length + "\r")
            sys.stderr.flush()
            self._length = 0
