"""Where a reader of a live run stands, and what has happened since. Pure: no I/O.

In come the ledger's rows and a cursor; out go the steps that are new and those that are no longer shown. A writer's
frames are stored in order and its steps ascend within an epoch, so what is new of it lies above the last step that the
reader has seen, with one exception: a newer epoch, or a rewind, hides what lies at or above a step. That is a *cut*:
the reader drops those points, and what took their place is new. The first step that a writer of a fork logs itself is
one, too: it hides what the fork shows of its ancestors from there on.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from stepwell.errors import UsageError

#: A cursor of ten thousand writers has some 200 kB before it is compressed.
_MAX_CURSOR_BYTES = 4 * 1024 * 1024


class Position(NamedTuple):
    """How far one writer's points have been seen: all of `epoch` and older ones up to `last_step`, −1 for none."""

    epoch: int
    last_step: int


class Epoch(NamedTuple):
    """A row of the query `positions`."""

    writer: str
    epoch: int
    first_step: int | None
    last_step: int
    visible_below: int | None
    inherited_below: int | None = None  # of a fork: what it shows of its ancestors' writers of that name


@dataclass(frozen=True, slots=True)
class Cursor:
    """The state of a run and the position of each of its writers, as a reader has seen them."""

    state: str
    writers: Mapping[str, Position]

    def encode(self) -> str:
        """The text that a reader sends back."""
        raw = orjson.dumps([self.state, {writer: list(position) for writer, position in self.writers.items()}])
        return base64.urlsafe_b64encode(zlib.compress(raw)).decode()

    @staticmethod
    def decode(text: str) -> Cursor:
        """What `encode` wrote.

        Raises:
            UsageError: it is none of ours.
        """
        try:
            raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text), _MAX_CURSOR_BYTES)
            state, writers = orjson.loads(raw)
            found = {writer: Position(*position) for writer, position in writers.items()}
            if isinstance(state, str) and all(isinstance(number, int) for item in found.values() for number in item):
                return Cursor(state, found)
        except (ValueError, TypeError, AttributeError, zlib.error, binascii.Error):
            pass
        raise UsageError("this cursor is none of a live view", hint="begin again without a cursor")


class Move(NamedTuple):
    """What is new of one writer: its points with from_step ≤ step ≤ to_step. `cut`: drop what it had from there on."""

    writer: str
    cut: int | None
    from_step: int
    to_step: int


def current(state: str, epochs: Iterable[Epoch]) -> Cursor:
    """Where a reader stands who has seen everything."""
    writers: dict[str, Position] = {}
    for row in epochs:  # ascending
        known = writers.get(row.writer, Position(0, -1))
        if row.first_step is None:  # nothing stored yet: the older epoch still has the last word
            writers.setdefault(row.writer, known)
            continue
        shown = row.last_step if row.visible_below is None else min(row.last_step, row.visible_below - 1)
        if shown < row.first_step:
            shown = -1
        writers[row.writer] = Position(row.epoch, max(shown, known.last_step))
    return Cursor(state, writers)


def moves(seen: Cursor, epochs: Iterable[Epoch], now: Cursor) -> list[Move] | None:
    """What is new of each writer that has moved. None: the cursor does not belong to this history (begin again)."""
    rows = {(row.writer, row.epoch): row for row in epochs}
    inherited = {row.writer: row.inherited_below for row in rows.values()}
    if not set(seen.writers) <= set(now.writers):
        return None
    found = []
    for writer, position in now.writers.items():
        known = seen.writers.get(writer, Position(0, -1))
        cut = None
        if known.epoch:
            row = rows.get((writer, known.epoch))
            if row is None or row.last_step < known.last_step:
                return None
            # Whatever hides points of an older epoch hides those of this one, too, from the same step on.
            if row.visible_below is not None and row.visible_below <= known.last_step:
                cut = row.visible_below
        if known.last_step < 0 <= position.last_step:
            cut = inherited[writer]
        start = known.last_step if cut is None else cut - 1
        if cut is not None or position.last_step > start:
            found.append(Move(writer, cut, start + 1, position.last_step))
    return found


def intervals(found: Iterable[Move]) -> list[tuple[int, int]]:
    """The ranges of steps (last one exclusive) in which new points lie, joined where they touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((move.from_step, move.to_step + 1) for move in found if move.to_step >= move.from_step):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def as_json(found: Iterable[Move]) -> dict[str, Any]:
    """Moves as events say them."""
    listed = list(found)
    return {
        "cuts": [{"writer": move.writer, "from_step": move.cut} for move in listed if move.cut is not None],
        "moved": [
            {"writer": move.writer, "from_step": move.from_step, "to_step": move.to_step}
            for move in listed
            if move.to_step >= move.from_step
        ],
    }
