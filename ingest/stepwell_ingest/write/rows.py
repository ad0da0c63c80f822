"""Turns the entries of a batch into rows for COPY, and into the moves of ledger rows.

Stands between the copier, which commits the rows, and `pgcopy`, which encodes them. Rejected entries have no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from stepwell_ingest.write import pgcopy
from stepwell_ingest.write.batcher import Entry
from stepwell_ingest.write.ledger import LedgerCursor
from stepwell_ingest.write.names import Ids


class Group(NamedTuple):
    """The entries of one writer, in order, beginning at its committed seq."""

    cursor: LedgerCursor
    entries: list[Entry]


class Move(NamedTuple):
    """The move of one ledger row by a group.

    Attributes:
        cursor, entries: the group.
        last_step, first_step: the last and first step of the epoch once the entries are stored; first_step None: none.
        points, objects, size: the points, objects and bytes of the stored entries.
        refused: the number of entries with a rejection to record.
        checksums: the checksums that the ledger keeps after the move.
    """

    cursor: LedgerCursor
    entries: list[Entry]
    last_step: int
    first_step: int | None
    points: int
    objects: int
    size: int
    refused: int
    checksums: bytes

    @property
    def opens(self) -> bool:
        """Whether the epoch stores its first step, which may supersede earlier epochs."""
        return self.cursor.first_step is None and self.first_step is not None

    def row(self) -> tuple[object, ...]:
        """The arguments of `move_ledger` for this row."""
        cursor, count = self.cursor, len(self.entries)
        return (
            *cursor.key,
            cursor.committed_seq,
            cursor.committed_seq + count,
            self.last_step,
            self.points,
            self.objects,
            self.refused,
            self.checksums,
            self.first_step,
            self.size,
        )


def move_of(cursor: LedgerCursor, entries: list[Entry]) -> Move:
    """The move that stores `entries`, computed in one pass: most batches have one small frame of each writer."""
    last_step, first_step = cursor.committed_step, cursor.first_step
    points = objects = size = refused = 0
    for entry in entries:
        if entry.refusal is not None:
            refused += 1
        if entry.rejection is not None:
            continue
        header = entry.header
        last_step = max(last_step, entry.last_step)
        points += header.points
        objects += header.objects - header.notes
        size += header.length
        if cursor.first_step is None:
            for block in entry.frame.blocks:
                first = int(block.steps[0])
                first_step = first if first_step is None else min(first_step, first)
    checksums = cursor.checksums_after(len(entries))
    return Move(cursor, entries, last_step, first_step, points, objects, size, refused, checksums)


def block_rows(groups: Iterable[Group], ids: Ids) -> Iterator[pgcopy.BlockRow]:
    """Rows of hot_block; `ids` has the metric ids of every key set."""
    for cursor, entries in groups:
        run_id, writer_id, epoch = cursor.key
        for entry in entries:
            if entry.rejection is None:
                for names, steps, times, values in entry.frame.blocks:
                    keys = ids[run_id, names]
                    yield pgcopy.BlockRow(run_id, entry.header.seq, writer_id, epoch, keys, steps, times, values)


def object_rows(groups: Iterable[Group]) -> Iterator[pgcopy.ObjectRow]:
    """Rows of hot_object."""
    for cursor, entries in groups:
        run_id, writer_id, epoch = cursor.key
        for entry in entries:
            if entry.rejection is not None or entry.header.notes:
                continue
            for step, time_us, key, body in entry.frame.objects:
                yield pgcopy.ObjectRow(*(run_id, entry.header.seq, step, writer_id, epoch, time_us, key.encode(), body))


def note_rows(groups: Iterable[Group]) -> Iterator[pgcopy.NoteRow]:
    """Rows of note."""
    for cursor, entries in groups:
        for entry in entries:
            if entry.rejection is None and entry.header.notes:
                for index, (step, time_us, kind, body) in enumerate(entry.frame.objects):
                    yield pgcopy.NoteRow(*cursor.key, entry.header.seq, index, step, time_us, kind.encode(), body)


def naming_blobs(objects: list[pgcopy.ObjectRow], notes: list[pgcopy.NoteRow]) -> Iterator[tuple[int, str]]:
    """Yields the run id and the JSON of each value that may name a file; Postgres, which parses the JSON, decides."""
    rows: Iterator[pgcopy.ObjectRow | pgcopy.NoteRow] = chain(objects, notes)
    for row in rows:
        # The name of the field may also be written with escapes ("\\u").
        if b"sha256" in row.value or b"\\u00" in row.value:
            yield row.run_id, row.value.decode()


def halves(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """Splits groups into two parts to be committed one after the other. Together, they contain each entry once."""
    if len(groups) > 1:
        middle = len(groups) // 2
        return groups[:middle], groups[middle:]
    cursor, entries = groups[0]
    middle = len(entries) // 2
    return [Group(cursor, entries[:middle])], [Group(cursor, entries[middle:])]
