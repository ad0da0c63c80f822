"""Writer sessions for the server's own code, which makes rows itself instead of receiving frames.

This module is for protocols without frames, which the server may speak besides the stream: it opens a session with an
attach request, writes rows as arrays, and ends the writer. These rows are treated like frames: they pass admission and
validation, are stored in one transaction with the ledger, acknowledged after COMMIT, refused by the same rules, and
fenced by a newer session.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from stepwell.errors import UnavailableError
from stepwell.wire import HEADER_BYTES, KIND_DATA, KIND_NOTES, Block, Frame, Header, Object
from stepwell_ingest.write.admission import Room
from stepwell_ingest.write.attachment import AttachRequest
from stepwell_ingest.write.batcher import Outcome
from stepwell_ingest.write.catalog import Catalog
from stepwell_ingest.write.intake import Intake
from stepwell_ingest.write.ledger import LedgerCursor

#: The bytes of a block, an object or a note besides its contents, as in a frame.
_PART_BYTES = 24


class Door:
    """Opens writer sessions.

    Args:
        catalog: attaches the sessions.
        intake: receives their rows.
        room: the memory for rows that are not committed yet.
    """

    def __init__(self, catalog: Catalog, intake: Intake, room: Room) -> None:
        self._catalog = catalog
        self._intake = intake
        self._room = room

    async def open(self, request: AttachRequest) -> WriterSession:
        """Opens a session of the run and writer that `request` names; its `session` should be 16 random bytes.

        Raises:
            Error: as `Catalog.attach`.
        """
        attachment = await self._catalog.attach(request)
        return WriterSession(self._catalog, self._intake, self._room, attachment.cursor)


class WriterSession:
    """One writer whose rows the server makes. One task uses it at a time.

    Attributes:
        cursor: the writer's position; steps must lie above `cursor.tail_step`.
    """

    def __init__(self, catalog: Catalog, intake: Intake, room: Room, cursor: LedgerCursor) -> None:
        self._catalog = catalog
        self._intake = intake
        self._room = room
        self.cursor = cursor

    async def write(self, blocks: Sequence[Block], objects: Sequence[Object] = ()) -> Outcome:
        """Stores rows; returns after COMMIT.

        Args:
            blocks: steps that logged the same keys, int64[S], float64[K][S]; see `wire.Block`.
            objects: values that are not numbers, at steps of these blocks.

        Returns:
            The outcome; rows that break a rule are in `Outcome.rejected`.

        Raises:
            FencedError, RunDeletedError: a newer session took the writer over, or its run was deleted.
            OverloadedError: nothing was stored; try again later.
            UnavailableError: try again later. If the connection to Postgres broke during COMMIT, the rows may be
                stored; a second try is then rejected, because its steps do not increase.
            SequenceGapError: another worker stored rows of this session; try again.
        """
        points = sum(block.values.size for block in blocks)
        size = sum(block.values.nbytes + 2 * block.steps.nbytes + len(block.names) + _PART_BYTES for block in blocks)
        checksum = 0
        for block in blocks:
            checksum = zlib.crc32(block.values.tobytes(), zlib.crc32(block.steps.tobytes(), checksum))
        return await self._store(KIND_DATA, blocks, objects, points, size, checksum)

    async def note(self, notes: Sequence[Object]) -> Outcome:
        """Stores notes; otherwise as `write`.

        Args:
            notes: objects with the note's kind as the key and JSON as the body.
        """
        return await self._store(KIND_NOTES, (), notes, 0, 0, 0)

    async def finish(self, exit_code: int) -> None:
        """Records that the writer has ended.

        Raises:
            Error: as `Catalog.finish`.
        """
        await self._catalog.finish(self.cursor, exit_code)

    async def _store(
        self, kind: int, blocks: Sequence[Block], objects: Sequence[Object], points: int, size: int, checksum: int
    ) -> Outcome:
        for item in objects:
            checksum = zlib.crc32(item.body, checksum)
            size += len(item.key) + len(item.body) + _PART_BYTES
        size += HEADER_BYTES
        if self.cursor.stale:
            self.cursor = await self._catalog.reload(self.cursor)
        await self._room.reserve(size)
        try:
            if self.cursor.stale:  # became stale while it waited for room
                raise UnavailableError(
                    "this worker's copy of the writer's ledger row may be out of date", hint="write these rows again"
                )
            header = Header(
                *(kind, size, 0, self.cursor.session, self.cursor.tail_seq),
                *(len(blocks), len(objects), points, 0, checksum),
            )
            return await self._intake.admit(self.cursor, Frame(header, list(blocks), list(objects))).done
        finally:
            self._room.give_back(size)
