"""The journal of a logging process: the values that it tried to log, and their acknowledgements. One file per process.

Each line is one `write`, so that a SIGKILL leaves whole lines. Only acknowledgements create obligations; a step that
was tried but never acknowledged may or may not be stored, and nothing else may be stored.

    O <session> <writer>      a session was opened
    L <step>                  log() is about to be called
    I <step>                  that call has raised KeyboardInterrupt: its row is complete or absent
    X <step>                  a signal handler is about to log to a step during that call
    Y <step>                  that inner call has returned
    S <seq> <step>            the spool has accepted frame `seq`, whose last step is `step`; −1: a frame of notes
    N <kind> <step>           the spool has accepted a note: the page or the alert of `step`
    A <step>                  flush() has returned True; every step up to `step` was closed before
    F <logged> <stored> <rejected> <dropped> <left>      finish() has returned, with this account
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from stepwell import Account

_SETS = {"L": "tried", "I": "interrupted", "X": "nesting", "Y": "nested"}


class Journal:
    """The writing side."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def opened(self, session: bytes, writer: str) -> None:
        self._write(f"O {session.hex()} {writer}")

    def logging(self, step: int) -> None:
        self._write(f"L {step}")

    def interrupted(self, step: int) -> None:
        self._write(f"I {step}")

    def nesting(self, step: int) -> None:
        self._write(f"X {step}")

    def nested(self, step: int) -> None:
        self._write(f"Y {step}")

    def noted(self, kind: str, step: int) -> None:
        self._write(f"N {kind} {step}")

    def spooled(self, seq: int, last_step: int) -> None:
        self._write(f"S {seq} {last_step}")

    def acknowledged(self, last_step: int) -> None:
        self._write(f"A {last_step}")

    def finished(self, account: Account) -> None:
        self._write(
            f"F {account.logged} {account.stored} {account.rejected} {account.dropped} {account.left}",
        )

    def _write(self, line: str) -> None:
        os.write(self._fd, line.encode() + b"\n")


@dataclass(slots=True)
class Record:
    """The contents of one journal.

    Attributes:
        session, writer: the session and writer of the process; "" if it died before it had a session.
        tried: every step for which log() was called.
        interrupted: the steps whose call raised KeyboardInterrupt.
        nesting, nested: the steps to which a signal handler tried to log, and those whose call returned.
        pages, alerts: the steps whose page or alert the spool has accepted.
        stored: the highest step that the server has acknowledged; −1: none.
        kept: the highest step that the spool has accepted, so that it survives the process; −1: none.
        spooled: the number of frames in the spool.
        account: the account of a process that finished.
    """

    session: str = ""
    writer: str = ""
    tried: set[int] = field(default_factory=set)
    interrupted: set[int] = field(default_factory=set)
    nesting: set[int] = field(default_factory=set)
    nested: set[int] = field(default_factory=set)
    pages: set[int] = field(default_factory=set)
    alerts: set[int] = field(default_factory=set)
    stored: int = -1
    kept: int = -1
    spooled: int = 0
    account: Account | None = None

    @property
    def last_tried(self) -> int:
        return max(self.tried, default=-1)


def read_journal(path: Path) -> Record:
    """The record in `path`; an empty one if the file does not exist."""
    record = Record()
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    for line in lines:
        kind, *fields = line.split(" ")
        if kind == "O":
            record.session, record.writer = fields
        elif kind in _SETS:
            getattr(record, _SETS[kind]).add(int(fields[0]))
        elif kind == "N":
            (record.pages if fields[0] == "page" else record.alerts).add(int(fields[1]))
        elif kind == "S":
            record.spooled = max(record.spooled, int(fields[0]) + 1)
            record.kept = max(record.kept, int(fields[1]))
        elif kind == "A":
            record.stored = max(record.stored, int(fields[0]))
        elif kind == "F":
            record.account = Account(*map(int, fields))
    return record
