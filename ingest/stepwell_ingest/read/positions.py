"""The position of a live view's reader, and what has changed since. Pure: no I/O.

Receives the ledger's rows and a position; returns the steps that are new and those that are no longer shown. A writer's
frames are stored in order and its steps ascend within an epoch, so its new points lie above the last step that the
reader has seen, with one exception: a newer epoch, or a rewind, hides everything at or above a step. That is a *cut*:
the reader drops those points, and the points that took their place are new.

A fork shows each epoch of its ancestors below some step (`Inherited`). This bound only ever decreases, when the fork is
rewound below it or logs the writer's steps again, and that is a cut, too. Below the bound the epoch may still grow,
since frames of the ancestor's process may have been in flight.

Notes (media, among others) are not ordered by step, so they are followed by seq: a writer's ledger row moves in the
transaction that stores a frame, and frames are stored in order of seq, so a reader who has seen `next_seq` has seen all
below it and none above, however long a transaction takes to commit. `read.waiting` holds those that wait for files.
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
    """The position of a reader in one writer.

    Attributes:
        epoch, last_step: the reader has seen all points of `epoch` and older ones up to `last_step`, −1 for none.
        session, next_seq: the reader has seen all frames below `next_seq` of the newest epoch, `session`, which may
            have no steps yet, and all frames of older epochs, which are fenced and do not grow.
        last_object: the highest step of the objects that came as notes; it may lie above `last_step`.
        hidden: for each epoch from `epoch` to `session`, the step from which it was hidden, −1 for none. Older epochs
            need no entry: whatever hides more of them hides more of these, too.
    """

    epoch: int
    last_step: int
    session: int = 0
    next_seq: int = 0
    last_object: int = -1
    hidden: tuple[int, ...] = ()


class ShownEpoch(NamedTuple):
    """A row of the query `positions`."""

    writer: str
    epoch: int
    first_step: int | None
    last_step: int
    visible_below: int | None
    next_seq: int = 0
    writer_id: int = 0


class Inherited(NamedTuple):
    """A row of the query `inherited`: an epoch of an ancestor. A fork shows its steps below `below_step`; those below
    `end_step` exist so far."""

    writer: str
    below_step: int
    end_step: int


@dataclass(frozen=True, slots=True)
class LivePosition:
    """The position of a reader: the state of a run and the position in each of its writers, as the reader has seen
    them.

    Attributes:
        waiting: by writer, the places of objects whose files were missing. None: the cursor comes from an older version
            of the server, which does not record them.
        inherited: for a fork, by writer of its ancestors: the step below which their epochs are shown, and the ends of
            these epochs, always in the same order. None: the cursor comes from an older version.
    """

    state: str
    writers: Mapping[str, Position]
    waiting: Mapping[str, Sequence[Range]] | None = field(default_factory=dict)
    inherited: Mapping[str, tuple[int, ...]] | None = field(default_factory=dict)

    def encode(self) -> str:
        """Encodes the position as a cursor, the text that a reader sends back."""
        waiting = {
            writer: [[*start, *end[1:]] for start, end in ranges] for writer, ranges in (self.waiting or {}).items()
        }
        writers = {writer: [*position[:-1], *position.hidden] for writer, position in self.writers.items()}
        raw = orjson.dumps([self.state, writers, waiting, self.inherited])
        return base64.urlsafe_b64encode(zlib.compress(raw)).decode()

    @staticmethod
    def decode(text: str) -> LivePosition:
        """Decodes a cursor that `encode` wrote.

        Raises:
            UsageError: the cursor is invalid.
        """
        try:
            raw = zlib.decompressobj().decompress(base64.urlsafe_b64decode(text), _MAX_CURSOR_BYTES)
            state, writers, *more = orjson.loads(raw)
            waiting = (
                {writer: [_range(*item) for item in ranges] for writer, ranges in more[0].items()} if more else None
            )
            inherited = {writer: tuple(ends) for writer, ends in more[1].items()} if len(more) > 1 else None
            found = {writer: _position(*numbers) for writer, numbers in writers.items()}
            numbers = [number for item in writers.values() for number in item]
            numbers += [
                number for ranges in (waiting or {}).values() for item in ranges for ends in item for number in ends
            ]
            numbers += [number for ends in (inherited or {}).values() for number in ends]
            if isinstance(state, str) and all(type(number) is int for number in numbers):
                return LivePosition(state, found, waiting, inherited)
        except (ValueError, TypeError, AttributeError, zlib.error, binascii.Error):
            pass
        raise UsageError("invalid live-view cursor", hint="start again without a cursor")


def _position(
    epoch: int, last_step: int, session: int = 0, next_seq: int = 0, last_object: int = -1, *hidden: int
) -> Position:
    return Position(epoch, last_step, session, next_seq, last_object, hidden)


def _range(epoch: int, seq: int, number: int, end_seq: int, end_number: int) -> Range:
    return Range(Place(epoch, seq, number), Place(epoch, end_seq, end_number))


class Move(NamedTuple):
    """The news of one writer: its points with from_step ≤ step ≤ to_step. `cut`: drop its points from that step on.

    Attributes:
        inherited: further new ranges (from, to), of epochs of a fork's ancestors.
    """

    writer: str
    cut: int | None
    from_step: int
    to_step: int
    inherited: tuple[tuple[int, int], ...] = ()

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """All new ranges as pairs of first and last step."""
        return [(first, last) for first, last in (*self.inherited, (self.from_step, self.to_step)) if first <= last]


def current(
    state: str,
    epochs: Iterable[ShownEpoch],
    last_objects: Mapping[str, int] | None = None,
    inherited: Iterable[Inherited] = (),
) -> LivePosition:
    """The position of a reader who has seen everything.

    Args:
        state: the state of the run.
        epochs: the rows of the query `positions`, ordered by writer and epoch.
        last_objects: by writer, the highest step of the objects that came as notes.
        inherited: the rows of the query `inherited`.
    """
    writers: dict[str, Position] = {}
    for row in epochs:  # ascending
        known = writers.get(row.writer, Position(0, -1))
        hidden = -1 if row.visible_below is None else row.visible_below
        top = (last_objects or {}).get(row.writer, -1)
        if row.first_step is None:  # no step yet: the older epoch still determines the position
            writers[row.writer] = Position(
                known.epoch, known.last_step, row.epoch, row.next_seq, top, (*known.hidden, hidden)
            )
            continue
        shown = row.last_step if row.visible_below is None else min(row.last_step, row.visible_below - 1)
        if shown < row.first_step:
            shown = -1
        writers[row.writer] = Position(row.epoch, max(shown, known.last_step), row.epoch, row.next_seq, top, (hidden,))
    bounds: dict[str, tuple[int, ...]] = {}
    for item in inherited:
        below, *ends = bounds.get(item.writer, (-1,))
        bounds[item.writer] = (max(below, item.below_step), *ends, item.end_step)
    return LivePosition(state, writers, inherited=bounds)


def moves(seen: LivePosition, epochs: Iterable[ShownEpoch], now: LivePosition) -> list[Move] | None:
    """The news of each writer that has moved. None: the position does not belong to this history (start again)."""
    rows = {(row.writer, row.epoch): row for row in epochs}
    first_steps: dict[str, int] = {}
    for row in rows.values():
        if row.first_step is not None:
            first_steps[row.writer] = min(row.first_step, first_steps.get(row.writer, row.first_step))
    below, bounds = seen.inherited, now.inherited or {}
    if not set(seen.writers) <= set(now.writers) or below is None or below.keys() != bounds.keys():
        return None
    found = []
    for writer in [*now.writers, *(writer for writer in bounds if writer not in now.writers)]:
        position = now.writers.get(writer, Position(0, -1))
        known = seen.writers.get(writer, Position(0, -1))
        cuts = []
        grown: tuple[tuple[int, int], ...] = ()
        if writer in bounds:
            if len(below[writer]) != len(bounds[writer]):
                return None
            if bounds[writer][0] < below[writer][0]:
                cuts.append(bounds[writer][0])
            ends = zip(below[writer][1:], bounds[writer][1:], strict=True)
            grown = tuple((old, new - 1) for old, new in ends if new > old)
        if known.epoch:
            last = rows.get((writer, known.epoch))
            if last is None or last.last_step < known.last_step:
                return None
            # Anything that hides points of an older epoch hides those of this one, too, from the same step on.
            if last.visible_below is not None and last.visible_below <= known.last_step:
                cuts.append(last.visible_below)
        for epoch, hidden in enumerate(known.hidden, known.session + 1 - len(known.hidden)):
            older = rows.get((writer, epoch))
            if older is None:
                return None
            hides = older.visible_below
            if hides is not None and hides <= known.last_object and not 0 <= hidden <= hides:
                cuts.append(hides)
        cut = min(cuts, default=None)
        start = known.last_step if cut is None else min(known.last_step, cut - 1)
        if known.last_step < 0:  # only points of a fork's parent lie below its first step, and they are not new
            start = first_steps.get(writer, 0) - 1
        if cut is not None or grown or position.last_step > start:
            found.append(Move(writer, cut, start + 1, position.last_step, grown))
    return found


def unread(seen: LivePosition, epochs: Iterable[ShownEpoch]) -> list[tuple[ShownEpoch, int]] | None:
    """The epochs with unseen frames, each with the first unseen seq; −1: including the notes of its attach.

    None: the position does not belong to this history.
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
    """The ranges of steps (end exclusive) that hold new points; ranges that touch are joined."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted((first, last + 1) for move in found for first, last in move.ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def as_json(found: Iterable[Move]) -> dict[str, Any]:
    """Moves in the form in which events send them."""
    listed = list(found)
    return {
        "cuts": [{"writer": move.writer, "from_step": move.cut} for move in listed if move.cut is not None],
        "moved": [
            {"writer": move.writer, "from_step": first, "to_step": last}
            for move in listed
            for first, last in move.ranges
        ],
    }
