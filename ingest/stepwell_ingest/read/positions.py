"""Where a reader of a live run stands, and what has happened since. Pure: no I/O.

In come the ledger's rows and a cursor; out go the steps that are new and those that are no longer shown. A writer's
frames are stored in order and its steps ascend within an epoch, so what is new of it lies above the last step that the
reader has seen, with one exception: a newer epoch, or a rewind, hides what lies at or above a step. That is a *cut*:
the reader drops those points, and what took their place is new. The first step that a writer of a fork logs itself is
one, too: it hides what the fork shows of its ancestors from there on.

What comes as notes (media, among others) keeps to no order of steps. It is followed by seq: a writer's ledger row moves
in the transaction that stores a frame, and frames are stored in order of seq, so a reader who has seen `next_seq` has
seen all below it and none above, however long a transaction takes to commit. `read.waiting` says what of it waits for
files.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from stepwell.errors import UsageError
from stepwell_ingest.read.waiting import Place, Range

#: A cursor of ten thousand writers has some 200 kB before it is compressed.
_MAX_CURSOR_BYTES = 4 * 1024 * 1024


class Position(NamedTuple):
    """How far one writer has been seen.

    Attributes:
        epoch, last_step: all points of `epoch` and older ones up to `last_step`, −1 for none.
        session, next_seq: all frames below `next_seq` of the epoch `session`, the newest, which may have no steps yet;
            and all of older ones, which are fenced and do not grow.
        last_object: the highest step of what came as notes; it may lie above `last_step`.
        hidden: from which step on the epochs from `epoch` to `session` were hidden, −1 for nowhere. Whatever hides more
            of an older one hides more of these, too.
    """

    epoch: int
    last_step: int
    session: int = 0
    next_seq: int = 0
    last_object: int = -1
    hidden: tuple[int, ...] = ()


class Epoch(NamedTuple):
    """A row of the query `positions`."""

    writer: str
    epoch: int
    first_step: int | None
    last_step: int
    visible_below: int | None
    next_seq: int = 0
    writer_id: int = 0
    inherited_below: int | None = None  # of a fork: what it shows of its ancestors' writers of that name


@dataclass(frozen=True, slots=True)
class Cursor:
    """The state of a run and the position of each of its writers, as a reader has seen them.

    Attributes:
        waiting: by writer, where objects were seen whose files were not there. None: a cursor of an older version of
            the server, which does not say it.
    """

    state: str
    writers: Mapping[str, Position]
    waiting: Mapping[str, Sequence[Range]] | None = field(default_factory=dict)

    def encode(self) -> str:
        """The text that a reader sends back."""
        waiting = {
            writer: [[*start, *end[1:]] for start, end in ranges] for writer, ranges in (self.waiting or {}).items()
        }
        writers = {writer: [*position[:-1], *position.hidden] for writer, position in self.writers.items()}
        raw = orjson.dumps([self.state, writers, waiting])
        return base64.urlsafe_b64encode(zlib.compress(raw)).decode()

    @staticmethod
    def decode(text: str) -> Cursor:
        """What `encode` wrote.

        Raises:
            UsageError: it is none of ours.
        """
        try:
            raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text), _MAX_CURSOR_BYTES)
            state, writers, *more = orjson.loads(raw)
            waiting = (
                {writer: [_range(*item) for item in ranges] for writer, ranges in more[0].items()} if more else None
            )
            found = {writer: _position(*numbers) for writer, numbers in writers.items()}
            numbers = [number for item in writers.values() for number in item]
            numbers += [
                number for ranges in (waiting or {}).values() for item in ranges for ends in item for number in ends
            ]
            if isinstance(state, str) and all(type(number) is int for number in numbers):
                return Cursor(state, found, waiting)
        except (ValueError, TypeError, AttributeError, zlib.error, binascii.Error):
            pass
        raise UsageError("this cursor is none of a live view", hint="begin again without a cursor")


def _position(
    epoch: int, last_step: int, session: int = 0, next_seq: int = 0, last_object: int = -1, *hidden: int
) -> Position:
    return Position(epoch, last_step, session, next_seq, last_object, hidden)


def _range(epoch: int, seq: int, number: int, end_seq: int, end_number: int) -> Range:
    return Range(Place(epoch, seq, number), Place(epoch, end_seq, end_number))


class Move(NamedTuple):
    """What is new of one writer: its points with from_step ≤ step ≤ to_step. `cut`: drop what it had from there on."""

    writer: str
    cut: int | None
    from_step: int
    to_step: int


def current(state: str, epochs: Iterable[Epoch], last_objects: Mapping[str, int] | None = None) -> Cursor:
    """Where a reader stands who has seen everything.

    Args:
        last_objects: by writer, the highest step of what came as notes.
    """
    writers: dict[str, Position] = {}
    for row in epochs:  # ascending
        known = writers.get(row.writer, Position(0, -1))
        hidden = -1 if row.visible_below is None else row.visible_below
        top = (last_objects or {}).get(row.writer, -1)
        if row.first_step is None:  # no step yet: the older epoch still has the last word
            writers[row.writer] = Position(
                known.epoch, known.last_step, row.epoch, row.next_seq, top, (*known.hidden, hidden)
            )
            continue
        shown = row.last_step if row.visible_below is None else min(row.last_step, row.visible_below - 1)
        if shown < row.first_step:
            shown = -1
        writers[row.writer] = Position(row.epoch, max(shown, known.last_step), row.epoch, row.next_seq, top, (hidden,))
    return Cursor(state, writers)


def moves(seen: Cursor, epochs: Iterable[Epoch], now: Cursor) -> list[Move] | None:
    """What is new of each writer that has moved. None: the cursor does not belong to this history (begin again)."""
    rows = {(row.writer, row.epoch): row for row in epochs}
    first_steps: dict[str, int] = {}
    for row in rows.values():
        if row.first_step is not None:
            first_steps[row.writer] = min(row.first_step, first_steps.get(row.writer, row.first_step))
    inherited = {row.writer: row.inherited_below for row in rows.values()}
    if not set(seen.writers) <= set(now.writers):
        return None
    found = []
    for writer, position in now.writers.items():
        known = seen.writers.get(writer, Position(0, -1))
        cuts = []
        if known.epoch:
            last = rows.get((writer, known.epoch))
            if last is None or last.last_step < known.last_step:
                return None
            # Whatever hides points of an older epoch hides those of this one, too, from the same step on.
            if last.visible_below is not None and last.visible_below <= known.last_step:
                cuts.append(last.visible_below)
        for epoch, hidden in enumerate(known.hidden, known.session + 1 - len(known.hidden)):
            older = rows.get((writer, epoch))
            if older is None:
                return None
            below = older.visible_below
            if below is not None and below <= known.last_object and not 0 <= hidden <= below:
                cuts.append(below)
        if known.last_step < 0 <= position.last_step and (below := inherited[writer]) is not None:
            cuts.append(below)
        cut = min(cuts, default=None)
        start = known.last_step if cut is None else min(known.last_step, cut - 1)
        if known.last_step < 0:  # below its first step lie points of a fork's parent, if any: they are no news
            start = first_steps.get(writer, 0) - 1
        if cut is not None or position.last_step > start:
            found.append(Move(writer, cut, start + 1, position.last_step))
    return found


def unread(seen: Cursor, epochs: Iterable[Epoch]) -> list[tuple[Epoch, int]] | None:
    """The epochs that have frames which were not seen, each with the first seq of these; −1: what its attach said, too.

    None: the cursor does not belong to this history.
    """
    found = []
    for row in epochs:
        known = seen.writers.get(row.writer, Position(0, -1))
        if row.epoch > known.session:
            found.append((row, -1))
        elif row.epoch == known.session and row.next_seq != known.next_seq:
            if row.next_seq < known.next_seq:
                return None
            found.append((row, known.next_seq))
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
