"""Shows warnings of the logger "stepwell" on the terminal of a program that has not configured logging.

Python itself would print the bare text of such a warning, without saying where it came from.
"""

from __future__ import annotations

import logging
import sys


class TerminalHandler(logging.Handler):
    """Writes `stepwell: <text>` to stderr, unless the root logger has handlers, which receive the record, too."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers or sys.stderr is None:
            return
        try:
            sys.stderr.write(f"stepwell: {self.format(record)}\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - as in every handler, a broken stderr must not affect the program
            self.handleError(record)


def show_warnings(logger: logging.Logger) -> None:
    """Adds the handler to the logger once, unless it has others."""
    if not logger.handlers:
        logger.addHandler(TerminalHandler())
