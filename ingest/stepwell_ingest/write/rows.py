"""Turns the entries of a batch into rows for COPY, and into the steps for the ledger.

Stands between the copier, which commits the rows, and `pgcopy`, which encodes them. Refused entries have no rows. Pure.
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


def last_step_of(cursor: LedgerCursor, entries: Iterable[Entry]) -> int:
    """The last step of the epoch once these entries are stored."""
    return max((entry.last_step for entry in entries if entry.rejection is None), default=cursor.committed_step)


def first_step_of(cursor: LedgerCursor, entries: Iterable[Entry]) -> int | None:
    """The first step of the epoch, including these entries."""
    if cursor.first_step is not None:
        return cursor.first_step
    stored = (entry for entry in entries if entry.rejection is None)
    return min((int(block.steps[0]) for entry in stored for block in entry.frame.blocks), default=None)


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
    """(run id, JSON) of the values that may name a file. Postgres, which parses the JSON, decides."""
    rows: Iterator[pgcopy.ObjectRow | pgcopy.NoteRow] = chain(objects, notes)
    for row in rows:
        # An escape ("\\u") may spell the field's name, too.
        if b"sha256" in row.value or b"\\u00" in row.value:
            yield row.run_id, row.value.decode()


def in_state(groups: list[Group], states: dict[tuple[int, int, int], str], state: str) -> list[Group]:
    """The groups whose ledger row is in `state`; `states` has the keys of writers."""
    return [group for group in groups if states.get(group.cursor.key) == state]


def halves(groups: list[Group]) -> tuple[list[Group], list[Group]]:
    """Splits groups into two parts to be committed one after the other, which together hold each entry once."""
    if len(groups) > 1:
        middle = len(groups) // 2
        return groups[:middle], groups[middle:]
    cursor, entries = groups[0]
    middle = len(entries) // 2
    return [Group(cursor, entries[:middle])], [Group(cursor, entries[middle:])]
